"""The description of a training, part of a policy file; plain data, so that checkpoints can carry it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import PolicyConfigError, check_range

#: Values that may change when a run is resumed, because neither weights nor order of the data depend on them, and
#: ``steps``, which may be raised to go on. Anything else that differs is refused.
RESUMABLE_KEYS = (
    "steps",
    "validation_interval",
    "validation_windows",
    "checkpoint_interval",
    "kept_checkpoints",
    "top_k",
    "threads",
    "loader_threads",
    "device",
    "compile",
    "accumulation",
    "constant_action_columns",
    "wandb",
)


@dataclass(frozen=True)
class EmaConfig:
    """Exponential moving average of the weights: decay(step) = min(decay, 1 - max(step, 1)^-power).

    The warm-up of arXiv 2303.04137 (inverse gamma 1, power 3/4). The average moves after every optimiser step: with
    gradient accumulation that is once per batch, not once per micro-batch.
    """

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
        batch_size: observations per step, over all processes and micro-batches.
        accumulation: micro-batches per process; the gradient is that of the whole batch, the memory is a share of it.
        noise_draws: noise and timestep draws per encoded observation.
        learning_rate: peak, after ``warmup_steps`` of linear warm-up, then cosine to zero; modules with a
            ``learning_rate_scale`` (pretrained trunks) take that share of it.
        betas: AdamW moments.
        weight_decay: AdamW, for the networks that have no figure of their own below.
        transformer_weight_decay: for the matrices of transformers; their biases, norms, embeddings and positions
            have none (paper: 1e-3).
        encoder_weight_decay: for the observation encoder (paper: 1e-6).
        warmup_steps: of the learning rate.
        gradient_clip: largest norm of the gradient; 0: no clipping.
        precision: ``fp32``, ``bf16`` (bf16 weights in the passes, fp32 masters in the optimiser) or ``amp``
            (fp32 weights, passes under autocast to bf16).
        padded_step_weight: loss weight of actions past the end of an episode (the last one repeated).
        constant_action_columns: action columns that may be the same number everywhere in the data. Others that
            never change are refused, since the policy could not learn to move them.
        validation_fraction: episodes held out.
        validation_interval: steps between validations; 0: only at the end.
        validation_windows: held-out windows scored each time.
        checkpoint_interval: steps between checkpoints.
        kept_checkpoints: newest checkpoints kept; the newest two of them can be resumed.
        top_k: checkpoints with the lowest validation action error that are kept beside those.
        threads: torch threads.
        loader_threads: threads that gather the next batches while a step runs.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        compile: run image encoders and denoiser through torch.compile; needs a C++ compiler.
        wandb: project in Weights & Biases to report to as well; empty: none.
    """

    steps: int = 2000
    batch_size: int = 64
    accumulation: int = 1
    noise_draws: int = 1
    learning_rate: float = 1e-4
    betas: tuple[float, ...] = (0.95, 0.999)
    weight_decay: float = 1e-6
    transformer_weight_decay: float = 1e-3
    encoder_weight_decay: float = 1e-6
    warmup_steps: int = 500
    gradient_clip: float = 0.0
    precision: str = "fp32"
    padded_step_weight: float = 0.0
    constant_action_columns: tuple[int, ...] = ()
    validation_fraction: float = 0.02
    validation_interval: int = 500
    validation_windows: int = 256
    checkpoint_interval: int = 500
    kept_checkpoints: int = 2
    top_k: int = 1
    threads: int = 1
    loader_threads: int = 1
    device: str = "auto"
    compile: bool = False
    wandb: str = ""
    ema: EmaConfig = field(default_factory=EmaConfig)

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "accumulation", "noise_draws", "validation_windows", "checkpoint_interval")
        for key in (*counts, "kept_checkpoints", "threads", "loader_threads"):
            check_range(key, getattr(self, key), 1)
        decays = ("weight_decay", "transformer_weight_decay", "encoder_weight_decay")
        for key in ("learning_rate", *decays, "gradient_clip", "validation_interval", "warmup_steps", "top_k"):
            check_range(key, getattr(self, key), 0)
        check_choice("precision", self.precision, ("fp32", "bf16", "amp"))
        check_choice("device", self.device, ("auto", "cpu", "cuda"))
        check_range("padded_step_weight", self.padded_step_weight, 0.0, 1.0)
        check_range("validation_fraction", self.validation_fraction, 0.0, 0.9)
        if len(self.betas) != 2:
            raise PolicyConfigError(f"betas = {list(self.betas)} is not valid; expected two numbers")
        if self.batch_size % self.accumulation:
            raise PolicyConfigError(
                f"accumulation = {self.accumulation} is not valid; it must divide batch_size = {self.batch_size}"
            )
