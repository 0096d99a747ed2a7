"""What each baseline makes of people who do one of two things: the same small problem for all of them.

One observation; the action is (0.5, 0.2) seven times out of ten, else (-0.5, -0.6), with a spread of 0.05.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.heads.base import ActionHead
from dp_policy.heads.build import build_head
from torch import Tensor

MODES = torch.tensor([[0.5, 0.2], [-0.5, -0.6]])
SPREAD = 0.05
ENERGY = {"width": 48, "depth": 2, "samples": 1024, "negative_count": 64}


def config_of(method: str, **section: Any) -> PolicyConfig:
    sections: dict[str, Any] = {
        "observation": {"images": False, "history": 1, "proprioception_dim": 3},
        "action": {"dim": 2, "horizon": 1, "steps": 1},
        "denoiser": {"sizes": [16], "step_features": 16},
    }
    if section:
        sections[method] = section
    return PolicyConfig.from_dict({"name": "two_modes", "method": method, **sections})


def draw_actions(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, 1, 2) actions and the mode (N,) of each."""
    mode = (torch.rand(count, generator=generator) > 0.7).long()
    return MODES[mode].unsqueeze(1) + SPREAD * torch.randn(count, 1, 2, generator=generator), mode


def trained(config: PolicyConfig, steps: int, rate: float, seed: int = 0) -> ActionHead:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    head = build_head(config, 3)
    head.fit(draw_actions(2000, generator)[0], generator)
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        actions, _ = draw_actions(64, generator)
        loss = head.loss(torch.ones(64, 3), actions, torch.ones(64, 1), 1, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head.eval()


def shares(sampled: Tensor, within: float) -> tuple[float, float]:
    """Shares of the (N, 1, 2) actions within a distance of the first and of the second mode."""
    distance = torch.cdist(sampled[:, 0], MODES)
    first, second = (distance < within).float().mean(dim=0).tolist()
    return first, second


def test_regression_gives_the_mean_which_nobody_did() -> None:
    head = trained(config_of("regression"), 150, 1e-2)
    sampled = head.sample(torch.ones(2, 3), draws=2)
    assert sampled.shape == (4, 1, 2)
    mean = 0.7 * MODES[0] + 0.3 * MODES[1]
    torch.testing.assert_close(sampled[:, 0], mean.expand(4, 2), atol=0.06, rtol=0)
    assert shares(sampled, 0.2) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("method", "section", "steps", "rate", "within"),
    [
        ("lstm_gmm", {"hidden": 16}, 200, 2e-2, 0.1),
        ("bet", {"bins": 4, "layers": 1, "width": 16, "heads": 2}, 200, 1e-2, 0.25),
        # One round draws from exp(-energy) as it is; every further one favours the deeper mode more.
        ("ibc", {**ENERGY, "iterations": 1, "select": "sample"}, 250, 5e-3, 0.25),
    ],
)
def test_generative_baselines_give_both_modes_with_their_odds(
    method: str, section: dict[str, Any], steps: int, rate: float, within: float
) -> None:
    head = trained(config_of(method, **section), steps, rate)
    sampled = head.sample(torch.ones(1, 3), torch.Generator().manual_seed(1), draws=400)
    assert sampled.shape == (400, 1, 2)
    first, second = shares(sampled, within)
    assert first + second > 0.95
    assert first == pytest.approx(0.7, abs=0.12)


def test_best_action_of_an_energy_is_one_of_the_modes() -> None:
    head = trained(config_of("ibc", **ENERGY), 250, 5e-3)
    sampled = head.sample(torch.ones(1, 3), torch.Generator().manual_seed(1), draws=20)
    first, second = shares(sampled, 0.15)
    assert first + second == 1.0


@pytest.mark.parametrize("method", ["lstm_gmm", "bet", "ibc"])
def test_draws_depend_on_the_seed_alone(method: str) -> None:
    section = {"lstm_gmm": {"hidden": 8}, "bet": {"bins": 4}, "ibc": {"width": 16, "samples": 64}}[method]
    head = trained(config_of(method, **section), 2, 1e-3)
    condition = torch.randn(4, 3)
    once, again, other = (head.sample(condition, torch.Generator().manual_seed(seed), draws=8) for seed in (5, 5, 6))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


@pytest.mark.parametrize("method", ["regression", "lstm_gmm", "bet", "ibc"])
def test_actions_of_weight_zero_do_not_matter(method: str) -> None:
    head = trained(config_of(method), 0, 1e-3)
    condition, actions = torch.randn(4, 3), 0.3 * torch.randn(4, 1, 2)
    weights = torch.tensor([[1.0], [0.0], [1.0], [0.0]])

    def loss() -> float:
        return head.loss(condition, actions, weights, 1, torch.Generator().manual_seed(0)).item()

    before = loss()
    actions[1::2] = 0.9
    assert loss() == pytest.approx(before, rel=1e-6)
    actions[0] = 0.9
    assert loss() != pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("method", ["regression", "lstm_gmm", "bet", "ibc"])
def test_bfloat16_runs_and_keeps_what_was_fitted(method: str) -> None:
    head = trained(config_of(method), 0, 1e-3)
    fitted = {name: value.clone() for name, value in head.named_buffers() if "bins" in name or "bounds" in name}
    assert bool(fitted) == (method in ("bet", "ibc"))
    head.to(torch.bfloat16)
    loss = head.loss(torch.ones(2, 3), torch.zeros(2, 1, 2), torch.ones(2, 1), 1, torch.Generator())
    loss.backward()
    sampled = head.sample(torch.ones(2, 3), torch.Generator())
    assert loss.dtype == sampled.dtype == torch.float32
    assert bool(torch.isfinite(sampled).all())
    for name, value in fitted.items():
        assert torch.equal(head.get_buffer(name), value)
