from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.heads.ibc import IbcHead, info_nce
from torch import Tensor


def config(**section: Any) -> PolicyConfig:
    return PolicyConfig.from_dict(
        {
            "name": "test",
            "method": "ibc",
            "observation": {"images": False, "history": 2, "proprioception_dim": 3},
            "action": {"dim": 2, "horizon": 2, "steps": 1},
            "ibc": {"width": 32, "depth": 2, "negative_count": 16, "samples": 64, **section},
        }
    )


def test_info_nce_by_hand() -> None:
    """exp(-E): true 2, negatives 1 and 1, so the share is 1/2; all equal among 1 + 3 gives ln 4."""
    energies = torch.tensor([[-math.log(2.0), 0.0, 0.0]])
    assert float(info_nce(energies)) == pytest.approx(math.log(2))
    assert float(info_nce(torch.zeros(1, 4))) == pytest.approx(math.log(4))


def test_bounds_of_the_data_with_a_margin() -> None:
    head = IbcHead(config(boundary_buffer=0.1), 3)
    # the second of each pair belongs to a later step, which has a sequence of its own if it is a target
    sequences = [[[0.0, -1.0], [9.0, 9.0]], [[1.0, 0.2], [0.3, 0.6]], [[0.3, 0.6], [0.3, 0.6]]]
    head.fit(torch.tensor(sequences), torch.Generator())
    torch.testing.assert_close(head.box.low, torch.tensor([-0.1, -1.16, -0.1, -1.16]))
    torch.testing.assert_close(head.box.high, torch.tensor([1.1, 0.76, 1.1, 0.76]))
    drawn = head.box.draw(3, 5000, torch.Generator().manual_seed(0)).flatten(0, 1)
    torch.testing.assert_close(drawn.mean(dim=0), (head.box.low + head.box.high) / 2, atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.amin(dim=0), head.box.low, atol=0.01, rtol=0)


@pytest.mark.parametrize("inference", ["derivative_free", "langevin"])
@pytest.mark.parametrize("inside", [torch.no_grad, torch.inference_mode])
def test_both_searches_find_the_minimum_of_a_known_energy(inference: str, inside: Any) -> None:
    """The energy asks for actions equal to the last two numbers of the condition, twice over."""
    head = IbcHead(config(inference=inference, samples=512, langevin_noise=0.3, iterations=5), 3)

    def energy(condition: Tensor, actions: Tensor) -> Tensor:
        return 30 * (actions - condition[:, None, -2:].repeat(1, 1, 2)).square().sum(dim=-1)

    head.energy.forward = energy  # type: ignore[method-assign]
    with inside():
        condition = torch.tensor([[0, 0, 0, 0, 0.5, -0.25], [0, 0, 0, 0, -0.75, 0.0]])
        sampled = head.sample(condition, torch.Generator().manual_seed(0), draws=2)
    assert sampled.shape == (4, 2, 2)
    expected = condition.repeat_interleave(2, 0)[:, None, -2:].expand(4, 2, 2)
    torch.testing.assert_close(sampled, expected, atol=0.12, rtol=0)


def test_sampling_in_parts_covers_all_observations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dp_policy.heads.ibc.NUMBERS_AT_ONCE", 64 * 32 * 2)
    head = IbcHead(config(), 3)
    assert head.sample(torch.randn(5, 6), torch.Generator()).shape == (5, 2, 2)


def test_langevin_negatives_are_harder_and_steep_energies_cost() -> None:
    torch.manual_seed(0)
    uniform = IbcHead(config(), 3)
    langevin = IbcHead(config(negatives="langevin", langevin_iterations=20, gradient_weight=0.0), 3)
    penalised = IbcHead(config(negatives="langevin", langevin_iterations=20), 3)
    for head in (langevin, penalised):
        head.load_state_dict(uniform.state_dict())
    for head in (uniform, langevin, penalised):
        head.energy.output.weight.data.mul_(100.0)
    condition, actions, weights = torch.randn(8, 6), torch.rand(8, 2, 2) - 0.5, torch.ones(8, 2)

    def loss(head: IbcHead) -> Tensor:
        return head.loss(condition, actions, weights, 1, torch.Generator().manual_seed(0))

    assert loss(langevin) > loss(uniform) + 0.1
    assert loss(penalised) > loss(langevin) + 0.1
    with torch.no_grad():  # validation
        torch.testing.assert_close(loss(penalised), loss(penalised))
    loss(penalised).backward()
    assert all(weight.grad is not None for name, weight in penalised.named_parameters() if name != "energy.output.bias")


def test_langevin_training_recovers_a_mapping() -> None:
    """Actions are the last frame's first two numbers; after a short training the search gives them back."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    head = IbcHead(config(negatives="langevin", negative_count=8, langevin_iterations=10, width=64, samples=128), 3)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(250):
        condition = 1.6 * torch.rand(64, 6, generator=generator) - 0.8
        actions = condition[:, None, 3:5].expand(64, 2, 2)
        loss = head.loss(condition, actions, torch.ones(64, 2), 1, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    condition = 1.2 * torch.rand(32, 6, generator=generator) - 0.6
    found = IbcHead(config(inference="langevin", width=64, langevin_iterations=30), 3)
    found.load_state_dict(head.state_dict())
    for searched in (head, found):
        error = searched.sample(condition, generator) - condition[:, None, 3:5]
        assert float(error.square().mean().sqrt()) < 0.3


def test_padded_sequences_count_by_their_least_weight() -> None:
    head = IbcHead(config(), 3)
    condition, actions = torch.randn(2, 6), torch.rand(2, 2, 2) - 0.5

    def loss(weights: list[list[float]]) -> float:
        return head.loss(condition, actions, torch.tensor(weights), 1, torch.Generator().manual_seed(0)).item()

    first, second = loss([[1, 1], [1, 0]]), loss([[0, 1], [1, 1]])
    assert loss([[1, 1], [1, 1]]) == pytest.approx((first + second) / 2, rel=1e-5)


def test_dropout_rests_while_negatives_are_searched() -> None:
    head = IbcHead(config(network="mlp", dropout=0.5, negatives="langevin", langevin_iterations=2), 3).train()
    head.loss(torch.randn(2, 6), torch.zeros(2, 2, 2), torch.ones(2, 2), 1, torch.Generator())
    assert head.energy.training
    condition = torch.randn(2, 6)
    once, again = (head.sample(condition, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(once, again)


def test_evaluations_are_counted() -> None:
    assert IbcHead(config(iterations=4), 3).evaluations == 4
    assert IbcHead(config(inference="langevin", langevin_iterations=10), 3).evaluations == 21
    assert IbcHead(config(inference="langevin", langevin_iterations=10, langevin_refine_step=0.0), 3).evaluations == 11


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ({"network": "cnn"}, "residual, mlp"),
        ({"depth": 3}, "depth = 3 is not valid"),
        ({"samples": 0}, "samples"),
        ({"inference": "dfo"}, "derivative_free, langevin"),
    ],
)
def test_settings_that_are_not_valid_are_named(section: dict[str, Any], text: str) -> None:
    with pytest.raises(PolicyConfigError, match=text):
        config(**section)
