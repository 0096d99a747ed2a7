"""Denoising diffusion over action chunks (Ho et al. 2020; Song et al. 2021), schedules by diffusers.

Training draws several noise levels per encoded observation, since the observation encoder is the costly part.
Sampling starts from pure noise and runs DDIM or DDPM.
"""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from dp_policy.config import DiffusionConfig, PolicyConfig
from dp_policy.denoiser import build_denoiser
from dp_policy.heads.base import ActionHead, weighted_mean


def build_training_scheduler(config: DiffusionConfig) -> DDPMScheduler:
    """The forward process: ``add_noise`` and the target of the prediction."""
    return DDPMScheduler(
        num_train_timesteps=config.train_steps,
        beta_schedule=config.schedule,
        prediction_type=config.prediction,
        clip_sample=config.clip_sample,
        variance_type="fixed_small",
    )


def build_sampling_scheduler(config: DiffusionConfig) -> DDIMScheduler | DDPMScheduler:
    """The reverse process with its time steps set (descending, first one pure noise if ``trailing``)."""
    if config.sampler == "ddpm":
        scheduler = build_training_scheduler(config)
        scheduler.set_timesteps(config.train_steps)
        return scheduler
    scheduler = DDIMScheduler(
        num_train_timesteps=config.train_steps,
        beta_schedule=config.schedule,
        prediction_type=config.prediction,
        clip_sample=config.clip_sample,
        set_alpha_to_one=True,
        steps_offset=0,
        timestep_spacing=config.spacing,
    )
    scheduler.set_timesteps(config.inference_steps)
    return scheduler


class DiffusionHead(ActionHead):
    """Noise schedule and denoiser."""

    def __init__(self, config: PolicyConfig, frame_features: int) -> None:
        super().__init__(config, frame_features)
        self.config = config.diffusion
        self.denoiser = build_denoiser(config, frame_features)
        self.forward_process = build_training_scheduler(config.diffusion)
        self.reverse_process = build_sampling_scheduler(config.diffusion)

    @property
    def evaluations(self) -> int:
        """Denoiser evaluations per chunk."""
        return len(self.reverse_process.timesteps)

    def loss(
        self, condition: Tensor, actions: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean squared error of the prediction over noise levels, see :meth:`ActionHead.loss`."""
        actions = actions.repeat_interleave(draws, dim=0)
        noise = torch.randn(actions.shape, generator=generator).to(actions.device)
        steps = torch.randint(0, self.config.train_steps, (len(actions),), generator=generator).to(actions.device)
        noisy = self.forward_process.add_noise(actions, noise, steps)  # type: ignore[arg-type]
        predicted = self.denoiser(noisy.to(self.dtype), steps, condition.to(self.dtype)).float()
        target = noise if self.config.prediction == "epsilon" else actions
        return weighted_mean((predicted - target).square().mean(dim=-1), weights, draws)

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        generator: torch.Generator | None = None,
        draws: int = 1,
        previous: Tensor | None = None,
    ) -> Tensor:
        """Draw action sequences, see :meth:`ActionHead.sample`."""
        process = self.reverse_process
        shape = (condition.shape[0] * draws, self.action.horizon, self.action.dim)
        chunk = torch.randn(shape, generator=generator).to(condition.device)
        prepared = self.denoiser.prepare(condition.to(self.dtype).repeat_interleave(draws, dim=0), process.timesteps)
        for index, step in enumerate(process.timesteps):
            predicted = self.denoiser.denoise(chunk.to(self.dtype), prepared, index).float()
            chunk = process.step(predicted, int(step), chunk, generator=generator).prev_sample  # type: ignore[union-attr]
        return chunk
