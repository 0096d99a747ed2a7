from __future__ import annotations

from typing import Any

import pytest
import torch
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.heads.lstm_gmm import GaussianMixture, LstmGmmHead
from torch import distributions


def config(**changes: Any) -> PolicyConfig:
    sections: dict[str, Any] = {
        "observation": {"images": False, "history": 3, "proprioception_dim": 4},
        "action": {"dim": 2, "horizon": 3, "steps": 1, "past": 2},
        "lstm_gmm": {"hidden": 8, "modes": 3},
    }
    for name, values in changes.items():
        sections[name] = {**sections.get(name, {}), **values}
    return PolicyConfig.from_dict({"name": "test", "method": "lstm_gmm", **sections})


def random_mixture() -> GaussianMixture:
    torch.manual_seed(0)
    return GaussianMixture(torch.randn(5, 4, 3), torch.randn(5, 4, 3, 2), torch.rand(5, 4, 3, 2) + 0.1)


def test_log_density_equals_torch_distributions() -> None:
    mixture, values = random_mixture(), torch.randn(5, 4, 2)
    reference = distributions.MixtureSameFamily(
        distributions.Categorical(logits=mixture.logits),
        distributions.Independent(distributions.Normal(mixture.means, mixture.stds), 1),
    )
    torch.testing.assert_close(mixture.log_density(values), reference.log_prob(values), atol=1e-5, rtol=1e-5)


def test_log_density_by_hand() -> None:
    """0.25 N(0; 0, 1) + 0.75 N(0; 2, 0.5) in one dimension."""
    mixture = GaussianMixture(
        torch.tensor([1.0, 3.0]).log(), torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [0.5]])
    )
    expected = torch.tensor(0.25 * 0.398942 + 0.75 * 0.797885 * torch.exp(torch.tensor(-8.0)).item()).log()
    torch.testing.assert_close(mixture.log_density(torch.zeros(1)), expected, atol=1e-5, rtol=0)


def test_draws_have_the_mixture_s_moments() -> None:
    one = GaussianMixture(torch.tensor([[0.0, 1.0]]), torch.tensor([[[-3.0], [3.0]]]), torch.tensor([[[0.1], [0.3]]]))
    many = GaussianMixture(*(part.expand(20000, *part.shape[1:]) for part in (one.logits, one.means, one.stds)))
    drawn = many.draw(torch.Generator().manual_seed(0))[:, 0]
    right = drawn > 0
    assert float(right.float().mean()) == pytest.approx(0.7311, abs=0.01)  # sigmoid(1)
    assert float(drawn[right].std()) == pytest.approx(0.3, abs=0.01)
    assert float(drawn[~right].std()) == pytest.approx(0.1, abs=0.01)


def test_low_noise_draws_lie_on_the_means() -> None:
    torch.manual_seed(0)
    condition = torch.randn(6, 12)
    for low_noise, within in ((True, 1e-3), (False, 0.2)):
        head = LstmGmmHead(config(lstm_gmm={"low_noise": low_noise}), 4)
        sampled = head.sample(condition, torch.Generator().manual_seed(1), draws=5)
        means = head.mixture(condition).means.repeat_interleave(5, dim=0)
        nearest = (sampled.unsqueeze(-2) - means).norm(dim=-1).amin(dim=-1)
        assert bool((nearest < within).all()) == low_noise


def test_loss_is_the_mean_over_all_frames_and_the_lstm_looks_back_only() -> None:
    torch.manual_seed(0)
    head = LstmGmmHead(config(), 4)
    condition, actions, weights = torch.randn(2, 12), torch.randn(2, 3, 2), torch.ones(2, 3)
    head.requires_grad_(False)
    expected = -head.mixture(condition).log_density(actions)
    assert float(head.loss(condition, actions, weights, 1, torch.Generator())) == pytest.approx(float(expected.mean()))
    weights[0, 0] = 0
    expected = (expected.sum() - expected[0, 0]) / 5
    assert float(head.loss(condition, actions, weights, 1, torch.Generator())) == pytest.approx(float(expected))
    changed = condition.clone()
    changed[:, 8:] += 1
    before, after = head.mixture(condition).means, head.mixture(changed).means
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_least_standard_deviation() -> None:
    head = LstmGmmHead(config(lstm_gmm={"min_std": 0.05}), 4)
    torch.nn.init.constant_(head.output.bias, -50.0)
    torch.nn.init.zeros_(head.output.weight)
    assert bool((head.mixture(torch.randn(2, 12)).stds == 0.05).all())


def test_parameters_of_the_paper() -> None:
    """Two LSTM layers of 400 and 5 modes for 7 numbers: 4 h (i + h + 2) per layer, and (400 + 1) * 5 * 15."""
    sections = config(lstm_gmm={"hidden": 400, "modes": 5}, action={"dim": 7})
    head = LstmGmmHead(sections, 23)
    expected = 4 * 400 * (23 + 400 + 2) + 4 * 400 * (400 + 400 + 2) + 401 * 5 * 15
    assert sum(weight.numel() for weight in head.parameters()) == expected


@pytest.mark.parametrize("action", [{"horizon": 4, "past": 2}, {"past": 0, "horizon": 3}])
def test_windows_that_do_not_fit_are_named(action: dict[str, int]) -> None:
    with pytest.raises(PolicyConfigError, match=r"action\.horizon = \d .*valid: action.horizon = 3, action.past = 2"):
        LstmGmmHead(config(action=action), 4)


def test_actions_that_may_leave_the_means_are_refused() -> None:
    with pytest.raises(PolicyConfigError, match=r"normaliser\.action = gaussian .* valid: limits"):
        LstmGmmHead(config(normaliser={"action": "gaussian"}), 4)
