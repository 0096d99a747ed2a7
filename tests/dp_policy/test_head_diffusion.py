from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.heads.continuation import Continuation
from dp_policy.heads.diffusion import DiffusionHead
from torch import Tensor

MODES = (-0.6, 0.6)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++"])
@pytest.mark.parametrize("kind", ["epsilon", "sample", "v"])
def test_sampler_recovers_the_data_from_a_perfect_denoiser(
    small_config: Callable[..., PolicyConfig], kind: str, sampler: str
) -> None:
    """With one possible chunk the perfect prediction is known, and sampling must give that chunk."""
    head = DiffusionHead(small_config(diffusion={"prediction": kind, "inference_steps": 10, "sampler": sampler}), 12)
    target = torch.linspace(-0.9, 0.9, 160).view(1, 16, 10)
    alphas = head.forward_process.alphas_cumprod

    def perfect(x: Tensor, prepared: object, index: int) -> Tensor:
        alpha = alphas[head.sampler.timesteps[index]]
        noise = (x - alpha.sqrt() * target) / (1 - alpha).sqrt()
        return {"sample": target, "epsilon": noise, "v": alpha.sqrt() * noise - (1 - alpha).sqrt() * target}[kind]

    head.denoiser.denoise = perfect  # type: ignore[method-assign]
    torch.testing.assert_close(head.sample(torch.zeros(1, 12)), target, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v"])
def test_loss_is_the_error_of_the_predicted_quantity(small_config: Callable[..., PolicyConfig], kind: str) -> None:
    """A network that knows the chunk predicts every target from the noisy input; half off it loses a quarter."""
    head = DiffusionHead(small_config(diffusion={"prediction": kind}), 12)
    chunks, weights = torch.rand(4, 16, 10) * 2 - 1, torch.ones(4, 16)
    alphas, offset = head.forward_process.alphas_cumprod, 0.0

    def perfect(noisy: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        alpha, clean = alphas[steps].view(-1, 1, 1), chunks.repeat_interleave(3, 0)
        noise = (noisy - alpha.sqrt() * clean) / (1 - alpha).sqrt()
        velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
        return {"sample": clean, "epsilon": noise, "v": velocity}[kind] + offset

    head.denoiser.forward = perfect  # type: ignore[method-assign]
    assert float(head.loss(torch.zeros(4, 12), chunks, weights, 3, torch.Generator())) < 1e-6
    offset = 0.5
    loss = head.loss(torch.zeros(4, 12), chunks, weights, 3, torch.Generator())
    assert float(loss) == pytest.approx(0.25, rel=1e-3)


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


def two_modes(head: DiffusionHead) -> Callable[[Tensor, object, int], Tensor]:
    """The exact mean of the clean chunk for data with two equally likely chunks, all at one or the other mode."""

    def predict(x: Tensor, first_index: int, index: int) -> Tensor:
        alpha = head.forward_process.alphas_cumprod[head.sampler.timesteps[first_index + index]]
        logits = torch.stack(
            [-(x - alpha.sqrt() * mode).square().sum(dim=(1, 2)) / (2 * (1 - alpha)) for mode in MODES]
        )
        weights = logits.softmax(dim=0)
        return (weights[1] * MODES[1] + weights[0] * MODES[0])[:, None, None].expand_as(x)

    head.denoiser.prepare = lambda condition, steps: len(head.sampler.timesteps) - len(steps)  # type: ignore[method-assign]
    head.denoiser.denoise = predict  # type: ignore[method-assign]
    return predict


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmsolver++"])
def test_warm_start_keeps_the_mode_of_the_plan(small_config: Callable[..., PolicyConfig], sampler: str) -> None:
    """From noise both modes come about; from the plan, with half of the steps, its own mode always does."""
    options = {"prediction": "sample", "sampler": sampler, "inference_steps": 8}
    plan = torch.full((64, 6, 10), MODES[1])
    head = DiffusionHead(small_config(diffusion=options), 12)
    two_modes(head)
    condition, generator = torch.zeros(64, 12), torch.Generator().manual_seed(0)
    assert 10 < int((head.sample(condition, generator, continuation=Continuation(plan))[:, 0, 0] > 0).sum()) < 54
    sampled = head.sample(condition, generator, continuation=Continuation(plan, warm_share=0.5))
    torch.testing.assert_close(sampled, torch.full((64, 16, 10), MODES[1]), atol=0.05, rtol=0)
    assert 10 < int((head.sample(condition, generator)[:, 0, 0] > 0).sum()) < 54


def test_warm_start_runs_the_remaining_steps_from_the_noised_plan(small_config: Callable[..., PolicyConfig]) -> None:
    """Eight steps with three quarters left out: two evaluations, the first at level 24 of the plan, padded."""
    config = small_config(diffusion={"inference_steps": 8}, action={"past": 2, "horizon": 8, "steps": 4})
    head, seen = DiffusionHead(config, 12), []
    head.denoiser.denoise = lambda x, prepared, index: seen.append(x) or x  # type: ignore[method-assign, func-returns-value]
    plan = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1).expand(1, 3, 10)
    head.sample(torch.zeros(1, 12), torch.Generator().manual_seed(3), 2, Continuation(plan, warm_share=0.75))
    assert len(seen) == 2
    noise = torch.randn((2, 8, 10), generator=torch.Generator().manual_seed(3))
    laid_out = torch.tensor([0.1, 0.1, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3]).view(1, 8, 1)
    alpha = head.forward_process.alphas_cumprod[24]
    torch.testing.assert_close(seen[0], alpha.sqrt() * laid_out + (1 - alpha).sqrt() * noise)


def test_without_warm_start_the_plan_does_not_matter(small_config: Callable[..., PolicyConfig]) -> None:
    head, condition = DiffusionHead(small_config(), 12), torch.randn(2, 12)
    alone = head.sample(condition, torch.Generator().manual_seed(0))
    beside = head.sample(condition, torch.Generator().manual_seed(0), continuation=Continuation(torch.ones(2, 5, 10)))
    torch.testing.assert_close(alone, beside, rtol=0, atol=0)
    assert head.evaluations == 5


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
def test_draws_are_those_of_single_observations(small_config: Callable[..., PolicyConfig], kind: str) -> None:
    """Three draws for two observations are what six observations get, an observation's side by side."""
    torch.manual_seed(0)
    transformer = {"layers": 2, "heads": 2, "width": 16}
    sections = {"denoiser": {"kind": kind, "transformer": transformer}, "diffusion": {"prediction": "sample"}}
    head = DiffusionHead(small_config(**sections), 12).eval()
    condition = torch.randn(2, 12)
    together = head.sample(condition, torch.Generator().manual_seed(0), draws=3)
    apart = head.sample(condition.repeat_interleave(3, 0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
def test_half_precision_trains_and_samples(small_config: Callable[..., PolicyConfig], kind: str) -> None:
    transformer = {"layers": 1, "heads": 2, "width": 16}
    head = DiffusionHead(small_config(denoiser={"kind": kind, "transformer": transformer}), 12).to(torch.bfloat16)
    condition, chunks = torch.randn(2, 12), torch.rand(2, 16, 10)
    loss = head.loss(condition, chunks, torch.ones(2, 16), 2, torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.dtype == torch.float32 and bool(loss.isfinite())
    sampled = head.sample(condition, torch.Generator().manual_seed(0))
    assert sampled.dtype == torch.float32 and float(sampled.abs().max()) <= 1.0
