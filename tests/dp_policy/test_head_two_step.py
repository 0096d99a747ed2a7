from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.heads.flow import TIME_SCALE
from dp_policy.heads.two_step import TwoStepHead
from torch import Tensor


@pytest.fixture(name="two_step_head")
def two_step_head_fixture(small_config: Callable[..., PolicyConfig]) -> Callable[..., TwoStepHead]:
    def build(**options: object) -> TwoStepHead:
        mapping = {**small_config().to_dict(), "method": "two_step", "two_step": options}
        return TwoStepHead(PolicyConfig.from_dict(mapping), 12)

    return build


def test_mip_refines_its_own_regression(two_step_head: Callable[..., TwoStepHead]) -> None:
    """The chunk is f(t f(0, 0), t) with t = 0.9, whatever the generator."""
    head, condition = two_step_head(kind="mip"), torch.randn(2, 12)
    with torch.no_grad():
        first = head.denoiser(torch.zeros(2, 16, 10), torch.zeros(2), condition)
        expected = head.denoiser(0.9 * first, torch.full((2,), 0.9 * TIME_SCALE), condition)
    for seed in (0, 1):
        sampled = head.sample(condition, torch.Generator().manual_seed(seed))
        torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=1e-5)
    assert head.evaluations == 2


def test_mip_loss_has_both_terms(two_step_head: Callable[..., TwoStepHead]) -> None:
    """Errors of 0.2 at the first and 0.1 at the second evaluation: 0.04 + (0.8 / 0.2)^2 0.01."""
    head = two_step_head(kind="mip", mip_time=0.8)
    chunks, draws = torch.rand(3, 16, 10), 2
    inputs = []

    def predict(noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        inputs.append((noisy.view(3, 1 + draws, 16, 10), steps.view(3, 1 + draws)))
        error = torch.where(steps == 0, 0.2, 0.1).view(-1, 1, 1)
        return chunks.repeat_interleave(1 + draws, 0) + error

    head.denoiser.forward = predict  # type: ignore[method-assign]
    loss = head.loss(torch.zeros(3, 12), chunks, torch.ones(3, 16), draws, torch.Generator().manual_seed(0))
    assert float(loss) == pytest.approx(0.04 + 16 * 0.01)
    noisy, steps = inputs[0]
    assert torch.equal(steps, torch.tensor([0.0, 80.0, 80.0]).expand(3, 3))
    assert not noisy[:, 0].any()
    noise = (noisy[:, 1:] - 0.8 * chunks[:, None]) / 0.2
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.1) and float(noise.std()) == pytest.approx(1.0, abs=0.1)


def test_l1_flow_steps_to_the_midpoint_and_predicts(two_step_head: Callable[..., TwoStepHead]) -> None:
    head, condition = two_step_head(kind="l1_flow"), torch.randn(2, 12)
    noise = torch.randn((2, 16, 10), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        first = head.denoiser(noise, torch.zeros(2), condition)
        expected = head.denoiser(0.5 * noise + 0.5 * first, torch.full((2,), 0.5 * TIME_SCALE), condition)
    sampled = head.sample(condition, torch.Generator().manual_seed(5))
    torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=1e-5)


def test_l1_loss_is_the_absolute_error_of_the_clean_chunk(two_step_head: Callable[..., TwoStepHead]) -> None:
    head, chunks = two_step_head(kind="l1_flow"), torch.rand(3, 16, 10)
    weights = torch.ones(3, 16)
    weights[:, 8:] = 0.0
    error = torch.zeros(3, 16, 10)
    error[:, :4], error[:, 8:] = -0.5, 100.0
    head.denoiser.forward = lambda x, steps, condition: (chunks + error).repeat_interleave(2, 0)  # type: ignore[method-assign]
    loss = head.loss(torch.zeros(3, 12), chunks, weights, 2, torch.Generator())
    assert float(loss) == pytest.approx(0.25)


@pytest.mark.parametrize("kind", ["mip", "l1_flow"])
def test_learns_a_function_of_the_observation(two_step_head: Callable[..., TwoStepHead], kind: str) -> None:
    torch.manual_seed(0)
    head, generator = two_step_head(kind=kind), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)

    def batch(count: int) -> tuple[Tensor, Tensor]:
        condition = torch.rand((count, 12), generator=generator) - 0.5
        return condition, condition[:, :1, None].expand(count, 16, 10).contiguous()

    for _ in range(80):
        condition, chunks = batch(64)
        head.loss(condition, chunks, torch.ones(64, 16), 1, generator).backward()
        optimiser.step()
        optimiser.zero_grad()
    condition, chunks = batch(64)
    error = (head.sample(condition, generator) - chunks).square().mean().sqrt()
    assert float(error) < 0.3 * float(chunks.std())


def test_kind_and_times_are_checked(two_step_head: Callable[..., TwoStepHead]) -> None:
    with pytest.raises(PolicyConfigError, match=r"two_step\.kind: 'reflow' is not valid; valid: l1_flow, mip"):
        two_step_head(kind="reflow")
    with pytest.raises(PolicyConfigError, match=r"two_step\.mip_time: 1.0"):
        two_step_head(mip_time=1.0)
