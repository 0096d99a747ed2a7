from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import DiffusionConfig, PolicyConfig
from dp_policy.heads.diffusion import DiffusionHead, build_sampling_scheduler, build_training_scheduler
from torch import Tensor


def reference_ddim(
    predict: Callable[[Tensor, int], Tensor], noise: Tensor, alphas: Tensor, kind: str, steps: int
) -> Tensor:
    """DDIM of Song et al. 2021 (eta 0) with trailing time steps; the clean chunk is clipped, the noise is not."""
    times = [round(len(alphas) * (steps - i) / steps) - 1 for i in range(steps)]
    x = noise
    for i, t in enumerate(times):
        alpha, out = alphas[t], predict(x, t)
        next_alpha = alphas[times[i + 1]] if i + 1 < steps else torch.tensor(1.0)
        clean = out if kind == "sample" else (x - (1 - alpha).sqrt() * out) / alpha.sqrt()
        epsilon = (x - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        x = next_alpha.sqrt() * clean.clamp(-1, 1) + (1 - next_alpha).sqrt() * epsilon
    return x


def test_forward_process_has_its_closed_form() -> None:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise, with the squared-cosine abar of Nichol & Dhariwal 2021."""
    scheduler = build_training_scheduler(DiffusionConfig())
    clean, noise, steps = torch.randn(4, 16, 10), torch.randn(4, 16, 10), torch.tensor([0, 10, 50, 90])
    bar = torch.cos((torch.arange(101) / 100 + 0.008) / 1.008 * torch.pi / 2) ** 2
    alpha = torch.cumprod(1 - (1 - bar[1:] / bar[:-1]).clamp(max=0.999), 0)[steps].view(-1, 1, 1)
    expected = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    torch.testing.assert_close(scheduler.add_noise(clean, noise, steps), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_ddim_equals_a_ten_line_reference(small_config: Callable[..., PolicyConfig], kind: str, steps: int) -> None:
    torch.manual_seed(0)
    head = DiffusionHead(small_config(diffusion={"prediction": kind, "inference_steps": steps}), 12)
    condition = torch.randn(3, 12)

    @torch.no_grad()
    def predict(x: Tensor, t: int) -> Tensor:
        return head.denoiser(x, torch.full((3,), t), condition)

    noise = torch.randn((3, 16, 10), generator=torch.Generator().manual_seed(7))
    alphas = head.reverse_process.alphas_cumprod
    sampled = head.sample(condition, torch.Generator().manual_seed(7))
    torch.testing.assert_close(sampled, reference_ddim(predict, noise, alphas, kind, steps), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 10, 16])
def test_trailing_spacing_starts_from_pure_noise(steps: int) -> None:
    process = build_sampling_scheduler(DiffusionConfig(inference_steps=steps))
    assert int(process.timesteps[0]) == 99
    leading = build_sampling_scheduler(DiffusionConfig(inference_steps=steps, spacing="leading"))
    assert int(leading.timesteps[0]) < 99


@pytest.mark.parametrize("kind", ["epsilon", "sample"])
def test_sampler_recovers_the_data_from_a_perfect_denoiser(
    small_config: Callable[..., PolicyConfig], kind: str
) -> None:
    """With one possible chunk the perfect prediction is known, and sampling must give that chunk."""
    head = DiffusionHead(small_config(diffusion={"prediction": kind, "inference_steps": 10}), 12)
    target = torch.linspace(-0.9, 0.9, 160).view(1, 16, 10)
    alphas = head.reverse_process.alphas_cumprod

    def perfect(x: Tensor, prepared: object, index: int) -> Tensor:
        t = head.reverse_process.timesteps[index]
        return target if kind == "sample" else (x - alphas[t].sqrt() * target) / (1 - alphas[t]).sqrt()

    head.denoiser.denoise = perfect  # type: ignore[method-assign]
    torch.testing.assert_close(head.sample(torch.zeros(1, 12)), target, atol=1e-3, rtol=0)


def test_loss_ignores_steps_of_weight_zero(small_config: Callable[..., PolicyConfig]) -> None:
    head = DiffusionHead(small_config(diffusion={"prediction": "sample"}), 12)
    condition, chunks, weights = torch.randn(2, 12), torch.randn(2, 16, 10), torch.ones(2, 16)
    weights[:, 8:] = 0
    error = torch.zeros(2, 16, 10)

    def predict(noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        return (chunks + error).repeat_interleave(2, 0)

    head.denoiser.forward = predict  # type: ignore[method-assign]
    error[:, 8:] = 100.0
    assert float(head.loss(condition, chunks, weights, 2, torch.Generator())) == 0.0
    error[:, 0] = 1.0
    loss = float(head.loss(condition, chunks, weights, 2, torch.Generator()))
    assert loss == pytest.approx(2 / 16)
