"""The searches of implicit cloning on an energy whose minimum is known."""

from __future__ import annotations

import pytest
import torch
from dp_policy.config import IbcConfig
from dp_policy.energy import (
    Box,
    EnergyNetwork,
    energy_slope,
    langevin_steps,
    resample,
    run_langevin,
    search_derivative_free,
    slope_penalty,
)
from torch import Tensor

TARGETS = torch.tensor([[[0.3, -0.6]], [[-0.8, 0.1]]])
BOX = Box(-torch.ones(2), torch.ones(2))


def bowl(actions: Tensor) -> Tensor:
    """50 |a - target|^2 for two observations."""
    return 50 * (actions - TARGETS).square().sum(dim=-1)


def test_derivative_free_search_finds_the_minimum() -> None:
    generator = torch.Generator().manual_seed(0)
    start = BOX.draw(2, 1024, generator)
    actions, energies = search_derivative_free(bowl, start, BOX, IbcConfig(), generator)
    best = actions[torch.arange(2), energies.argmin(dim=1)]
    torch.testing.assert_close(best, TARGETS[:, 0], atol=0.02, rtol=0)
    torch.testing.assert_close(bowl(actions), energies)
    assert float((actions - TARGETS).norm(dim=-1).mean()) < float((start - TARGETS).norm(dim=-1).mean()) / 3


def test_one_round_of_the_search_is_its_start() -> None:
    start = BOX.draw(2, 16, torch.Generator().manual_seed(0))
    actions, _ = search_derivative_free(bowl, start, BOX, IbcConfig(iterations=1), torch.Generator())
    assert torch.equal(actions, start)


def test_langevin_finds_the_minimum_and_stays_in_the_box() -> None:
    generator = torch.Generator().manual_seed(0)
    config = IbcConfig(langevin_noise=0.1)
    actions = run_langevin(bowl, BOX.draw(2, 64, generator), BOX, config, config.langevin_step, generator)
    torch.testing.assert_close(actions.mean(dim=1), TARGETS[:, 0], atol=0.02, rtol=0)
    assert float((actions - TARGETS).norm(dim=-1).max()) < 0.1
    outside = Box(torch.tensor([0.5, 0.5]), torch.ones(2))
    held = run_langevin(bowl, outside.draw(2, 8, generator), outside, config, config.langevin_step, generator)
    assert bool((held >= 0.5).all())


def test_langevin_step_by_hand() -> None:
    """a - step * slope / 2 without noise: 0.5 - 0.001 * 100 * (0.5 - 0.3) / 2 = 0.49; a steep slope is clipped."""
    config = IbcConfig(langevin_iterations=1, langevin_noise=0.0)
    start = torch.tensor([[[0.5, -0.6]], [[-0.8, 0.1]]])
    moved = run_langevin(bowl, start, BOX, config, 0.001, None)
    torch.testing.assert_close(moved, torch.tensor([[[0.49, -0.6]], [[-0.8, 0.1]]]))
    clipped = run_langevin(bowl, start, BOX, config, 1.0, None)
    torch.testing.assert_close(clipped[0], torch.tensor([[0.4, -0.6]]))


def test_langevin_steps_are_those_of_the_paper() -> None:
    steps = langevin_steps(0.1, IbcConfig())
    assert len(steps) == 100
    assert (steps[0], steps[-1]) == pytest.approx((0.1, 1e-5))
    assert steps[50] == pytest.approx((0.1 - 1e-5) * (49 / 99) ** 2 + 1e-5)


def test_resampling_follows_the_energies() -> None:
    actions = torch.tensor([[[0.0], [1.0], [2.0]]])
    energies = -torch.tensor([[0.1, 0.2, 0.7]]).log()
    drawn = resample(actions, energies, 10000, torch.Generator().manual_seed(0)).flatten()
    shares = torch.bincount(drawn.long(), minlength=3) / 10000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.2, 0.7]), atol=0.015, rtol=0)


def test_slope_and_penalty_by_hand() -> None:
    """Slopes (20, 0) and (3, -4) with margin 1: ((20 - 1)^2 + (4 - 1)^2) / 2 = 185; below the margin nothing."""
    slope = torch.tensor([[[20.0, 0.0], [3.0, -4.0]], [[0.9, -1.0], [0.0, 0.0]]])
    assert slope_penalty(slope, 1.0).tolist() == [185.0, 0.0]
    at = TARGETS + torch.tensor([0.2, 0.0])
    torch.testing.assert_close(energy_slope(bowl, at, differentiable=False), torch.tensor([[[20.0, 0.0]]] * 2))


@pytest.mark.parametrize(("kind", "depth"), [("residual", 4), ("mlp", 3)])
def test_network_equals_its_formula(kind: str, depth: int) -> None:
    torch.manual_seed(0)
    network = EnergyNetwork(3, 2, IbcConfig(network=kind, width=8, depth=depth)).eval()
    condition, actions = torch.randn(4, 3), torch.randn(4, 6, 2)
    joined = torch.cat([condition.unsqueeze(1).expand(4, 6, 3), actions], dim=-1)
    weight = torch.cat([network.condition.weight, network.actions.weight], dim=1)
    hidden = joined @ weight.T + network.condition.bias
    if kind == "residual":
        for i in (0, 2):
            hidden = hidden + network.layers[i + 1](network.layers[i](hidden.relu()).relu())
        expected = network.output(hidden)
    else:
        for layer in network.layers:
            hidden = layer(hidden.relu())
        expected = network.output(hidden.relu())
    torch.testing.assert_close(network(condition, actions), expected.squeeze(-1))


def test_parameters_of_the_real_stanford_network() -> None:
    """Four hidden layers of 1024 over 42 numbers (two frames of 20 and one action of 2)."""
    network = EnergyNetwork(40, 2, IbcConfig(network="mlp", width=1024, depth=4))
    expected = 43 * 1024 + 3 * 1025 * 1024 + 1025
    assert sum(weight.numel() for weight in network.parameters()) == expected
