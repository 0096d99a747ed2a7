"""Joint positions between the points of a trajectory, as ros2_control's JointTrajectoryController interpolates them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointPoint:
    """A point of a trajectory: time (s), positions (n,) rad, and velocities (n,) rad/s or None."""

    t_s: float
    position: Array
    velocity: Array | None = None


class JointPath:
    """From a start state through points: cubic where both ends have velocities, straight where not.

    Points that lie in the past when the trajectory arrives are passed over, and the last one is held.
    """

    def __init__(self, start: JointPoint, points: Sequence[JointPoint]) -> None:
        self._points = [start, *(point for point in points if point.t_s > start.t_s)]
        self._times = [point.t_s for point in self._points]

    def sample(self, t_s: float) -> Array:
        """Positions (n,) rad at `t_s`."""
        index = bisect_right(self._times, t_s)
        if index == len(self._points):
            return self._points[-1].position
        if index == 0:
            return self._points[0].position
        a, b = self._points[index - 1], self._points[index]
        span = b.t_s - a.t_s
        u = (t_s - a.t_s) / span
        if a.velocity is None or b.velocity is None:
            return a.position + u * (b.position - a.position)
        rest = 1.0 - u
        ends = (1.0 + 2.0 * u) * rest * rest * a.position + u * u * (3.0 - 2.0 * u) * b.position
        return ends + span * u * rest * (rest * a.velocity - u * b.velocity)
