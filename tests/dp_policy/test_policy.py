from __future__ import annotations

from collections.abc import Callable

import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import VisuomotorPolicy, nearest_to_plan


def test_nearest_candidate_is_taken_for_each_observation() -> None:
    chunks = torch.arange(6.0).view(6, 1, 1).expand(6, 4, 2)  # observations 0 and 1, candidates 0..2 and 3..5
    plan = torch.tensor([1.2, 4.9]).view(2, 1, 1).expand(2, 3, 2)
    assert nearest_to_plan(chunks, plan, 3)[:, 0, 0].tolist() == [1.0, 5.0]


def test_only_the_shared_time_counts() -> None:
    chunks = torch.zeros(2, 4, 1)
    chunks[0, 2:] = 100.0
    chunks[1, :2] = 1.0
    assert nearest_to_plan(chunks, torch.zeros(1, 2, 1), 2)[0, 3].item() == 100.0


def test_plan_follows_the_plan_in_execution(small_config: Callable[..., PolicyConfig]) -> None:
    """With candidates the chunk is the one of the drawn ones that is nearest, in physical units; without it is not."""
    torch.manual_seed(0)
    policy = VisuomotorPolicy(small_config(diffusion={"candidates": 8}))
    features = torch.randn(1, policy.encoder.frame_features)

    def drawn() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    candidates = policy.normaliser.action.restore(policy.head.sample(features, drawn(), 8))
    chosen = policy.plan(features, candidates[5:6, :9] + 1e-3, generator=drawn())
    torch.testing.assert_close(chosen, candidates[5:6])
    free = policy.plan(features, generator=drawn())
    assert free.shape == (1, 16, 10)
