"""What is left of the plan in execution, by absolute time. Pure: times come in as arguments."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: An observation this near to an action's time, in periods, counts as at it: the plan's own numbers are given then.
AT_ACTION = 0.05


class PlanMemory:
    """Remembers the newest chunk, so that the next one can be made to agree with it.

    Args:
        period_ns: time between two actions.
    """

    def __init__(self, period_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"period_ns = {period_ns} must be positive")
        self._period_ns = period_ns
        self._observed_ns = 0
        self._actions: NDArray[np.float32] | None = None

    def remember(self, observed_ns: int, actions: NDArray[np.float32]) -> None:
        """Store a chunk (Tp, A), whose first action belongs to ``observed_ns``, once it is on its way to the robot.

        The last number of an action is the gripper's.
        """
        self._observed_ns, self._actions = observed_ns, actions

    def remaining(self, observed_ns: int) -> NDArray[np.float32] | None:
        """The plan (L, A) at ``observed_ns`` and every period after it; None if nothing is left or remembered.

        Cameras are faster than actions on most cells, so an observation seldom falls on an action of the plan. Its
        neighbours there would be up to half a period, at speed a centimetre, away from where the arm will be.
        """
        if self._actions is None:
            return None
        passed = (observed_ns - self._observed_ns) / self._period_ns
        first = math.floor(passed + AT_ACTION)
        share = passed - first
        left = self._actions if share <= AT_ACTION else _between(self._actions, share)
        return left[first:] if 0 <= first < len(left) else None

    def clear(self) -> None:
        """Forget the chunk: a new episode begins, or someone else drove in between."""
        self._actions = None


def _between(actions: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """(Tp - 1, A): the path of (Tp, A) actions this share of a period behind each but the last (Catmull and Rom).

    The gripper keeps the width of the action before, as in execution. The rows of a rotation stay orthonormal but for
    the square of the angle between two actions.
    """
    if len(actions) < 2:
        return actions[:0]
    ends = (2 * actions[:1] - actions[1:2], 2 * actions[-1:] - actions[-2:-1])
    path = np.concatenate((ends[0], actions, ends[1])).astype(np.float64)
    a, b, c, d = path[:-3], path[1:-2], path[2:-1], path[3:]
    curve = share * (2 * a - 5 * b + 4 * c - d + share * (3 * (b - c) + d - a))
    between = (b + 0.5 * share * (c - a + curve)).astype(np.float32)
    between[:, -1] = actions[:-1, -1]
    return between
