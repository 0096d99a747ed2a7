"""Denoising diffusion over action chunks (Ho et al. 2020; Song et al. 2021), schedules by diffusers.

Training draws several noise levels per encoded observation, since the observation encoder is the costly part.
Sampling starts from pure noise and runs DDIM or DDPM.
"""

from __future__ import annotations

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor, nn

from dp_policy.config import DiffusionConfig, PolicyConfig
from dp_policy.unet1d import ConditionalUnet1d


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


class DiffusionHead(nn.Module):
    """Noise schedule and denoiser: the distribution of normalised chunks given observation features."""

    def __init__(self, config: PolicyConfig, condition_dim: int) -> None:
        super().__init__()
        self.action = config.action
        self.config = config.diffusion
        self.denoiser = ConditionalUnet1d(config.action.dim, condition_dim, config.denoiser)
        self.forward_process = build_training_scheduler(config.diffusion)
        self.reverse_process = build_sampling_scheduler(config.diffusion)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the denoiser's weights."""
        return self.denoiser.dtype

    def loss(
        self, condition: Tensor, chunks: Tensor, weights: Tensor, draws: int, generator: torch.Generator
    ) -> Tensor:
        """Weighted mean squared error of the prediction over noise levels.

        Args:
            condition: (B, C) observation features.
            chunks: (B, Tp, A) float32, normalised.
            weights: (B, Tp) float32, 1 for real steps, less for padded ones.
            draws: noise draws per observation.
            generator: draws noise and levels.

        Returns:
            scalar float32.
        """
        chunks = chunks.repeat_interleave(draws, dim=0)
        noise = torch.randn(chunks.shape, generator=generator)
        steps = torch.randint(0, self.config.train_steps, (chunks.shape[0],), generator=generator)
        noisy = self.forward_process.add_noise(chunks, noise, steps)  # type: ignore[arg-type]
        predicted = self.denoiser(noisy.to(self.dtype), steps, condition.to(self.dtype)).float()
        target = noise if self.config.prediction == "epsilon" else chunks
        error = (predicted - target).square().mean(dim=-1).view(-1, draws, chunks.shape[1]).mean(dim=1)
        return (error * weights).sum() / weights.sum().clamp_min(1.0)

    @torch.no_grad()
    def sample(self, condition: Tensor, generator: torch.Generator | None = None, draws: int = 1) -> Tensor:
        """Draw chunks: (B, C) features to (B * draws, Tp, A) float32, normalised, an observation's side by side."""
        process = self.reverse_process
        shape = (condition.shape[0] * draws, self.action.horizon, self.action.dim)
        chunk = torch.randn(shape, generator=generator)
        films = self.denoiser.condition_films(condition.to(self.dtype)).repeat_interleave(draws, dim=0)
        table = self.denoiser.step_films(process.timesteps)
        for step, step_film in zip(process.timesteps, table, strict=True):
            predicted = self.denoiser.denoise(chunk.to(self.dtype), films + step_film).float()
            chunk = process.step(predicted, int(step), chunk, generator=generator).prev_sample  # type: ignore[union-attr]
        return chunk
