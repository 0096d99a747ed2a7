from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.heads.build import build_head
from dp_policy.heads.continuation import Continuation
from dp_policy.heads.flow import TIME_SCALE, FlowHead, draw_times
from torch import Tensor


def flow_head(small_config: Callable[..., PolicyConfig], **options: object) -> FlowHead:
    return FlowHead(small_config(method="flow", flow=options), 12)


@pytest.fixture(name="small_config")
def flow_config_fixture(small_config: Callable[..., PolicyConfig]) -> Callable[..., PolicyConfig]:
    def build(method: str, **sections: dict) -> PolicyConfig:
        return PolicyConfig.from_dict({**small_config(**sections).to_dict(), "method": method, **sections})

    return build


def test_loss_is_the_error_of_the_velocity(small_config: Callable[..., PolicyConfig]) -> None:
    """A network that knows the chunk finds the noise in x_t = (1 - t) noise + t chunk; half off it loses a quarter."""
    head = flow_head(small_config)
    chunks, offset = torch.rand(4, 16, 10), 0.0

    def perfect(noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        time, clean = (steps / TIME_SCALE).view(-1, 1, 1), chunks.repeat_interleave(8, 0)
        return clean - (noisy - time * clean) / (1 - time) + offset

    head.denoiser.forward = perfect  # type: ignore[method-assign]
    arguments = torch.zeros(4, 12), chunks, torch.ones(4, 16), 8
    assert float(head.loss(*arguments, torch.Generator().manual_seed(0))) < 1e-6
    offset = 0.5
    assert float(head.loss(*arguments, torch.Generator().manual_seed(0))) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 4])
def test_euler_steps_follow_a_straight_path_exactly(small_config: Callable[..., PolicyConfig], steps: int) -> None:
    head = flow_head(small_config, inference_steps=steps)
    target, times = torch.linspace(-0.9, 0.9, 160).view(1, 16, 10), []

    def prepare(condition: Tensor, scaled: Tensor) -> Tensor:
        times.extend((scaled / TIME_SCALE).tolist())
        return scaled

    def perfect(x: Tensor, prepared: Tensor, index: int) -> Tensor:
        return (target - x) / (1 - prepared[index] / TIME_SCALE)

    head.denoiser.prepare, head.denoiser.denoise = prepare, perfect  # type: ignore[method-assign]
    torch.testing.assert_close(head.sample(torch.zeros(1, 12)), target, atol=1e-5, rtol=0)
    assert times == [index / steps for index in range(steps)]
    assert head.evaluations == steps


def test_warm_start_joins_the_path_of_the_plan(small_config: Callable[..., PolicyConfig]) -> None:
    head, seen = flow_head(small_config, inference_steps=4), []
    plan = Continuation(torch.full((1, 4, 10), 0.5), warm_share=0.75)
    head.denoiser.denoise = lambda x, prepared, index: seen.append(x) or 0 * x  # type: ignore[method-assign, func-returns-value]
    head.sample(torch.zeros(1, 12), torch.Generator().manual_seed(3), continuation=plan)
    noise = torch.randn((1, 16, 10), generator=torch.Generator().manual_seed(3))
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], 0.25 * noise + 0.75 * 0.5)
    head.sample(torch.zeros(1, 12))
    assert len(seen) == 1 + 4


@pytest.mark.parametrize(
    ("kind", "mean", "below_a_tenth"), [("uniform", 0.5, 0.1), ("logit_normal", 0.5, 0.014), ("beta", 0.4, 0.146)]
)
def test_path_times(kind: str, mean: float, below_a_tenth: float) -> None:
    """Beta: 1 - t is Beta(1.5, 1), so its mean is 0.6 and t < 0.1 has probability 1 - 0.9^1.5. Logit-normal:
    t < 0.1 where a normal number is below ln(1/9) = -2.197."""
    times = draw_times(50_000, kind, torch.Generator().manual_seed(0))
    assert 0.0 <= float(times.min()) and float(times.max()) <= 1.0
    assert float(times.mean()) == pytest.approx(mean, abs=0.01)
    assert float((times < 0.1).float().mean()) == pytest.approx(below_a_tenth, abs=0.004)


def test_learns_two_modes(small_config: Callable[..., PolicyConfig]) -> None:
    """Data at -0.5 and 0.5: trained for seconds, samples are near one or the other, and both occur."""
    torch.manual_seed(0)
    config = small_config(
        method="flow",
        action={"dim": 1, "horizon": 4, "steps": 4},
        denoiser={"sizes": [16], "step_features": 16},
        flow={"inference_steps": 8},
    )
    head, generator = FlowHead(config, 2), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    for _ in range(120):
        modes = (torch.randint(0, 2, (64, 1, 1), generator=generator) - 0.5).expand(64, 4, 1)
        head.loss(torch.zeros(64, 2), modes, torch.ones(64, 4), 1, generator).backward()
        optimiser.step()
        optimiser.zero_grad()
    sampled = head.sample(torch.zeros(200, 2), generator).mean(dim=(1, 2))
    assert float(((sampled.abs() - 0.5).abs() < 0.25).float().mean()) > 0.8
    assert 0.25 < float((sampled > 0).float().mean()) < 0.75


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
@pytest.mark.parametrize("method", ["flow", "two_step"])
def test_half_precision_trains_and_samples(small_config: Callable[..., PolicyConfig], method: str, kind: str) -> None:
    denoiser = {"kind": kind, "transformer": {"layers": 1, "heads": 2, "width": 16}}
    head = build_head(small_config(method=method, denoiser=denoiser), 12).to(torch.bfloat16)
    loss = head.loss(torch.randn(2, 12), torch.rand(2, 16, 10), torch.ones(2, 16), 2, torch.Generator().manual_seed(0))
    loss.backward()
    sampled = head.sample(torch.randn(2, 12), torch.Generator().manual_seed(0))
    assert loss.dtype == sampled.dtype == torch.float32
    assert bool(loss.isfinite()) and bool(sampled.isfinite().all())
