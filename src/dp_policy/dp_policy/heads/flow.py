"""Conditional flow matching over action chunks (arXiv 2210.02747, 2209.03003).

The path is straight: x_t = (1 - t) noise + t actions, t from 0 to 1. The network predicts its velocity
actions - noise; a chunk is noise carried along the predicted velocity by Euler steps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dp_policy.config import PolicyConfig
from dp_policy.denoiser import build_denoiser
from dp_policy.heads.base import ActionHead, weighted_mean
from dp_policy.heads.continuation import Continuation, Given
from dp_policy.heads.guidance import Guide
from dp_policy.heads.warm_start import first_step, plan_as_sequence

#: Path times are multiplied by this before they are embedded: the step embedding is made for about 100 levels.
TIME_SCALE = 100.0
#: Largest path time that ``beta`` sampling draws, and its exponent (arXiv 2410.24164: 0.999 and Beta(1.5, 1)).
BETA_LARGEST, BETA_EXPONENT = 0.999, 1.5


def draw_times(count: int, kind: str, generator: torch.Generator) -> Tensor:
    """(count,) float32 path times in [0, 1] for training, see :class:`dp_policy.config.FlowConfig`."""
    if kind == "logit_normal":
        return torch.randn(count, generator=generator).sigmoid()
    times = torch.rand(count, generator=generator)
    return times if kind == "uniform" else BETA_LARGEST * (1.0 - times ** (1.0 / BETA_EXPONENT))


def on_path(actions: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """x_t of (B, T, A) actions and noise at (B,) path times."""
    return torch.lerp(noise, actions, times[:, None, None])


class FlowHead(ActionHead):
    """Straight paths and the denoiser as their velocity."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.config = config.flow
        self.candidates = config.flow.candidates
        self.denoiser = build_denoiser(config, frame_features)

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations per chunk that starts from noise."""
        return self.config.inference_steps

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean squared error of the velocity over path times, see :meth:`ActionHead.loss`."""
        actions = actions.repeat_interleave(draws, dim=0)
        noise = torch.randn(actions.shape, generator=generator).to(actions.device)
        times = draw_times(len(actions), self.config.time_sampling, generator).to(actions.device)
        given = Given.drawn(self.action, actions, generator)
        actions = given.aimed(actions)
        seen = given.as_input(on_path(actions, noise, times), self.dtype)
        beside = given.beside(condition, self.given_features)
        predicted = self.denoiser(seen, times * TIME_SCALE, beside.to(self.dtype)).float()
        return weighted_mean(given.without((predicted - (actions - noise)).square().mean(dim=-1)), weights, draws)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw action sequences, see :meth:`ActionHead.sample`."""
        steps = self.config.inference_steps
        shape = (condition.shape[0] * draws, self.action.horizon, self.action.dim)
        chunk = torch.randn(shape, generator=generator).to(condition.device)
        first = first_step(continuation, steps)
        times = torch.arange(first, steps) / steps
        if continuation is not None and first:
            plan = plan_as_sequence(continuation.plan, self.action, draws)
            chunk = on_path(plan, chunk, times[:1].to(plan.device))
        given = Given.held(self.action, continuation, condition, draws)
        beside = given.beside(condition, self.given_features)
        prepared = self.denoiser.prepare(beside.to(self.dtype), times * TIME_SCALE)
        guide = Guide.towards(self.action, continuation, draws)

        def predict(noisy: Tensor) -> Tensor:
            return self.denoiser.denoise(given.as_input(noisy, self.dtype), prepared, index).float()

        for index in range(steps - first):
            time = (first + index) / steps
            chunk = chunk + (predict(chunk) if guide is None else _guided(guide, predict, chunk, time)) / steps
        return given.put_into(chunk)


def _guided(guide: Guide, predict: Callable[[Tensor], Tensor], chunk: Tensor, time: float) -> Tensor:
    """The velocity towards an end that is pulled towards the plan, at a path time below 1."""
    left = 1.0 - time
    velocity, shift = guide.evaluate(predict, lambda x, velocity: x + left * velocity, chunk, (time, left))
    return velocity + shift / left
