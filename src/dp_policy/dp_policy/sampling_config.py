"""How chunks are drawn: noise schedules, samplers and few-step variants."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import check_range


@dataclass(frozen=True)
class DiffusionConfig:
    """Noise schedule of the training and sampler of the deployment.

    Attributes:
        train_steps: noise levels.
        schedule: diffusers beta schedule.
        prediction: ``epsilon`` (noise) or ``sample`` (the clean chunk).
        sampler: ``ddim`` or ``ddpm``.
        inference_steps: denoiser evaluations per chunk (ddpm always runs ``train_steps``).
        spacing: ``trailing`` starts from pure noise at any step count.
        clip_sample: clip the predicted clean chunk to [-1, 1] at every step.
        candidates: chunks drawn per inference; the one nearest to the plan in execution is taken (1: no choice).
    """

    train_steps: int = 100
    schedule: str = "squaredcos_cap_v2"
    prediction: str = "epsilon"
    sampler: str = "ddim"
    inference_steps: int = 16
    spacing: str = "trailing"
    clip_sample: bool = True
    candidates: int = 1

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, ("squaredcos_cap_v2", "linear", "scaled_linear"))
        check_choice("prediction", self.prediction, ("epsilon", "sample"))
        check_choice("sampler", self.sampler, ("ddim", "ddpm"))
        check_choice("spacing", self.spacing, ("trailing", "linspace", "leading"))
        check_range("train_steps", self.train_steps, 1)
        check_range("candidates", self.candidates, 1, 64)
        check_range("inference_steps", self.inference_steps, 1, self.train_steps)


@dataclass(frozen=True)
class FlowConfig:
    """Flow matching: a straight path from noise to the chunk, integrated by Euler steps.

    Attributes:
        inference_steps: Euler steps, one denoiser evaluation each.
    """

    inference_steps: int = 4

    def __post_init__(self) -> None:
        check_range("inference_steps", self.inference_steps, 1, 1000)


@dataclass(frozen=True)
class TwoStepConfig:
    """Two evaluations per chunk."""
