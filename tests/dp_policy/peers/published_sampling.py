"""DDPM and DDIM as the papers write them, on the cosine schedule; independent of diffusers and of this project."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def kept_signal(levels: int) -> list[float]:
    """abar of every level: product of 1 - beta with the squared cosine (arXiv 2102.09672), beta at most 0.999."""

    def cosine(time: float) -> float:
        return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

    result, kept = [], 1.0
    for level in range(levels):
        kept *= 1.0 - min(1.0 - cosine((level + 1) / levels) / cosine(level / levels), 0.999)
        result.append(kept)
    return result


def sample(
    network: Callable[[Tensor, Tensor], Tensor],
    shape: tuple[int, ...],
    levels: int,
    steps: int,
    sampler: str,
    seed: int,
) -> Tensor:
    """Chunks from pure noise; the first of ``torch.Generator(seed)``'s draws is the noise, then one per DDPM step.

    DDIM visits ``steps`` levels, evenly spaced from 0 (diffusers' spacing ``leading``).
    """
    generator = torch.Generator().manual_seed(seed)
    kept = kept_signal(levels)
    x = torch.randn(shape, generator=generator)
    stride = levels // steps
    for level in range((steps - 1) * stride, -1, -stride):
        noise = network(x, torch.full((shape[0],), float(level)))
        abar, before = kept[level], kept[level - stride] if level >= stride else 1.0
        clean = ((x - (1 - abar) ** 0.5 * noise) / abar**0.5).clamp(-1, 1)
        if sampler == "ddim":
            x = before**0.5 * clean + (1 - before) ** 0.5 * noise
            continue
        alpha = abar / before
        mean = (before**0.5 * (1 - alpha) * clean + alpha**0.5 * (1 - before) * x) / (1 - abar)
        deviation = ((1 - before) / (1 - abar) * (1 - alpha)) ** 0.5
        x = mean + deviation * torch.randn(shape, generator=generator) if level else mean
    return x
