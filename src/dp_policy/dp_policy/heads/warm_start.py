"""Start of a chunk from what is left of the plan before it (warm start, arXiv 2303.04137; Janner et al. 2022).

The plan in execution is noised part of the way, and only the rest of the steps is run: fewer evaluations, and chunks
that stay near the plan. At the first inference of an episode there is no plan and every step is run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dp_policy.config import ActionConfig
from dp_policy.heads.continuation import Continuation


def first_step(continuation: Continuation | None, steps: int) -> int:
    """Index of the first of ``steps`` that is run; 0 without a plan to start from."""
    return 0 if continuation is None else min(round(continuation.warm_share * steps), steps - 1)


def plan_as_sequence(previous: Tensor, action: ActionConfig, draws: int = 1) -> Tensor:
    """The plan laid out as the network predicts it.

    Args:
        previous: (B, L, A), normalised, from the newest observation's time on, L at least 1.
        action: of the policy.
        draws: sequences per observation.

    Returns:
        (B * draws, horizon, A): the first action is repeated for the ``past`` times before it, the last one after
        the plan's end.
    """
    times = torch.arange(action.horizon, device=previous.device) - action.past
    sequence = previous[:, times.clamp(0, previous.shape[1] - 1)]
    return sequence.repeat_interleave(draws, dim=0)
