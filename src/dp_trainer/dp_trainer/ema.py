"""Exponential moving average of the weights with the paper's warm-up."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from dp_policy.config import EmaConfig
from torch import Tensor


def ema_decay(step: int, config: EmaConfig) -> float:
    """Decay at the ``step``-th update (first: 0): min(decay, 1 - max(step, 1)^-power); 0 takes the weights over.

    Source: arXiv 2303.04137 and real-stanford/diffusion_policy, inverse gamma 1, power 3/4.
    """
    return min(config.decay, 1.0 - max(step, 1) ** -config.power)


class Ema:
    """Averaged copies of some weights, float32.

    They move after every optimiser step, from the first one on: once per batch, however many micro-batches and
    processes it was split into.
    """

    def __init__(self, weights: Sequence[Tensor], config: EmaConfig) -> None:
        self.config = config
        self.averages = [weight.detach().float().clone() for weight in weights]

    @torch.no_grad()
    def update(self, weights: Sequence[Tensor], step: int) -> None:
        """Move the averages towards ``weights``; ``step`` counts from 0."""
        torch._foreach_lerp_(self.averages, [weight.detach() for weight in weights], 1 - ema_decay(step, self.config))
