"""Where the arm was when, sampled coarsely, so that other streams can be judged by whether it moved."""

import array
import bisect

import numpy as np
from numpy.typing import NDArray

_PERIOD_NS = 50_000_000


class MotionRecord:
    """Positions of the end effector every 50 ms: 32 bytes each, 2.3 MB for an hour."""

    def __init__(self) -> None:
        self._times = array.array("q")
        self._positions = array.array("d")

    def add(self, t_ns: int, position: NDArray[np.float64]) -> None:
        """Take a position, ``(3,)`` m, at a log time in ns."""
        if not self._times or t_ns - self._times[-1] >= _PERIOD_NS:
            self._times.append(t_ns)
            self._positions.extend(float(value) for value in position)

    def distance_m(self, begin_ns: int, end_ns: int) -> float | None:
        """The farthest it was from where it stood at the begin; None where no position is known.

        Args:
            begin_ns: Log time, ns.
            end_ns: Log time, ns.
        """
        first, last = bisect.bisect_left(self._times, begin_ns), bisect.bisect_right(self._times, end_ns)
        if last <= first:
            return None
        path = np.frombuffer(self._positions, np.float64).reshape(-1, 3)[first:last]
        return float(np.linalg.norm(path - path[0], axis=1).max())
