"""Guided inpainting: chunks that go on from the plan, of networks that were not trained to (arXiv 2506.07339).

The denoiser gives for a noisy sequence x = s a + n e (a: actions, e: noise; s^2 + n^2 = 1 in diffusion, s = t and
n = 1 - t in flow matching) its estimate c(x) of a. Let the plan Y be what is known of a, each action to a degree W
between 0 and 1. With a | x taken as N(c(x), r^2 I), the score of Y at x is J^T W (Y - c) / r^2 with J = dc/dx, and
r^2 = n^2 / (s^2 + n^2) is exact for actions of unit variance (pseudo-inverse guidance, Song et al. 2023). By Tweedie's
formula, c = (x + n^2 score(x)) / s, the estimate becomes

    c' = c + w J^T W (Y - c),    w = min(limit n, (s^2 + n^2) / s),

of which the bound keeps the first steps, where s is near 0, from overshooting. For flow this is the paper's correction
of the velocity, min(limit, (1 - t) / (t r^2)) J^T W (Y - c). For diffusion the same bound results on the straight path
that x / (s + n) takes. J^T is one backward pass through the denoiser per step.

The soft mask W is 1 for actions that will have been executed, falls over the rest of the plan, and is 0 behind it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dp_policy.config import ActionConfig
from dp_policy.heads.continuation import Continuation
from dp_policy.heads.warm_start import plan_as_sequence

#: Signals below this count as none: the weight is then the bound.
LEAST_SIGNAL = 1e-6
#: Signal s and noise n of a noisy sequence.
Levels = tuple[float, float]


def soft_mask(action: ActionConfig, length: int, frozen: int) -> Tensor:
    """How far each action is bound to the plan (arXiv 2506.07339, equation 5).

    Args:
        action: of the policy; its ``past`` actions are not bound.
        length: actions L of the plan.
        frozen: leading ones that will have been executed.

    Returns:
        (horizon,) float32 in [0, 1]: 1 for frozen ones, then c (e^c - 1) / (e - 1) with c falling evenly towards 0 at
        the plan's end.
    """
    index = torch.arange(action.horizon) - action.past
    nearness = ((length - index) / (max(length - frozen, 0) + 1)).clamp(0.0, 1.0)
    weights = nearness * torch.expm1(nearness) / math.expm1(1.0)
    weights[index < min(frozen, length)] = 1.0
    return weights.masked_fill(index < 0, 0.0)


class Guide:
    """Pulls the estimates of a denoiser towards the plan.

    Args:
        target: (N, T, A) float32, normalised: the plan Y, laid out as sequences.
        weights: (T,) the soft mask W.
        limit: largest weight of the guidance in units of the velocity.
    """

    def __init__(self, target: Tensor, weights: Tensor, limit: float) -> None:
        self._target, self._weights, self._limit = target, weights.to(target.device)[:, None], limit

    @classmethod
    def towards(cls, action: ActionConfig, continuation: Continuation | None, draws: int) -> Guide | None:
        """The guide that a continuation asks for, if it does."""
        if continuation is None or not continuation.guidance:
            return None
        weights = soft_mask(action, continuation.plan.shape[1], continuation.frozen)
        return cls(plan_as_sequence(continuation.plan, action, draws), weights, continuation.guidance)

    def evaluate(
        self,
        predict: Callable[[Tensor], Tensor],
        estimate: Callable[[Tensor, Tensor], Tensor],
        x: Tensor,
        levels: Levels,
    ) -> tuple[Tensor, Tensor]:
        """Run the denoiser at a noisy sequence.

        Args:
            predict: the denoiser, (N, T, A) to what it predicts, float32.
            estimate: of x and the prediction: the clean sequence c.
            x: (N, T, A) float32.
            levels: signal s and noise n of x.

        Returns:
            The prediction, and c' - c, both (N, T, A) float32.
        """
        with torch.enable_grad():
            moved = x.detach().clone().requires_grad_()
            predicted = predict(moved)
            clean = estimate(moved, predicted)
            pull = self._weights * (self._target - clean.detach())
            (gradient,) = torch.autograd.grad(clean, moved, pull)
        return predicted.detach(), self.weight(*levels) * gradient

    def weight(self, signal: float, noise: float) -> float:
        """The factor w at a level."""
        bound = self._limit * noise
        return bound if signal < LEAST_SIGNAL else min(bound, (signal**2 + noise**2) / signal)
