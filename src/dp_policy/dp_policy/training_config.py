"""The description of a training, part of a policy file; plain data, so that checkpoints can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import PolicyConfigError, check_range


@dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of the weights: decay(step) = min(decay, 1 - (1 + step)^-power)."""

    decay: float = 0.9999
    power: float = 0.75

    def __post_init__(self) -> None:
        check_range("decay", self.decay, 0.0, 1.0)
        check_range("power", self.power, 0.0, 10.0)


@dataclass(frozen=True)
class TrainingConfig:
    """The optimisation.

    Attributes:
        steps: optimiser steps.
        batch_size: observations per step.
        noise_draws: noise and timestep draws per encoded observation.
        learning_rate: peak, after ``warmup_steps`` of linear warm-up, then cosine to zero.
        betas: AdamW moments.
        weight_decay: AdamW.
        gradient_clip: largest norm of the gradient; 0: no clipping.
        precision: ``fp32`` or ``bf16`` (bf16 weights in the passes, fp32 masters in the optimiser).
        padded_step_weight: loss weight of actions past the end of an episode (the last one repeated).
        validation_fraction: episodes held out.
        validation_interval: steps between validations; 0: only at the end.
        checkpoint_interval: steps between checkpoints.
        threads: torch threads.
    """

    steps: int = 2000
    batch_size: int = 64
    noise_draws: int = 1
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.95, 0.999)
    weight_decay: float = 1e-6
    warmup_steps: int = 500
    gradient_clip: float = 0.0
    precision: str = "fp32"
    padded_step_weight: float = 0.0
    validation_fraction: float = 0.02
    validation_interval: int = 500
    checkpoint_interval: int = 500
    threads: int = 1
    ema: EmaConfig = field(default_factory=EmaConfig)

    def __post_init__(self) -> None:
        for key in ("steps", "batch_size", "noise_draws", "checkpoint_interval", "threads"):
            check_range(key, getattr(self, key), 1)
        for key in ("learning_rate", "weight_decay", "gradient_clip", "validation_interval", "warmup_steps"):
            check_range(key, getattr(self, key), 0)
        check_choice("precision", self.precision, ("fp32", "bf16"))
        check_range("padded_step_weight", self.padded_step_weight, 0.0, 1.0)
        check_range("validation_fraction", self.validation_fraction, 0.0, 0.9)
        if len(self.betas) != 2:
            raise PolicyConfigError(f"betas = {list(self.betas)} is not valid; expected two numbers")
