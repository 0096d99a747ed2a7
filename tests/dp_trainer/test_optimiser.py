from __future__ import annotations

import math

import pytest
import torch
from dp_policy.config import TrainingConfig
from dp_trainer.optimiser import MasterWeightOptimiser, learning_rate
from torch import nn

CONFIG = TrainingConfig(steps=100, warmup_steps=10, learning_rate=1e-2, gradient_clip=1.0, weight_decay=0.0)


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    assert learning_rate(0, CONFIG) == pytest.approx(1e-3)
    assert learning_rate(9, CONFIG) == pytest.approx(1e-2)
    assert learning_rate(55, CONFIG) == pytest.approx(0.5e-2)
    assert learning_rate(100, CONFIG) == pytest.approx(0.0, abs=1e-9)


def test_small_updates_survive_in_bf16() -> None:
    """A step far below bf16's resolution adds up in the float32 masters."""
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    config = TrainingConfig(steps=1000, warmup_steps=0, learning_rate=1e-4, weight_decay=0.0)
    optimiser = MasterWeightOptimiser(layer, config)
    for _ in range(100):
        layer(torch.ones(1, 1, dtype=torch.bfloat16)).sum().backward()
        optimiser.step(0)
    assert optimiser.masters[0].item() == pytest.approx(1 - 100 * 1e-4, abs=1e-4)
    assert layer.weight.item() == pytest.approx(0.99, abs=4e-3)


def test_clipping_limits_the_gradient_and_reports_its_norm() -> None:
    layer = nn.Linear(2, 1, bias=False)
    optimiser = MasterWeightOptimiser(layer, CONFIG)
    layer(torch.tensor([[30.0, 40.0]])).sum().backward()
    gradient = layer.weight.grad
    assert optimiser.step(0) == pytest.approx(50.0)
    assert gradient is not None
    assert float(gradient.norm()) == pytest.approx(1.0, abs=1e-3)


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    layer = nn.Linear(2, 1)
    optimiser = MasterWeightOptimiser(layer, CONFIG)
    before = layer.weight.detach().clone()
    layer(torch.tensor([[math.inf, 1.0]])).sum().backward()
    assert not math.isfinite(optimiser.step(0))
    torch.testing.assert_close(layer.weight.detach(), before)


def test_groups_by_hand() -> None:
    """The first step of AdamW is w (1 - lr wd) - lr sign(g), with lr and wd of the group."""
    module = nn.Module()
    module.encoder = nn.Linear(1, 1, bias=False)
    module.trunk = nn.Linear(1, 1, bias=False)
    module.trunk.learning_rate_scale = 0.1
    for layer in (module.encoder, module.trunk):
        nn.init.constant_(layer.weight, 2.0)
    config = TrainingConfig(warmup_steps=0, learning_rate=0.1, weight_decay=0.5, encoder_weight_decay=0.0)
    optimiser = MasterWeightOptimiser(module, config)
    (module.encoder.weight + module.trunk.weight).sum().backward()
    optimiser.step(0)
    assert module.encoder.weight.item() == pytest.approx(2.0 - 0.1, abs=1e-5)
    assert module.trunk.weight.item() == pytest.approx(2.0 * (1 - 0.01 * 0.5) - 0.01, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_collected_gradients_add_up_in_float32(dtype: torch.dtype) -> None:
    """256 + 1 is 256 in bf16: the sum must not be taken there."""
    layer = nn.Linear(1, 1, bias=False).to(dtype)
    optimiser = MasterWeightOptimiser(layer, CONFIG)
    for size in (256.0, 1.0, 1.0):
        layer(torch.full((1, 1), size, dtype=dtype)).sum().backward()
        optimiser.collect()
    assert optimiser.gradients()[0].item() == 258.0
    assert float(optimiser.step(0)) == 258.0
    assert optimiser.gradients()[0].item() == 0.0  # nothing is left for the next step


def test_frozen_weights_are_left_out() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    module[0].requires_grad_(False)
    optimiser = MasterWeightOptimiser(module, CONFIG)
    assert optimiser.names == ["1.weight", "1.bias"] and len(optimiser.masters) == 2


def test_a_skipped_step_leaves_moments_and_count() -> None:
    layer = nn.Linear(1, 1)
    optimiser = MasterWeightOptimiser(layer, CONFIG)
    layer(torch.ones(1, 1)).sum().backward()
    optimiser.step(0)
    before = {name: tensor.clone() for name, tensor in optimiser.state_tensors().items()}
    layer(torch.full((1, 1), math.nan)).sum().backward()
    optimiser.step(1)
    after = optimiser.state_tensors()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_state_survives_channels_last_weights() -> None:
    """The fused kernel walks raw memory, so reloaded moments must have the memory format of their weights."""

    def build() -> tuple[nn.Module, MasterWeightOptimiser]:
        torch.manual_seed(0)
        layer = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        return layer, MasterWeightOptimiser(layer, CONFIG)

    def advance(layer: nn.Module, optimiser: MasterWeightOptimiser, step: int) -> None:
        layer(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        optimiser.step(step)

    layer, optimiser = build()
    for step in range(3):
        advance(layer, optimiser, step)
    state = {name: tensor.clone().contiguous() for name, tensor in optimiser.state_tensors().items()}
    other, resumed = build()
    resumed.load_state_tensors(state)
    advance(layer, optimiser, 3)
    advance(other, resumed, 3)
    torch.testing.assert_close(other.weight, layer.weight, atol=0, rtol=0)
