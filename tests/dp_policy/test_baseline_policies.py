"""The policy files of the baselines on Push-T: complete policies that train and plan."""

from __future__ import annotations

import pytest
import torch
from dp_core.contract import config_directory
from dp_policy.config import load_policy_config
from dp_policy.policy import Batch, build_policy


@pytest.mark.parametrize(
    ("method", "chunk", "evaluations"), [("regression", 16, 1), ("lstm_gmm", 1, 1), ("ibc", 1, 3), ("bet", 1, 1)]
)
def test_push_t_baselines_train_and_plan(method: str, chunk: int, evaluations: int) -> None:
    config = load_policy_config(config_directory() / "policies" / "pusht" / f"{method}.yaml")
    assert (config.method, config.action.chunk) == (method, chunk)
    torch.manual_seed(0)
    policy = build_policy(config)
    assert policy.head.evaluations == evaluations
    generator = torch.Generator().manual_seed(0)
    history, horizon = config.observation.history, config.action.horizon
    state, actions = torch.rand(4, history, 20, generator=generator), torch.rand(64, horizon, 2, generator=generator)
    policy.fit_head(actions, generator)
    loss = policy.loss(Batch({}, state, actions[:4], torch.ones(4, horizon)), 1, generator)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in policy.parameters() if weight.grad is not None)
    with torch.inference_mode():
        planned = policy.eval().plan(policy.encode({}, state), generator=generator)
    assert planned.shape == (4, chunk, 2)
    assert bool(torch.isfinite(planned).all())
