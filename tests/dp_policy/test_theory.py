"""The mathematics of diffusion policies, each against a second derivation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from dp_policy.config import DiffusionConfig, PolicyConfig
from dp_policy.heads.base import ActionHead
from dp_policy.heads.build import build_head
from dp_policy.heads.diffusion import DiffusionHead
from dp_policy.samplers import forward_process
from torch import Tensor


def cosine_alphas(levels: int) -> np.ndarray:
    """abar of Nichol & Dhariwal 2021: products of 1 - beta, beta from cos^2((t / T + 0.008) / 1.008 pi / 2)."""
    bar = np.cos((np.arange(levels + 1) / levels + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.cumprod(1 - np.minimum(1 - bar[1:] / bar[:-1], 0.999))


def train(head: ActionHead, batch: Callable[[], tuple[Tensor, Tensor]], steps: int, rate: float) -> None:
    """Adam with a cosine to zero on the head's own loss."""
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        condition, actions = batch()
        head.loss(condition, actions, torch.ones(actions.shape[:2]), 1, generator).backward()
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()


def test_forward_process_has_its_closed_form() -> None:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise."""
    process = forward_process(DiffusionConfig())
    clean, noise, levels = torch.randn(5, 16, 10), torch.randn(5, 16, 10), np.array([0, 10, 50, 90, 99])
    bar = torch.from_numpy(cosine_alphas(100)[levels]).float().view(-1, 1, 1)
    expected = bar.sqrt() * clean + (1 - bar).sqrt() * noise
    noisy = process.add_noise(clean, noise, torch.from_numpy(levels))
    torch.testing.assert_close(noisy, expected, atol=1e-5, rtol=1e-5)


def test_noising_step_by_step_is_noising_at_once() -> None:
    """A hundred steps x <- sqrt(1 - beta_t) x + sqrt(beta_t) noise have the mean and variance of the closed form."""
    bar = cosine_alphas(100)
    betas = 1 - bar / np.concatenate(([1.0], bar[:-1]))
    np.testing.assert_allclose(betas, forward_process(DiffusionConfig()).betas.numpy(), atol=1e-6)
    scale, variance = 1.0, 0.0
    for beta, level in zip(betas, bar, strict=True):
        scale, variance = np.sqrt(1 - beta) * scale, (1 - beta) * variance + beta
        np.testing.assert_allclose([scale**2, variance], [level, 1 - level], atol=1e-12)


def reference_ddim(
    predict: Callable[[Tensor, int], Tensor], x: Tensor, levels: list[int], bars: np.ndarray, kind: str
) -> Tensor:
    """DDIM of Song et al. 2021 with eta 0; the clean chunk is clipped, the noise is not."""
    for level, after in zip(levels, [*levels[1:], None], strict=True):
        bar, next_bar = bars[level], 1.0 if after is None else bars[after]
        out = predict(x, level)
        if kind == "v":
            clean, noise = bar**0.5 * x - (1 - bar) ** 0.5 * out, bar**0.5 * out + (1 - bar) ** 0.5 * x
        else:
            clean = out if kind == "sample" else (x - (1 - bar) ** 0.5 * out) / bar**0.5
            noise = (x - bar**0.5 * clean) / (1 - bar) ** 0.5
        x = next_bar**0.5 * clean.clamp(-1, 1) + (1 - next_bar) ** 0.5 * noise
    return x


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v"])
@pytest.mark.parametrize(
    ("spacing", "levels"),
    [
        ("trailing", [99]),
        ("trailing", [99, 74, 49, 24]),
        ("trailing", [99, 87, 74, 61, 49, 37, 24, 11]),
        ("leading", [75, 50, 25, 0]),
        ("leading", [90, 84, 78, 72, 66, 60, 54, 48, 42, 36, 30, 24, 18, 12, 6, 0]),
        ("linspace", [99, 0]),
        ("linspace", [99, 66, 33, 0]),
    ],
)
def test_ddim_equals_ten_lines(
    small_config: Callable[..., PolicyConfig], kind: str, spacing: str, levels: list[int]
) -> None:
    torch.manual_seed(0)
    options = {"prediction": kind, "inference_steps": len(levels), "spacing": spacing}
    head, condition = DiffusionHead(small_config(diffusion=options), 12), torch.randn(3, 12)

    @torch.no_grad()
    def predict(x: Tensor, level: int) -> Tensor:
        return head.denoiser(x.float(), torch.full((3,), level), condition).double()

    noise = torch.randn((3, 16, 10), generator=torch.Generator().manual_seed(7)).double()
    expected = reference_ddim(predict, noise, levels, cosine_alphas(100), kind)
    sampled = head.sample(condition, torch.Generator().manual_seed(7))
    # At pure noise an error of 1e-8 in the prediction of the noise is divided by the signal of 5e-4.
    torch.testing.assert_close(sampled, expected.float(), atol=1e-5 if kind != "epsilon" else 2e-4, rtol=1e-5)


def test_predicted_noise_is_the_score(small_config: Callable[..., PolicyConfig]) -> None:
    """Trained on a Gaussian, the network is -sqrt(1 - abar) times the score of the noised Gaussian.

    Data N(m, S) become N(sqrt(abar) m, abar S + (1 - abar) I) at a level, whose score is known.
    """
    torch.manual_seed(0)
    mean = torch.tensor([0.5, -0.3, 0.2, 0.0])
    root = torch.tensor([[0.5, 0.0, 0.0, 0.0], [0.4, 0.3, 0.0, 0.0], [0.2, 0.3, 0.2, 0.0], [-0.3, 0.1, 0.2, 0.4]])
    config = small_config(
        action={"dim": 1, "horizon": 4, "steps": 4},
        denoiser={"sizes": [32], "step_features": 32, "activation": "silu"},
    )
    head, data = DiffusionHead(config, 1), torch.Generator().manual_seed(0)

    def batch() -> tuple[Tensor, Tensor]:
        draws = torch.randn((256, 4), generator=data) @ root.T + mean
        return torch.zeros(256, 1), draws[:, :, None]

    train(head, batch, 250, 4e-3)
    head.eval()
    bars = cosine_alphas(100)
    for level in (10, 30, 50, 70, 90):
        bar = float(bars[level])
        covariance = bar * root @ root.T + (1 - bar) * torch.eye(4)
        noised = torch.randn((2000, 4), generator=data) @ torch.linalg.cholesky(covariance).T + bar**0.5 * mean
        score = -torch.linalg.solve(covariance, (noised - bar**0.5 * mean).T).T
        with torch.no_grad():
            predicted = head.denoiser(noised[:, :, None], torch.full((2000,), level), torch.zeros(2000, 1))[:, :, 0]
        expected = -((1 - bar) ** 0.5) * score
        error = (predicted - expected).square().mean() / expected.square().mean()
        assert float(error) < 0.02, level


A = torch.tensor([[1.0, 0.1], [0.0, 1.0]])
B = torch.tensor([[0.005], [0.1]])
K = torch.tensor([[3.0, 2.5]])
#: Largest position and velocity; actions stay within [-1, 1].
REACH = 0.15


@pytest.mark.parametrize("method", ["diffusion", "flow", "two_step"])
def test_linear_expert_is_recovered(small_config: Callable[..., PolicyConfig], method: str) -> None:
    """Double integrator under a = -K s: gains of sampled chunks are -K (A - B K)^t within 5 %, t = 0 to 3."""
    torch.manual_seed(0)
    config = small_config(
        action={"dim": 1, "horizon": 4, "steps": 4},
        denoiser={"sizes": [32], "step_features": 16, "activation": "silu"},
        diffusion={"prediction": "sample", "inference_steps": 4},
    )
    mapping = {**config.to_dict(), "method": method, "two_step": {"kind": "l1_flow"}}
    head, data = build_head(PolicyConfig.from_dict(mapping), 2), torch.Generator().manual_seed(0)
    gains = torch.stack([(-K @ torch.linalg.matrix_power(A - B @ K, t))[0] for t in range(4)])

    def states(count: int) -> tuple[Tensor, Tensor]:
        state = torch.rand((count, 2), generator=data) * 2 - 1
        return state, (REACH * state @ gains.T)[:, :, None]

    train(head, lambda: states(128), 300, 5e-3)
    state, _ = states(2000)
    sampled = head.eval().sample(state, torch.Generator().manual_seed(0))[:, :, 0]
    fitted = torch.linalg.lstsq(REACH * state, sampled).solution.T
    error = (fitted - gains).norm(dim=1) / gains.norm(dim=1)
    assert float(error.max()) < 0.05
