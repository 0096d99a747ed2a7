"""A twice continuously differentiable path through timed poses.

Position and quaternion are cubic splines with natural ends; the quaternion's in R^4 through waypoints of continuous
sign, normalised when evaluated. Velocity and acceleration are exact derivatives. A straight line at constant speed is
reproduced exactly.
"""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp_core.rotations import ZERO, Quaternion, Vector

Array = NDArray[np.float64]

# Between waypoints half a turn apart the spline in R^4 may pass near zero, where its direction means nothing; below
# this squared norm the angular velocity is held down. Waypoints less than 120 degrees apart never come near.
LEAST_NORM2 = 0.05


class PathPoint(NamedTuple):
    """Pose, velocity and acceleration on a path, base frame, SI units."""

    position: Vector
    quat: Quaternion
    linear: Vector = ZERO
    angular: Vector = ZERO
    linear_rate: Vector = ZERO
    angular_rate: Vector = ZERO


class PoseSpline:
    """See the module. Beyond its ends the path goes on in a straight line.

    Args:
        times_s: (n,) strictly increasing.
        poses: (n, 7) unit quaternions of any sign; n >= 1.
    """

    def __init__(self, times_s: Array, poses: Array) -> None:
        values = np.array(poses, dtype=np.float64)
        dots = np.sum(values[1:, 3:] * values[:-1, 3:], axis=1)
        values[1:, 3:] *= np.cumprod(np.where(dots < 0.0, -1.0, 1.0))[:, None]
        self._times: list[float] = [float(t) for t in times_s]
        self._pieces = list(_coefficients(np.asarray(times_s, dtype=np.float64), values))

    def at(self, time_s: float) -> PathPoint:
        """Point of the path at a time (s)."""
        times = self._times
        i = min(max(bisect.bisect_right(times, time_s) - 1, 0), max(len(times) - 2, 0))
        inside = min(max(time_s, times[0]), times[-1])
        u, beyond = inside - times[i], time_s - inside
        basis = np.array(((1.0, u, u * u, u * u * u), (0.0, 1.0, 2.0 * u, 3.0 * u * u), (0.0, 0.0, 2.0, 6.0 * u)))
        values, rates, changes = (basis @ self._pieces[i]).tolist()
        if beyond != 0.0:
            values = [x + beyond * v for x, v in zip(values, rates, strict=True)]
            changes = [0.0] * 7
        return _point(values, rates, changes)


def _coefficients(times: Array, values: Array) -> Array:
    """(n - 1, 4, columns) polynomial of each piece in the time since its beginning, constant first."""
    n = len(times)
    if n == 1:
        return np.concatenate([values[:, None, :], np.zeros((1, 3, values.shape[1]))], axis=1)
    h = np.diff(times)
    slopes = np.diff(values, axis=0) / h[:, None]
    bends = 6.0 * np.diff(slopes, axis=0)
    curvature = np.zeros_like(values)
    # Thomas algorithm for the second derivatives at the inner waypoints; they are zero at the ends. The scalars are
    # plain floats, the seven columns one array.
    upper, widths = [0.0] * n, h.tolist()
    for i in range(1, n - 1):
        before = widths[i - 1]
        pivot = 1.0 / ((2.0 - upper[i - 1]) * before + 2.0 * widths[i])
        upper[i] = widths[i] * pivot
        curvature[i] = pivot * (bends[i - 1] - before * curvature[i - 1])
    for i in range(n - 3, 0, -1):
        curvature[i] -= upper[i] * curvature[i + 1]
    step = h[:, None]
    linear = slopes - step * (2.0 * curvature[:-1] + curvature[1:]) / 6.0
    return np.stack([values[:-1], linear, 0.5 * curvature[:-1], np.diff(curvature, axis=0) / (6.0 * step)], axis=1)


def _point(values: list[float], rates: list[float], changes: list[float]) -> PathPoint:
    """Normalise the quaternion part: w = 2 vec(Q' Q*) / |Q|^2 and its derivative."""
    x, y, z, qx, qy, qz, qw = values
    norm2 = qx * qx + qy * qy + qz * qz + qw * qw
    bounded = max(norm2, LEAST_NORM2)
    first = _vector_part(rates, qx, qy, qz, qw)
    second = _vector_part(changes, qx, qy, qz, qw)
    k = 2.0 / bounded
    growth = 2.0 * (qx * rates[3] + qy * rates[4] + qz * rates[5] + qw * rates[6]) / bounded
    angular = (k * first[0], k * first[1], k * first[2])
    angular_rate = (
        k * second[0] - growth * angular[0],
        k * second[1] - growth * angular[1],
        k * second[2] - growth * angular[2],
    )
    if norm2 < 1e-12:
        return PathPoint((x, y, z), (0.0, 0.0, 0.0, 1.0), (rates[0], rates[1], rates[2]))
    scale = norm2**-0.5
    return PathPoint(
        (x, y, z),
        (scale * qx, scale * qy, scale * qz, scale * qw),
        (rates[0], rates[1], rates[2]),
        angular,
        (changes[0], changes[1], changes[2]),
        angular_rate,
    )


def _vector_part(rates: list[float], qx: float, qy: float, qz: float, qw: float) -> Vector:
    """Vector part of ``r q*`` for the quaternion rates r = rates[3:]."""
    _, _, _, rx, ry, rz, rw = rates
    return (
        -rw * qx + rx * qw - ry * qz + rz * qy,
        -rw * qy + rx * qz + ry * qw - rz * qx,
        -rw * qz - rx * qy + ry * qx + rz * qw,
    )
