"""The path of one chunk in time: its spline, the start and the end of the plan, and the seam to what was before.

The path is followed at its own absolute times, except at the ends of the plan. There the rate of path time goes
smoothly from 1 to 0, so that the arm comes to rest exactly on the last waypoint and never runs past it; a chunk that
lies in the future begins likewise from rest at its first waypoint.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dp_core.limits import MotionLimits
from dp_core.pose_spline import PathPoint, PoseSpline
from dp_core.rotations import Vector, norm
from dp_core.seam import SeamFade

# Braking at the end of the plan alone uses at most this share of the limits.
SHARE = 0.5
SHORTEST_BRAKING_S = 0.02


class ChunkPath:
    """Reference motion from the moment a chunk was taken.

    Args:
        stamps_ns: (n,) strictly increasing.
        poses: (n, 7).
        seam_ns: time at which ``before`` was the motion; the path is continuous there.
        before: motion at the seam.
        blend_s: shortest time of the seam's fade.
        limits: for the times of fading and braking.
        old: path that ``before`` is a point of; its fade may be under way.
    """

    def __init__(
        self,
        stamps_ns: NDArray[np.int64],
        poses: NDArray[np.float64],
        seam_ns: int,
        before: PathPoint,
        blend_s: float,
        limits: MotionLimits,
        old: ChunkPath | None = None,
    ) -> None:
        self._begin_ns, self._end_ns, self._seam_ns = int(stamps_ns[0]), int(stamps_ns[-1]), seam_ns
        self._spline = PoseSpline((stamps_ns - self._begin_ns) * np.float64(1e-9), poses)
        self._length_s = 1e-9 * (self._end_ns - self._begin_ns)
        self._brake_s = self._braking_time(self._length_s, -1.0, limits)
        self._start_s = self._braking_time(0.0, 1.0, limits)
        ahead_s = 1e-9 * (self._begin_ns - seam_ns)
        self._starts = ahead_s > 0.5 * self._start_s
        left_s = self._length_s + min(ahead_s, 0.0)
        # Too little of the plan is left to brake on: its last pose is approached instead, by the fade alone.
        self._holds = left_s < 0.5 * self._brake_s + (0.5 * self._start_s if self._starts else 0.0)
        available_s = max(ahead_s, 0.0) + (left_s if self._holds else 0.0)
        under_way = None if old is None else (old.seam, 1e-9 * (seam_ns - old._seam_ns))
        self.seam: SeamFade = SeamFade(before, self._point(seam_ns), blend_s, limits, available_s, under_way)
        stop_s = 0.0 if self._holds else 0.5 * self._brake_s
        self.rest_ns = max(self._end_ns + round(1e9 * stop_s), seam_ns + math.ceil(1e9 * self.seam.duration_s))

    def at(self, t_ns: int) -> PathPoint:
        """Reference at an absolute time."""
        return self.seam.applied(self._point(t_ns), 1e-9 * (t_ns - self._seam_ns))

    def path_ns(self, t_ns: int) -> int:
        """Absolute time of the place on the plan that is reached at ``t_ns``; never after ``t_ns``."""
        if self._holds or t_ns <= self._begin_ns:
            return min(t_ns, self._end_ns)
        return min(t_ns, self._begin_ns + round(1e9 * self._clock(1e-9 * (t_ns - self._begin_ns))[0]))

    def _point(self, t_ns: int) -> PathPoint:
        if self._holds:
            last = self._spline.at(self._length_s)
            return PathPoint(last.position, last.quat)
        time_s, rate, change = self._clock(1e-9 * (t_ns - self._begin_ns))
        point = self._spline.at(time_s)
        if rate == 1.0:
            return point
        return PathPoint(
            point.position,
            point.quat,
            _combined(point.linear, rate, point.linear, 0.0),
            _combined(point.angular, rate, point.angular, 0.0),
            _combined(point.linear_rate, rate * rate, point.linear, change),
            _combined(point.angular_rate, rate * rate, point.angular, change),
        )

    def _clock(self, t_s: float) -> tuple[float, float, float]:
        """Path time, its rate and the rate of that, at ``t_s`` after the first waypoint's time."""
        brake = (t_s - self._length_s) / self._brake_s + 0.5
        if brake >= 1.0:
            return self._length_s, 0.0, 0.0
        if brake > 0.0:
            travelled = brake - brake**3 + 0.5 * brake**4
            start_s = self._length_s - 0.5 * self._brake_s
            return (
                start_s + self._brake_s * travelled,
                1.0 - brake * brake * (3.0 - 2.0 * brake),
                -6.0 * brake * (1.0 - brake) / self._brake_s,
            )
        start = t_s / self._start_s + 0.5
        if not self._starts or start >= 1.0:
            return t_s, 1.0, 0.0
        if start <= 0.0:
            return 0.0, 0.0, 0.0
        return (
            self._start_s * (start**3 - 0.5 * start**4),
            start * start * (3.0 - 2.0 * start),
            6.0 * start * (1.0 - start) / self._start_s,
        )

    def _braking_time(self, end_s: float, inwards: float, limits: MotionLimits) -> float:
        """Time in which the rate of path time goes between 1 and 0 at an end of the plan."""
        time_s = SHORTEST_BRAKING_S
        for share in (0.0, 0.5, 0.25):
            point = self._spline.at(min(max(end_s + inwards * share * time_s, 0.0), self._length_s))
            for speed, acceleration, jerk in (
                (norm(point.linear), limits.linear_acceleration_m_s2, limits.linear_jerk_m_s3),
                (norm(point.angular), limits.angular_acceleration_rad_s2, limits.angular_jerk_rad_s3),
            ):
                time_s = max(time_s, 1.5 * speed / (SHARE * acceleration), math.sqrt(6.0 * speed / (SHARE * jerk)))
        return time_s


def _combined(a: Vector, p: float, b: Vector, q: float) -> Vector:
    return (p * a[0] + q * b[0], p * a[1] + q * b[1], p * a[2] + q * b[2])
