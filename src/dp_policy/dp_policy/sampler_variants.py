"""The ways in which one set of trained weights can draw chunks, for tables of quality and time against evaluations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dp_policy.config import PolicyConfig

#: Step counts compared, where the method has steps.
DIFFUSION_STEPS = (1, 2, 4, 8, 16)
FLOW_STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class SamplerVariant:
    """One way of drawing chunks.

    Attributes:
        sampler: name for tables: ``ddim trailing``, ``dpmsolver++``, ``flow``, ...
        evaluations: of the denoiser per chunk (NFE).
        config: of the policy, for the same weights.
    """

    sampler: str
    evaluations: int
    config: PolicyConfig


def sampler_variants(config: PolicyConfig) -> list[SamplerVariant]:
    """Every variant of the method of ``config``: DDPM, DDIM by spacing and steps, DPM-Solver++, or Euler by steps.

    Step counts above the trained number of levels are left out. A method without steps has one variant.
    """
    if config.method == "diffusion":
        return list(_diffusion_variants(config))
    if config.method == "flow":
        changes = [{"inference_steps": steps, "warm_start": 0.0} for steps in FLOW_STEPS]
        return [SamplerVariant("flow", int(c["inference_steps"]), config.with_sampling(**c)) for c in changes]
    if config.method == "two_step":
        return [SamplerVariant(f"two_step {config.two_step.kind}", 2, config)]
    return [SamplerVariant(config.method, config.ibc.evaluations if config.method == "ibc" else 1, config)]


def _diffusion_variants(config: PolicyConfig) -> Iterator[SamplerVariant]:
    levels = config.diffusion.train_steps
    counts = [steps for steps in DIFFUSION_STEPS if steps <= levels]
    yield SamplerVariant("ddpm", levels, config.with_sampling(sampler="ddpm", warm_start=0.0))
    for spacing in ("trailing", "leading", "linspace"):
        for steps in counts:
            changes = {"sampler": "ddim", "spacing": spacing, "inference_steps": steps, "warm_start": 0.0}
            yield SamplerVariant(f"ddim {spacing}", steps, config.with_sampling(**changes))
    for steps in counts:
        changes = {"sampler": "dpmsolver++", "spacing": "trailing", "inference_steps": steps, "warm_start": 0.0}
        yield SamplerVariant("dpmsolver++", steps, config.with_sampling(**changes))
