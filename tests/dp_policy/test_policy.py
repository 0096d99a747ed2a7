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


def test_given_actions_are_the_plans_own_numbers(small_config: Callable[..., PolicyConfig]) -> None:
    """Bit for bit in physical units, at most ``prefix`` of them, never more than the plan has."""
    torch.manual_seed(0)
    policy = VisuomotorPolicy(small_config(action={"prefix": 4}, diffusion={"candidates": 3}))
    policy.normaliser.action.offset.uniform_(-0.1, 0.1)
    policy.normaliser.action.scale.uniform_(0.1, 0.7)
    features, plan = torch.randn(2, policy.encoder.frame_features), torch.randn(2, 6, 10)
    assert policy.continuity == "prefix"
    for n_late, length, given in ((0, 6, 0), (3, 6, 3), (4, 6, 4), (9, 6, 4), (3, 2, 2), (2, 0, 0)):
        assert policy.given(n_late, length) == given
        chunk = policy.plan(features, plan[:, :length], n_late, torch.Generator().manual_seed(0))
        assert torch.equal(chunk[:, :given], plan[:, :given])
        assert not torch.isclose(chunk[:, given], plan[:, given]).all()


def test_without_continuity_the_plan_does_not_matter(small_config: Callable[..., PolicyConfig]) -> None:
    torch.manual_seed(0)
    policy = VisuomotorPolicy(small_config(action={"prefix": 4}, diffusion={"candidates": 16, "warm_start": 0.5}))
    features, plan = torch.randn(1, policy.encoder.frame_features), torch.randn(1, 6, 10)

    def chunk(previous: torch.Tensor | None) -> torch.Tensor:
        return policy.plan(features, previous, 3, torch.Generator().manual_seed(0))

    policy.continuity = "none"
    torch.testing.assert_close(chunk(plan), chunk(None), rtol=0, atol=0)
    assert policy.given(3, 6) == 0
    for choice in ("prefix", "warm_start", "coherent"):
        policy.continuity = choice
        assert float((chunk(plan) - chunk(None))[:, 4:].abs().max()) > 1e-3, choice


def test_warm_start_leaves_out_half_of_the_steps_unless_the_file_says(
    small_config: Callable[..., PolicyConfig],
) -> None:
    for share, evaluations in ((0.0, 4), (0.75, 2)):
        policy = VisuomotorPolicy(small_config(diffusion={"inference_steps": 8, "warm_start": share}))
        assert policy.continuity == ("warm_start" if share else "coherent")
        policy.continuity = "warm_start"
        seen, network = [], policy.head.denoiser.denoise
        policy.head.denoiser.denoise = lambda *x, seen=seen, network=network: seen.append(x) or network(*x)
        features = torch.randn(1, policy.encoder.frame_features)
        policy.plan(features, torch.zeros(1, 6, 10), 0, torch.Generator().manual_seed(0))
        assert len(seen) == evaluations
