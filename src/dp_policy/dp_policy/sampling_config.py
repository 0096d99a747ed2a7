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
        prediction: ``epsilon`` (noise), ``sample`` (the clean chunk) or ``v`` (velocity, arXiv 2202.00512).
        sampler: ``ddim``, ``ddpm`` or ``dpmsolver++``.
        inference_steps: denoiser evaluations per chunk (ddpm always runs ``train_steps``).
        spacing: ``trailing`` (starts from pure noise at any step count), ``leading`` or ``linspace``; see
            :mod:`dp_policy.samplers`.
        clip_sample: clip the predicted clean chunk to [-1, 1] at every step.
        candidates: chunks drawn per inference; the one nearest to the plan in execution is taken (1: no choice).
        warm_start: share of the steps left out by starting from the plan in execution, noised to the level of the
            first step that is left (at least one is); 0: start from noise. See :mod:`dp_policy.heads.warm_start`.
        guidance: bound beta of the weight with which ``continuity = guided`` pulls towards the plan in execution;
            5 is the paper's, see :mod:`dp_policy.heads.guidance`.
    """

    train_steps: int = 100
    schedule: str = "squaredcos_cap_v2"
    prediction: str = "epsilon"
    sampler: str = "ddim"
    inference_steps: int = 16
    spacing: str = "trailing"
    clip_sample: bool = True
    candidates: int = 1
    warm_start: float = 0.0
    guidance: float = 5.0

    def __post_init__(self) -> None:
        check_choice("schedule", self.schedule, ("squaredcos_cap_v2", "linear", "scaled_linear"))
        check_choice("prediction", self.prediction, ("epsilon", "sample", "v"))
        check_choice("sampler", self.sampler, ("ddim", "ddpm", "dpmsolver++"))
        check_choice("spacing", self.spacing, ("trailing", "linspace", "leading"))
        check_range("train_steps", self.train_steps, 1)
        check_range("candidates", self.candidates, 1, 64)
        check_range("inference_steps", self.inference_steps, 1, self.train_steps)
        check_range("warm_start", self.warm_start, 0.0, 1.0)
        check_range("guidance", self.guidance, 0.1, 1000.0)


@dataclass(frozen=True)
class FlowConfig:
    """Flow matching: a straight path from noise to the chunk, integrated by Euler steps.

    Attributes:
        inference_steps: Euler steps, one denoiser evaluation each (4 to 8 are usual).
        time_sampling: of the path times in training, 0 noise and 1 data: ``uniform``; ``logit_normal``, the middle
            more often (arXiv 2403.03206); or ``beta``, near the noise more often (arXiv 2410.24164).
        candidates: chunks drawn per inference; the one nearest to the plan in execution is taken (1: no choice).
        warm_start: share of the path left out by starting from the plan in execution, as in :class:`DiffusionConfig`.
        guidance: see :class:`DiffusionConfig`.
    """

    inference_steps: int = 4
    time_sampling: str = "uniform"
    candidates: int = 1
    warm_start: float = 0.0
    guidance: float = 5.0

    def __post_init__(self) -> None:
        check_choice("time_sampling", self.time_sampling, ("uniform", "logit_normal", "beta"))
        check_range("inference_steps", self.inference_steps, 1, 1000)
        check_range("candidates", self.candidates, 1, 64)
        check_range("warm_start", self.warm_start, 0.0, 1.0)
        check_range("guidance", self.guidance, 0.1, 1000.0)


@dataclass(frozen=True)
class TwoStepConfig:
    """Two evaluations per chunk.

    Attributes:
        kind: ``l1_flow`` (arXiv 2511.17898) or ``mip`` (minimal iterative policy, arXiv 2512.01809). The first is
            the default: trained for the same time it solved Push-T more than twice as often (docs/results.md).
        mip_time: path time of mip's second evaluation, fixed by training; 1 would be no noise.
        l1_midpoint: path time of l1_flow's second evaluation; any, for the same weights.
        candidates: chunks drawn per inference, for ``l1_flow`` (``mip`` draws no noise).
    """

    kind: str = "l1_flow"
    mip_time: float = 0.9
    l1_midpoint: float = 0.5
    candidates: int = 1

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("l1_flow", "mip"))
        check_range("mip_time", self.mip_time, 0.1, 0.99)
        check_range("l1_midpoint", self.l1_midpoint, 0.0, 0.99)
        check_range("candidates", self.candidates, 1, 64)
