"""How well a policy predicts episodes that it was not trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from dp_policy.policy import Policy
from torch import Tensor

from dp_trainer.device import move_batch
from dp_trainer.windows import WindowSampler

#: Windows at a time; fixed, because the noise of a score depends on it, and few, because IBC draws 16384 samples each.
BATCH_SIZE = 32


@dataclass(frozen=True)
class ValidationScore:
    """Figures on held-out episodes; the same windows and the same noise each time.

    Attributes:
        loss: training loss.
        action_error: root mean square error of the executed part of sampled chunks, normalised units.
        position_error: mean distance of the first three action columns over the executed part, in the units of the
            data (metres in a cell, pixels in Push-T).
    """

    loss: float
    action_error: float
    position_error: float


@torch.no_grad()
def validate(policy: Policy, sampler: WindowSampler, seed: int, windows: int) -> ValidationScore:
    """Score sampled chunks on a fixed set of windows, with fixed noise.

    Args:
        policy: in evaluation mode, on any device.
        sampler: over the held-out episodes.
        seed: of the noise.
        windows: how many are scored, all of them if there are fewer.
    """
    generator = torch.Generator().manual_seed(seed)
    device = policy.normaliser.action.offset.device
    chosen = sampler.indices(0, min(windows, len(sampler.windows)))
    totals = torch.zeros(5, dtype=torch.float64)
    for first in range(0, len(chosen), BATCH_SIZE):
        batch = move_batch(sampler.batch(chosen[first : first + BATCH_SIZE]), device)
        planned = policy.plan(policy.encode(batch.images, batch.proprioception), generator=generator)
        loss = policy.loss(batch, 1, generator)
        counted = policy.counted(batch)
        sums = _error_sums(policy, planned, batch.actions, batch.weights)
        totals += torch.stack((loss.float() * counted, counted, *sums)).double().cpu()
    loss_sum, counted, squared, distance, steps = totals.tolist()
    steps = max(steps, 1.0)
    return ValidationScore(loss_sum / max(counted, 1e-9), (squared / steps) ** 0.5, distance / steps)


def _error_sums(policy: Policy, planned: Tensor, actions: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, distance and number of real steps, summed over the executed part of the chunks."""
    steps, past = policy.config.action.steps, policy.config.action.past
    wanted, planned = actions[:, past : past + steps], planned[:, :steps]
    real = (weights[:, past : past + steps] == 1.0).float()
    normalise = policy.normaliser.action.normalise
    squared = (normalise(planned) - normalise(wanted)).square().mean(dim=-1)
    distance = (planned - wanted)[..., :3].norm(dim=-1)
    return (squared * real).sum(), (distance * real).sum(), real.sum()
