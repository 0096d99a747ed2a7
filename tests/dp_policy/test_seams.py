"""What continuity is for: a policy that may go two ways does not change its mind at the seam of two chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import Batch, VisuomotorPolicy
from torch import Tensor

HORIZON, LATE, ROWS = 8, 3, 64
UNET = {"sizes": [32], "step_features": 16, "activation": "silu"}
TRANSFORMER = {"kind": "transformer", "transformer": {"layers": 2, "heads": 2, "width": 32, "attention_dropout": 0.0}}


def two_ways(rows: int, generator: torch.Generator) -> Tensor:
    """(rows, HORIZON, 1): slow drifts about -0.6 or 0.6, either as likely; the observation does not tell which."""
    way = torch.randint(0, 2, (rows, 1), generator=generator) * 1.2 - 0.6
    drift = (torch.rand((rows, 1), generator=generator) - 0.5) * 0.02
    return (way + drift * torch.arange(HORIZON))[:, :, None]


def trained(config: PolicyConfig, steps: int, rate: float) -> VisuomotorPolicy:
    torch.manual_seed(0)
    policy, generator = VisuomotorPolicy(config), torch.Generator().manual_seed(0)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        seen = torch.zeros(ROWS, 1, 1)
        batch = Batch({}, seen, two_ways(ROWS, generator), torch.ones(ROWS, HORIZON))
        policy.loss(batch, 1, generator).backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
    return policy.eval().requires_grad_(False)


def seams(policy: VisuomotorPolicy, choice: str) -> Tensor:
    """(N,) distances from the last action that the robot will have executed to the first of the new chunk."""
    policy.continuity = choice
    plan = two_ways(200, torch.Generator().manual_seed(9))[:, 1:]
    features = policy.encode({}, torch.zeros(200, 1, 1))
    chunks = policy.plan(features, plan, LATE, torch.Generator().manual_seed(1))
    given = policy.given(LATE, plan.shape[1])
    assert given == (0 if choice == "none" else LATE)
    assert torch.equal(chunks[:, :given], plan[:, :given])
    return (chunks[:, LATE] - plan[:, LATE - 1]).abs()[:, 0]


@pytest.mark.parametrize(
    ("method", "denoiser", "rate"),
    [("diffusion", UNET, 5e-3), ("diffusion", TRANSFORMER, 3e-3), ("flow", UNET, 5e-3)],
    ids=["diffusion_unet", "diffusion_transformer", "flow_unet"],
)
def test_seams_are_smooth_where_the_mind_could_change(
    small_config: Callable[..., PolicyConfig], method: str, denoiser: dict, rate: float
) -> None:
    """Without continuity every second chunk goes the other way. With given actions nearly none does, and with guidance
    at inference few do, for the same weights."""
    config = small_config(
        observation={"cameras": [], "images": False, "proprioception_dim": 1},
        action={"dim": 1, "horizon": HORIZON, "steps": 4, "prefix": 4},
        denoiser=denoiser,
        diffusion={"prediction": "sample", "inference_steps": 8},
    ).to_dict()
    config |= {"method": method, "flow": {"inference_steps": 8}}
    policy = trained(PolicyConfig.from_dict(config), 200, rate)
    free, held, guided = (seams(policy, choice) for choice in ("none", "prefix", "guided"))
    assert 0.35 < float((free > 0.6).float().mean()) < 0.65
    assert float(held.mean()) < 0.15 * float(free.mean())
    assert float(guided.mean()) < 0.5 * float(free.mean())
