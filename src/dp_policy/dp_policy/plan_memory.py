"""What is left of the plan in execution, by absolute time. Pure: times come in as arguments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
        """Store a chunk (Tp, A), whose first action belongs to ``observed_ns``, once it is on its way to the robot."""
        self._observed_ns, self._actions = observed_ns, actions

    def remaining(self, observed_ns: int) -> NDArray[np.float32] | None:
        """Actions (L, A) from ``observed_ns`` on, to the nearest period; None if nothing is left or remembered."""
        if self._actions is None:
            return None
        passed = round((observed_ns - self._observed_ns) / self._period_ns)
        return self._actions[passed:] if 0 <= passed < len(self._actions) else None

    def clear(self) -> None:
        """Forget the chunk: a new episode begins, or someone else drove in between."""
        self._actions = None
