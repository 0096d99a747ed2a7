from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dp_policy.clusters import ClusterError
from dp_policy.config import BetConfig, PolicyConfig, PolicyConfigError
from dp_policy.gpt import Gpt
from dp_policy.heads.bet import BetHead, focal_loss


def config(**changes: Any) -> PolicyConfig:
    sections: dict[str, Any] = {
        "observation": {"images": False, "history": 3, "proprioception_dim": 4},
        "action": {"dim": 2, "horizon": 3, "steps": 1, "past": 2},
        "bet": {"bins": 5, "layers": 2, "heads": 2, "width": 8},
    }
    for name, values in changes.items():
        sections[name] = {**sections.get(name, {}), **values}
    return PolicyConfig.from_dict({"name": "test", "method": "bet", **sections})


def test_focal_loss_by_hand() -> None:
    """p = 0.8 of the target: -(0.2)^2 ln 0.8 = 0.0089257; gamma 0 is the cross entropy."""
    logits, target = torch.tensor([[0.8, 0.2]]).log(), torch.tensor([0])
    assert float(focal_loss(logits, target, 2.0)) == pytest.approx(0.04 * -math.log(0.8), rel=1e-5)
    assert float(focal_loss(logits, target, 0.0)) == pytest.approx(-math.log(0.8), rel=1e-5)


def test_loss_by_hand_and_offsets_of_other_bins_do_not_count() -> None:
    torch.manual_seed(0)
    head = BetHead(config(bet={"bins": 2, "focal_gamma": 0.0, "offset_scale": 10.0}), 4).eval()
    head.bins.centres.copy_(torch.tensor([[-0.5, 0.0], [0.5, 0.0]]))
    logits, offsets = torch.zeros(1, 3, 2), torch.zeros(1, 3, 2, 2)
    offsets[0, 1, 1] = torch.tensor([100.0, 100.0])
    head.predict = lambda condition: (logits, offsets)  # type: ignore[method-assign, assignment]
    actions = torch.tensor([[[0.6, 0.2], [-0.5, 0.0], [0.5, 0.0]]])
    # Only the first action is off its centre, by (0.1, 0.2): mean square 0.025, over three frames.
    expected = math.log(2) + 10.0 * 0.025 / 3
    assert float(head.loss(torch.zeros(1, 12), actions, torch.ones(1, 3), 1, torch.Generator())) == pytest.approx(
        expected, rel=1e-5
    )
    offsets[0, 0, 1] = torch.tensor([0.1, 0.2])
    loss = head.loss(torch.zeros(1, 12), actions, torch.ones(1, 3), 1, torch.Generator())
    assert float(loss) == pytest.approx(math.log(2), rel=1e-5)


def test_samples_are_centre_plus_offset_of_the_drawn_bin() -> None:
    head = BetHead(config(bet={"bins": 2}), 4).eval()
    head.bins.centres.copy_(torch.tensor([[-0.5, 0.0], [0.5, 0.0]]))
    logits = torch.tensor([0.0, math.log(3.0)]).expand(1, 3, 2)
    offsets = torch.tensor([[0.01, 0.02], [0.03, 0.04]]).expand(1, 3, 2, 2)
    head.predict = lambda condition: (logits, offsets)  # type: ignore[method-assign, assignment]
    sampled = head.sample(torch.zeros(1, 12), torch.Generator().manual_seed(0), draws=2000).flatten(0, 1)
    second = sampled[:, 0] > 0
    assert float(second.float().mean()) == pytest.approx(0.75, abs=0.02)
    assert torch.allclose(sampled[second], torch.tensor([0.53, 0.04]))
    assert torch.allclose(sampled[~second], torch.tensor([-0.49, 0.02]))


def test_fit_takes_every_action_once() -> None:
    """Windows over 0, 1, .. 4 with a history of 3: the last actions alone are 0..4, five bins hold them exactly."""
    values = torch.arange(5.0).unsqueeze(1).repeat(1, 2)
    windows = torch.stack([values[[max(0, k - 2), max(0, k - 1), k]] for k in range(5)])
    head = BetHead(config(), 4)
    head.fit(windows, torch.Generator())
    assert sorted(head.bins.centres[:, 0].tolist()) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert "bins.centres" in head.state_dict()
    with pytest.raises(ClusterError):
        head.fit(torch.zeros(10, 3, 2), torch.Generator())


def test_transformer_looks_back_only() -> None:
    torch.manual_seed(0)
    trunk = Gpt(4, 6, 3, BetConfig(layers=2, heads=2, width=8)).eval()
    tokens = torch.randn(2, 3, 4)
    changed = tokens.clone()
    changed[:, 2] += 1
    torch.testing.assert_close(trunk(tokens)[:, :2], trunk(changed)[:, :2])
    assert not torch.allclose(trunk(tokens)[:, 2], trunk(changed)[:, 2])


def test_transformer_has_the_size_of_the_paper() -> None:
    """minGPT of C = 72, 4 layers: 12 C^2 + 13 C each, embedding, positions, norm, output without bias."""
    trunk = Gpt(20, 72, 3, BetConfig())
    expected = 4 * (12 * 72**2 + 13 * 72) + (20 + 1) * 72 + 3 * 72 + 2 * 72 + 72 * 72
    assert sum(weight.numel() for weight in trunk.parameters()) == expected
    assert trunk.decay_matrices_only


def test_windows_that_do_not_fit_are_named() -> None:
    with pytest.raises(PolicyConfigError, match=r"observation\.history = 3 frames; valid: action\.horizon = 3"):
        BetHead(config(action={"horizon": 16}), 4)
