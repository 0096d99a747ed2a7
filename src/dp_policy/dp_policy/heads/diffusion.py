"""Denoising diffusion over action chunks (Ho et al. 2020; Song et al. 2021).

Training draws several noise levels per encoded observation, since the observation encoder is the costly part.
Sampling starts from pure noise, or from the plan in execution, and runs one of :mod:`dp_policy.samplers`.
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
from dp_policy.samplers import build_sampler, forward_process


class DiffusionHead(ActionHead):
    """Noise schedule and denoiser."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.config = config.diffusion
        self.candidates = config.diffusion.candidates
        self.denoiser = build_denoiser(config, frame_features)
        self.forward_process = forward_process(config.diffusion)
        self.sampler = build_sampler(config.diffusion)

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations per chunk that starts from noise."""
        return len(self.sampler.timesteps)

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean squared error of the prediction over noise levels, see :meth:`ActionHead.loss`."""
        actions = actions.repeat_interleave(draws, dim=0)
        noise = torch.randn(actions.shape, generator=generator).to(actions.device)
        steps = torch.randint(0, self.config.train_steps, (len(actions),), generator=generator).to(actions.device)
        given = Given.drawn(self.action, actions, generator)
        actions = given.aimed(actions)
        noisy = self.forward_process.add_noise(actions, noise, steps)  # type: ignore[arg-type]
        seen, beside = given.as_input(noisy, self.dtype), given.beside(condition, self.given_features)
        predicted = self._joined(given, self.denoiser(seen, steps, beside.to(self.dtype)).float())
        target = self._target(actions, noise, steps)
        return weighted_mean(given.without((predicted - target).square().mean(dim=-1)), weights, draws)

    def _target(self, actions: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
        if self.config.prediction == "v":
            return self.forward_process.get_velocity(actions, noise, steps)  # type: ignore[arg-type]
        return noise if self.config.prediction == "epsilon" else actions

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        continuation: Continuation | None = None,
    ) -> Tensor:
        """Draw action sequences, see :meth:`ActionHead.sample`."""
        levels = self.sampler.timesteps
        shape = (condition.shape[0] * draws, self.action.horizon, self.action.dim)
        chunk = torch.randn(shape, generator=generator).to(condition.device)
        first = first_step(continuation, len(levels))
        if continuation is not None and first:
            plan = plan_as_sequence(continuation.plan, self.action, draws)
            chunk = self.forward_process.add_noise(plan, chunk, levels[first].expand(len(plan)))  # type: ignore[arg-type]
        given = Given.held(self.action, continuation, condition, draws)
        beside = given.beside(condition, self.given_features)
        prepared = self.denoiser.prepare(beside.to(self.dtype), levels[first:])
        guide = Guide.towards(self.action, continuation, draws)

        def predict(noisy: Tensor) -> Tensor:
            seen = given.as_input(noisy, self.dtype)
            return self._joined(given, self.denoiser.denoise(seen, prepared, index - first).float())

        self.sampler.begin()
        for index in range(first, len(levels)):
            predicted = predict(chunk) if guide is None else self._guided(guide, predict, chunk, int(levels[index]))
            chunk = self.sampler.step(predicted, index, chunk, generator)
        return given.put_into(chunk)

    def _joined(self, given: Given, predicted: Tensor) -> Tensor:
        """The prediction, joined to what is given if it is of the actions themselves."""
        return given.join(predicted) if self.config.prediction == "sample" else predicted

    def _guided(self, guide: Guide, predict: Callable[[Tensor], Tensor], chunk: Tensor, level: int) -> Tensor:
        """The prediction whose clean chunk is pulled towards the plan, at a noise level."""
        alpha = float(self.forward_process.alphas_cumprod[level])
        signal, noise = alpha**0.5, (1.0 - alpha) ** 0.5
        kind = self.config.prediction

        def estimate(noisy: Tensor, predicted: Tensor) -> Tensor:
            if kind == "sample":
                return predicted
            return (noisy - noise * predicted) / signal if kind == "epsilon" else signal * noisy - noise * predicted

        predicted, shift = guide.evaluate(predict, estimate, chunk, (signal, noise))
        # What the prediction changes by when the clean chunk does and the noisy one stays.
        return predicted + {"sample": 1.0, "epsilon": -signal / noise, "v": -1.0 / noise}[kind] * shift
