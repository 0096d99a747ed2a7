"""Two evaluations per chunk: the minimal iterative policy, or L1 flow. Both predict the clean actions.

Minimal iterative policy (arXiv 2512.01809; weights of its authors' code): the first evaluation is a regression from
zeros, the second refines what it gives. With t the time of the second evaluation and f(x, t) the network, training
minimises |f(0, 0) - a|^2 / t^2 + |f(t a + (1 - t) noise, t) - a|^2 / (1 - t)^2, here times t^2; the chunk is
f(t f(0, 0), t). No noise is drawn, so equal observations give equal chunks.

L1 flow (arXiv 2511.17898): |f((1 - t) noise + t a, t) - a| for times t drawn uniformly. From noise x one Euler step
along the predicted path goes to the midpoint m, x + m (f(x, 0) - x), where a second evaluation gives the chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dp_policy.config import PolicyConfig
from dp_policy.denoiser import build_denoiser
from dp_policy.heads.base import ActionHead, weighted_mean
from dp_policy.heads.continuation import Continuation, Given
from dp_policy.heads.flow import TIME_SCALE, draw_times, on_path


class TwoStepHead(ActionHead):
    """A denoiser that is evaluated at two times, the first of them 0."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.config = config.two_step
        if self.config.kind == "l1_flow":  # mip draws no noise: all its sequences are equal
            self.candidates = self.config.candidates
        self.denoiser = build_denoiser(config, frame_features)

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations per chunk."""
        return 2

    @property
    def second_time(self) -> float:
        """Path time of the second evaluation."""
        return self.config.mip_time if self.config.kind == "mip" else self.config.l1_midpoint

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """The loss of ``two_step.kind``, see :meth:`ActionHead.loss`."""
        noise = torch.randn((len(actions), draws, *actions.shape[1:]), generator=generator).to(actions.device)
        if self.config.kind == "mip":
            return self._mip_loss(condition, actions, weights, noise, generator)
        actions = actions.repeat_interleave(draws, dim=0)
        times = draw_times(len(actions), "uniform", generator).to(actions.device)
        given = Given.drawn(self.action, actions, generator)
        actions = given.aimed(actions)
        predicted = self._predict(on_path(actions, noise.flatten(0, 1), times), times, condition, given)
        return weighted_mean(given.without((predicted - actions).abs().mean(dim=-1)), weights, draws)

    def _mip_loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, noise: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Both terms in one pass: zeros and ``draws`` noisy sequences for each observation."""
        time, passes = self.second_time, noise.shape[1] + 1
        times = torch.full((len(actions), passes), time, device=actions.device)
        times[:, 0] = 0.0
        wanted = actions.repeat_interleave(passes, dim=0)
        given = Given.drawn(self.action, wanted, generator)
        wanted = given.aimed(wanted)
        noisy = time * wanted.unflatten(0, (-1, passes))[:, 1:] + (1.0 - time) * noise
        sequences = torch.cat((torch.zeros_like(actions)[:, None], noisy), dim=1)
        predicted = self._predict(sequences.flatten(0, 1), times.flatten(), condition, given)
        errors = given.without((predicted - wanted).square().mean(dim=-1)).view(sequences.shape[:3])
        first, second = errors[:, 0], errors[:, 1:].flatten(0, 1)
        refinement = weighted_mean(second, weights, noise.shape[1])
        return weighted_mean(first, weights) + (time / (1.0 - time)) ** 2 * refinement

    def _predict(self, sequences: Tensor, times: Tensor, condition: Tensor, given: Given) -> Tensor:
        seen, beside = given.as_input(sequences, self.dtype), given.beside(condition, self.given_features)
        return given.join(self.denoiser(seen, times * TIME_SCALE, beside.to(self.dtype)).float())

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw action sequences, see :meth:`ActionHead.sample`; ``mip`` draws nothing."""
        time, minimal = self.second_time, self.config.kind == "mip"
        shape = (condition.shape[0] * draws, self.action.horizon, self.action.dim)
        start = torch.zeros(shape) if minimal else torch.randn(shape, generator=generator)
        start = start.to(condition.device)
        given = Given.held(self.action, continuation, condition, draws)
        beside = given.beside(condition, self.given_features)
        prepared = self.denoiser.prepare(beside.to(self.dtype), torch.tensor([0.0, time]) * TIME_SCALE)
        first = given.join(self.denoiser.denoise(given.as_input(start, self.dtype), prepared, 0).float())
        middle = given.as_input(torch.lerp(start, first, time), self.dtype)
        return given.put_into(given.join(self.denoiser.denoise(middle, prepared, 1).float()))
