"""Reverse processes of diffusion: the noise levels visited and the step from one to the next.

Levels t count from 0 (almost clean) to ``train_steps`` - 1 (pure noise), and x_t = sqrt(abar_t) x_0 +
sqrt(1 - abar_t) noise. Spacings are those of diffusers' schedulers, whose names they bear:

- ``trailing`` starts from pure noise at any number of steps. At 100 levels: 99 | 99 49 | 99 74 49 24.
- ``leading`` ends at level 0 and starts far below pure noise when steps are few: DDIM 0 | 50 0 | 75 50 25 0. The
  network is then told a lower level than its input has, which is part of the collapse at 1 to 4 steps that papers
  report (arXiv 2305.08891). It is what real-stanford and LeRobot checkpoints with DDIM expect.
- ``linspace`` has both ends: DDIM 0 (one step) | 99 0 | 99 66 33 0.

diffusers takes seconds to import, so that only a process that makes a scheduler does, and only the one it makes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dp_policy.config_error import PolicyConfigError
from dp_policy.sampling_config import DiffusionConfig

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

#: Names of the predictions in diffusers.
PREDICTION_TYPES = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}


class Sampler(ABC):
    """One reverse process; a run is :meth:`begin`, then :meth:`step` at consecutive indices up to the last."""

    #: (S,) int64 levels, descending.
    timesteps: Tensor

    def begin(self) -> None:  # noqa: B027 - most processes remember nothing
        """Forget the run before."""

    @abstractmethod
    def step(self, predicted: Tensor, index: int, chunk: Tensor, generator: torch.Generator | None) -> Tensor:
        """From level ``timesteps[index]`` to the next one, or to the clean chunk after the last.

        Args:
            predicted: (B, T, A) float32 output of the denoiser for ``chunk``.
            index: which of the ``timesteps``.
            chunk: (B, T, A) float32.
            generator: draws noise, on the processor, if the process does.

        Returns:
            (B, T, A) float32.
        """


def visited_levels(levels: Tensor, config: DiffusionConfig) -> Tensor:
    """The levels that diffusers visits, (S,) int64.

    Its trailing spacing counts down in floats and at some numbers of steps (29, 31, 58, ... of 100) ends at a level -1
    behind the last one.

    Raises:
        PolicyConfigError: a level would be visited twice.
    """
    levels = levels[: config.inference_steps]
    if len(levels) < config.inference_steps or len(levels.unique()) < len(levels) or int(levels[-1]) < 0:
        raise PolicyConfigError(
            f"diffusion.inference_steps = {config.inference_steps} is not valid for sampler = {config.sampler} with "
            f"spacing = {config.spacing} and train_steps = {config.train_steps}: a level would be visited twice; take "
            f"fewer steps, or spacing = trailing"
        )
    return levels


class Ddim(Sampler):
    """Denoising diffusion implicit model, deterministic (eta 0; arXiv 2010.02502, equation 12).

    The next level is the next one visited. diffusers steps by ``train_steps // steps`` instead, which is the same
    for leading, and for trailing if the division leaves no rest; otherwise the network would be told a level that
    its input does not have (linspace at two steps: 0 instead of 49).
    """

    def __init__(self, config: DiffusionConfig) -> None:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler

        spacing = DDIMScheduler(
            num_train_timesteps=config.train_steps,
            beta_schedule=config.schedule,
            timestep_spacing=config.spacing,
            steps_offset=0,
        )
        spacing.set_timesteps(config.inference_steps)
        self.timesteps = visited_levels(spacing.timesteps, config)
        self._prediction, self._clip = config.prediction, config.clip_sample
        levels = [*spacing.alphas_cumprod[self.timesteps].double().tolist(), 1.0]
        self._scales = [(level**0.5, (1.0 - level) ** 0.5) for level in levels]

    def step(self, predicted: Tensor, index: int, chunk: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Sampler.step`; nothing is drawn. The clean chunk is clipped, the noise is not."""
        signal, noise = self._scales[index]
        if self._prediction == "epsilon":
            clean, epsilon = (chunk - noise * predicted) / signal, predicted
        elif self._prediction == "sample":
            clean, epsilon = predicted, (chunk - signal * predicted) / noise
        else:
            clean, epsilon = signal * chunk - noise * predicted, signal * predicted + noise * chunk
        next_signal, next_noise = self._scales[index + 1]
        return next_signal * (clean.clamp(-1.0, 1.0) if self._clip else clean) + next_noise * epsilon


class Ddpm(Sampler):
    """Ancestral sampling through every level (arXiv 2006.11239) by diffusers."""

    def __init__(self, config: DiffusionConfig) -> None:
        self._process = forward_process(config)
        self._process.set_timesteps(config.train_steps)
        self.timesteps = self._process.timesteps

    def step(self, predicted: Tensor, index: int, chunk: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Sampler.step`."""
        level = int(self.timesteps[index])
        return self._process.step(predicted, level, chunk, generator=generator).prev_sample  # type: ignore[arg-type,union-attr]


class DpmSolver(Sampler):
    """DPM-Solver++ of second order, multistep (arXiv 2211.01095), by diffusers, down to no noise at all.

    Clipping uses diffusers' dynamic threshold, which is static when its largest value is 1. Without it one division
    by the tiny signal of the first level would ruin noise predictions.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

        self._process = DPMSolverMultistepScheduler(
            num_train_timesteps=config.train_steps,
            beta_schedule=config.schedule,
            prediction_type=PREDICTION_TYPES[config.prediction],
            algorithm_type="dpmsolver++",
            solver_order=2,
            final_sigmas_type="zero",
            timestep_spacing=config.spacing,
            thresholding=config.clip_sample,
            sample_max_value=1.0,
        )
        self._process.set_timesteps(config.inference_steps)
        self.timesteps = visited_levels(self._process.timesteps, config)
        self.begin()

    def begin(self) -> None:
        """Forget the predictions of the run before, which the multistep formula would use."""
        self._process.set_timesteps(timesteps=self.timesteps.tolist())

    def step(self, predicted: Tensor, index: int, chunk: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Sampler.step`; nothing is drawn."""
        return self._process.step(predicted, self.timesteps[index], chunk).prev_sample  # type: ignore[arg-type,union-attr]


SAMPLERS: dict[str, type[Sampler]] = {"ddim": Ddim, "ddpm": Ddpm, "dpmsolver++": DpmSolver}


def build_sampler(config: DiffusionConfig) -> Sampler:
    """The reverse process that ``config.sampler`` names."""
    return SAMPLERS[config.sampler](config)  # type: ignore[call-arg]


def forward_process(config: DiffusionConfig) -> DDPMScheduler:
    """The forward process: ``add_noise``, and ``get_velocity`` for the v prediction."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    return DDPMScheduler(
        num_train_timesteps=config.train_steps,
        beta_schedule=config.schedule,
        prediction_type=PREDICTION_TYPES[config.prediction],
        clip_sample=config.clip_sample,
        variance_type="fixed_small",
    )
