"""Guided inpainting against Gaussian actions, for which estimate, correction and conditional distribution are known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from dp_policy.config import ActionConfig, PolicyConfig
from dp_policy.heads.build import build_head
from dp_policy.heads.continuation import Continuation
from dp_policy.heads.guidance import Guide, soft_mask
from dp_policy.policy import VisuomotorPolicy
from torch import Tensor

#: Covariance of four actions, each correlated with the next.
COVARIANCE = np.array([[0.9 ** abs(i - j) for j in range(4)] for i in range(4)])
#: Methods that go step by step from noise, and what the network predicts in them.
METHODS = [("diffusion", "sample"), ("diffusion", "epsilon"), ("diffusion", "v"), ("flow", "")]


def posterior(signal: float, noise: float) -> np.ndarray:
    """Matrix of the mean of Gaussian actions given x = signal actions + noise e (Bishop, equation 2.116)."""
    return signal * COVARIANCE @ np.linalg.inv(signal**2 * COVARIANCE + noise**2 * np.eye(4))


def gaussian_head(make: Callable[..., PolicyConfig], method: str, kind: str, steps: int):
    """A head whose network is perfect for N(0, COVARIANCE), and its levels (signal, noise)."""
    section = {"prediction": kind, "clip_sample": False} if kind else {}
    config = make(action={"dim": 1, "horizon": 4, "steps": 4}, denoiser={"sizes": [16]}).to_dict()
    config |= {"method": method, method: {**section, "inference_steps": steps}}
    head = build_head(PolicyConfig.from_dict(config), 2)
    if method == "flow":
        levels = [(index / steps, 1 - index / steps) for index in range(steps)]
    else:
        bars = head.forward_process.alphas_cumprod[head.sampler.timesteps].tolist()
        levels = [(bar**0.5, (1 - bar) ** 0.5) for bar in bars]

    def perfect(x: Tensor, prepared: object, index: int) -> Tensor:
        signal, noise = levels[index]
        clean = (x[:, :, 0] @ torch.from_numpy(posterior(signal, noise)).float().T)[:, :, None]
        epsilon = (x - signal * clean) / noise
        velocity = signal * epsilon - noise * clean
        return {"sample": clean, "epsilon": epsilon, "v": velocity, "": (clean - x) / noise}[kind]

    head.denoiser.prepare = lambda condition, steps: None
    head.denoiser.denoise = perfect
    return head, levels


def test_soft_mask() -> None:
    """Eight actions left, three of them frozen: c = 5/6, 4/6, 3/6, 2/6, 1/6 for the others; past ones are free."""
    expected = [0, 1, 1, 1, 0.63095, 0.36770, 0.18877, 0.07675, 0.01759, 0, 0]
    action = ActionConfig(dim=1, horizon=11, steps=4, past=1)
    torch.testing.assert_close(soft_mask(action, 8, 3), torch.tensor(expected), atol=1e-5, rtol=0)
    action = ActionConfig(dim=1, horizon=4, steps=4)
    assert soft_mask(action, 2, 9).tolist() == [1.0, 1.0, 0.0, 0.0]
    assert soft_mask(action, 1, 0).tolist() == pytest.approx([0.5 * (np.exp(0.5) - 1) / (np.e - 1), 0, 0, 0])


@pytest.mark.parametrize(("signal", "noise"), [(0.0, 1.0), (0.3, 0.7), (0.6, 0.8), (0.9, 0.1)])
def test_correction_is_the_covariance_times_the_error(signal: float, noise: float) -> None:
    """dc/dx = s C / n^2 with C the posterior covariance of the actions, so c' - c = w s C W (Y - c) / n^2."""
    mask, target, x = np.array([1.0, 0.6, 0.1, 0.0]), np.array([0.5, 0.1, -0.4, 9.0]), np.array([0.3, -0.2, 0.8, 0.1])
    guide = Guide(torch.from_numpy(target)[None, :, None], torch.from_numpy(mask), 3.0)
    matrix = torch.from_numpy(posterior(signal, noise))[None]
    predicted, shift = guide.evaluate(
        lambda x: matrix @ x, lambda x, clean: clean, torch.from_numpy(x)[None, :, None], (signal, noise)
    )
    clean = posterior(signal, noise) @ x
    covariance = np.linalg.inv(np.linalg.inv(COVARIANCE) + (signal / noise) ** 2 * np.eye(4))
    factor = 3 * noise if signal == 0 else min(3 * noise, (signal**2 + noise**2) / signal)
    assert factor == pytest.approx({0.0: 3.0, 0.3: 0.58 / 0.3, 0.6: 1 / 0.6, 0.9: 0.3}[signal])
    np.testing.assert_allclose(predicted[0, :, 0].numpy(), clean, atol=1e-12)
    expected = factor * signal / noise**2 * covariance @ (mask * (target - clean))
    np.testing.assert_allclose(shift[0, :, 0].numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("method", "kind"), METHODS)
def test_guided_samples_have_the_conditional_mean(
    small_config: Callable[..., PolicyConfig], method: str, kind: str
) -> None:
    """The first action is known to be 0.8: it comes out, and the others follow near 0.8 * 0.9^k, not near 0."""
    head, _ = gaussian_head(small_config, method, kind, 20)
    known = Continuation(torch.full((2000, 1, 1), 0.8), frozen=1, guidance=1000.0)
    sampled = head.sample(torch.zeros(2000, 2), torch.Generator().manual_seed(0), 1, known)[:, :, 0]
    torch.testing.assert_close(sampled[:, 0], torch.full((2000,), 0.8), atol=0.03, rtol=0)
    # The isotropic r^2 is too wide where actions are correlated: the pull falls short of the exact mean by a fifth.
    expected = 0.8 * 0.9 ** torch.arange(1.0, 4.0)
    torch.testing.assert_close(sampled[:, 1:].mean(dim=0), expected, atol=0.0, rtol=0.25)
    free = head.sample(torch.zeros(2000, 2), torch.Generator().manual_seed(0))[:, :, 0]
    assert float(free.mean(dim=0).abs().max()) < 0.1


def test_flow_moves_by_the_papers_velocity(small_config: Callable[..., PolicyConfig]) -> None:
    """Two Euler steps of v + min(beta, (1 - t) / (t r^2)) J^T W (Y - x_1), x_1 = x + (1 - t) v, equations 2 to 4."""
    head, levels = gaussian_head(small_config, "flow", "", 2)
    plan = torch.tensor([0.4, 0.2, -0.1]).view(1, 3, 1)
    beta = 1.5
    sampled = head.sample(
        torch.zeros(1, 2), torch.Generator().manual_seed(4), 1, Continuation(plan, frozen=1, guidance=beta)
    )
    x = torch.randn((1, 4, 1), generator=torch.Generator().manual_seed(4))[0, :, 0].double().numpy()
    mask, known = soft_mask(head.action, 3, 1).double().numpy(), np.array([0.4, 0.2, -0.1, -0.1])
    for time, _ in levels:
        end = posterior(time, 1 - time)
        r2 = (1 - time) ** 2 / (time**2 + (1 - time) ** 2)
        weight = beta if time == 0 else min(beta, (1 - time) / (time * r2))
        velocity = (end @ x - x) / (1 - time) + weight * end.T @ (mask * (known - end @ x))
        x = x + velocity / 2
    np.testing.assert_allclose(sampled[0, :, 0].numpy(), x, atol=1e-5)


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
@pytest.mark.parametrize("method", ["diffusion", "flow"])
def test_policies_are_guided_in_inference_mode(
    small_config: Callable[..., PolicyConfig], method: str, kind: str
) -> None:
    """As engines run them. The frozen actions are the plan's own numbers, and the rest of the plan pulls too."""
    torch.manual_seed(0)
    denoiser = {"kind": kind, "transformer": {"layers": 1, "heads": 2, "width": 16}}
    config = small_config(denoiser=denoiser, diffusion={"prediction": "sample"}).to_dict() | {"method": method}
    policy = VisuomotorPolicy(PolicyConfig.from_dict(config)).eval().requires_grad_(False)
    policy.continuity = "guided"
    features, plan = torch.randn(2, policy.encoder.frame_features), torch.rand(2, 9, 10)

    def chunk(previous: Tensor | None) -> Tensor:
        return policy.plan(features, previous, 3, torch.Generator().manual_seed(0))

    guided = chunk(plan)
    with torch.inference_mode():
        inferred = policy.plan(features * 1.0, plan * 1.0, 3, torch.Generator().manual_seed(0))
    torch.testing.assert_close(inferred, guided)
    assert torch.equal(guided[:, :3], plan[:, :3])
    assert (policy.given(3, 9), policy.given(12, 9), policy.given(3, 0)) == (3, 9, 0)
    apart = [(drawn - guided)[:, 3:9].abs().max().item() for drawn in (chunk(None), chunk(0.5 * plan))]
    assert min(apart) > 1e-3
