"""How well a policy predicts episodes that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from dp_policy.policy import Policy

from dp_trainer.windows import WindowSampler

#: Windows scored per validation: enough to see a trend, little enough not to slow training.
WINDOWS = 64


@dataclass(frozen=True)
class ValidationScore:
    """Figures on held-out episodes.

    Attributes:
        loss: training loss.
        action_error: root mean square error of the executed part of sampled chunks, normalised units.
        position_error_m: mean distance of the first three action columns over the executed part, metres.
    """

    loss: float
    action_error: float
    position_error_m: float


@torch.no_grad()
def validate(policy: Policy, sampler: WindowSampler, seed: int) -> ValidationScore:
    """Score sampled chunks on a fixed set of windows, with fixed noise."""
    batch = sampler.batch(sampler.indices(0, min(WINDOWS, len(sampler.windows))))
    generator = torch.Generator().manual_seed(seed)
    steps, past = policy.config.action.steps, policy.config.action.past
    features = policy.encode(batch.images, batch.proprioception)
    planned = policy.plan(features, generator=generator)
    wanted = batch.actions[:, past:]
    weights = (batch.weights[:, past : past + steps] == 1.0).float()
    total = weights.sum().clamp_min(1.0)
    normalise = policy.normaliser.action.normalise
    error = (normalise(planned) - normalise(wanted))[:, :steps].square().mean(dim=-1)
    distance = (planned - wanted)[:, :steps, :3].norm(dim=-1)
    return ValidationScore(
        loss=float(policy.loss(batch, 1, generator)),
        action_error=float(((error * weights).sum() / total).sqrt()),
        position_error_m=float((distance * weights).sum() / total),
    )
