"""What a sequence of commanded poses really did: velocity, acceleration, jerk and depth outside the allowed region.

A second implementation, on purpose: it shares no arithmetic with control, whose outputs it judges. Divided differences
are exact tests on an uneven grid too: over any grid of periods they are averages (with positive weights) of the
derivatives between, so a path that keeps a limit in each period keeps it in each difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from dp_core.limits import MotionLimits
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: The six quantities that have a limit, in the order of :func:`limit_values`.
QUANTITIES = (
    "linear_velocity",
    "linear_acceleration",
    "linear_jerk",
    "angular_velocity",
    "angular_acceleration",
    "angular_jerk",
)


def limit_values(limits: MotionLimits) -> Array:
    """(6,) limits in SI units, in the order of :data:`QUANTITIES`."""
    return np.array(
        [
            limits.linear_velocity_m_s,
            limits.linear_acceleration_m_s2,
            limits.linear_jerk_m_s3,
            limits.angular_velocity_rad_s,
            limits.angular_acceleration_rad_s2,
            limits.angular_jerk_rad_s3,
        ]
    )


def turns_between(quats: Array) -> Array:
    """(n-1, 3) rad: the shortest rotation vector, in the base frame, from each quaternion (n, 4) xyzw to the next."""
    a, b = quats[:-1], quats[1:]
    # b times the conjugate of a, written out.
    w = np.sum(a * b, axis=1)
    v = a[:, 3:] * b[:, :3] - b[:, 3:] * a[:, :3] - np.cross(b[:, :3], a[:, :3])
    v = np.where(w[:, None] < 0.0, -v, v)
    sine = np.sqrt(np.sum(v * v, axis=1))
    angle = 2.0 * np.arctan2(sine, np.abs(w))
    return np.asarray(v * np.where(sine > 1e-15, angle / np.maximum(sine, 1e-15), 2.0)[:, None])


@dataclass(frozen=True)
class MotionRates:
    """Divided differences of a path; entry i is that of sample i, from rest before the first.

    Attributes:
        norms: (n, 6) in the order of :data:`QUANTITIES`, m/s ... rad/s^3.
        twists: (n, 6) m/s, rad/s, base frame: mean over the step that ends at the sample.
    """

    norms: Array
    twists: Array


def motion_rates(ticks: NDArray[np.int64], poses: Array, period_s: float, start: Array) -> MotionRates:
    """Differentiate commanded poses.

    Args:
        ticks: (n,) strictly increasing, periods.
        poses: (n, 7) commanded at those ticks.
        period_s: the control period.
        start: pose7 at which the arm rested until one period before the first tick.
    """
    n = len(ticks)
    times = period_s * np.concatenate([ticks[0] - np.array([3, 2, 1]), ticks])
    path = np.concatenate([np.tile(start, (3, 1)), poses])
    norms, twists = np.empty((n, 6)), np.empty((n, 6))
    for column, steps in ((0, np.diff(path[:, :3], axis=0)), (3, turns_between(path[:, 3:]))):
        velocity = steps / np.diff(times)[:, None]
        acceleration = 2.0 * np.diff(velocity, axis=0) / (times[2:] - times[:-2])[:, None]
        jerk = 3.0 * np.diff(acceleration, axis=0) / (times[3:] - times[:-3])[:, None]
        twists[:, column : column + 3] = velocity[-n:]
        for offset, values in enumerate((velocity, acceleration, jerk)):
            norms[:, column + offset] = np.sqrt(np.sum(values[-n:] ** 2, axis=1))
    return MotionRates(norms, twists)


class AllowedRegion:
    """The region of a contract: workspace box, table, keep-out boxes, orientation cone."""

    def __init__(self, contract: Contract) -> None:
        safety = contract.safety
        self._low = np.array(contract.limits.workspace_min_m)
        self._high = np.array(contract.limits.workspace_max_m)
        self._table = safety.table_height_m
        self._boxes = [(np.array(box.min_m), np.array(box.max_m)) for box in safety.keep_out.values()]
        self._cone = safety.orientation_cone
        self.names = [f"workspace {side}{axis}" for side in "-+" for axis in "xyz"]
        self.names += ["table"] * (self._table is not None)
        self.names += [f"keep_out {name}" for name in safety.keep_out]
        self.names += ["orientation_cone"] * (self._cone is not None)

    def depths(self, poses: Array) -> Array:
        """(n, rules) how deep each pose (n, 7) breaks each rule, m or rad; negative: room left."""
        p = poses[:, :3]
        columns = [self._low - p, p - self._high]
        if self._table is not None:
            columns.append(self._table - p[:, 2:3])
        columns += [
            np.minimum(p - low, high - p).min(axis=1, keepdims=True) for low, high in self._boxes
        ]  # the way out of a box is through its nearest face
        if self._cone is not None:
            axis = _turned(poses[:, 3:], np.array(self._cone.tool_axis))
            along = axis @ np.array(self._cone.base_axis)
            across = np.linalg.norm(np.cross(axis, np.array(self._cone.base_axis)), axis=1)
            columns.append((np.arctan2(across, along) - self._cone.half_angle_rad)[:, None])
        return np.concatenate(columns, axis=1)


def _turned(quats: Array, vector: Array) -> Array:
    """(n, 3): a vector turned by each quaternion (n, 4)."""
    u, w = quats[:, :3], quats[:, 3:]
    return np.asarray(
        2.0 * (u @ vector)[:, None] * u + (w * w - np.sum(u * u, axis=1, keepdims=True)) * vector
        + 2.0 * w * np.cross(u, vector)
    )  # fmt: skip
