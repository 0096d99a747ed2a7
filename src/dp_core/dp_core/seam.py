"""The seam between two paths: their difference fades, with its rate and its acceleration, by a quintic.

At the seam position, velocity and acceleration of the old path go on; after the fade the new path is followed exactly.
The difference in rotation is a rotation vector o(t) of the base frame, q(t) = exp(o(t)) q_path(t), whose rates follow
from w = J(o) o' + R w_path with J the left Jacobian and R = exp(o).
"""

from __future__ import annotations

import math

from dp_core.limits import MotionLimits
from dp_core.pose_spline import PathPoint
from dp_core.rotations import (
    Vector,
    add_scaled,
    cross,
    left_jacobian_solve,
    left_jacobian_times,
    norm,
    quat_exp,
    quat_turned,
    rotate,
    rotvec_between,
    scaled,
)

# A fade alone uses at most this share of each limit; the rest is the path's.
SHARE = 0.5
# Rates that differ by more than this many limits belong to paths that no arm could follow: not kept at the seam.
LARGEST_RATE = 2.0
# A fade of rotation leads aside by at most about this angle, far from where rotation vectors end (rad).
LARGEST_ASIDE_RAD = 1.0
# When there is time before the plan begins the fade takes it, unless it would lead aside by more than this (m, rad).
ASIDE = (0.05, 0.2)


class SeamFade:
    """Fade of the difference between two paths.

    Args:
        before: point of the old path at the seam.
        path: point of the new path at the same time.
        least_s: shortest time of the fade; a large difference takes longer.
        limits: see :data:`SHARE`.
        available_s: time until the difference must be gone; all of it is taken where that leads not far aside.
    """

    def __init__(
        self, before: PathPoint, path: PathPoint, least_s: float, limits: MotionLimits, available_s: float = 0.0
    ) -> None:
        linear = (limits.linear_velocity_m_s, limits.linear_acceleration_m_s2, limits.linear_jerk_m_s3)
        angular = (limits.angular_velocity_rad_s, limits.angular_acceleration_rad_s2, limits.angular_jerk_rad_s3)
        self.position = add_scaled(before.position, path.position, -1.0)
        self._velocity = _clipped(add_scaled(before.linear, path.linear, -1.0), linear[0])
        self._change = _clipped(add_scaled(before.linear_rate, path.linear_rate, -1.0), linear[1])
        self.rotation = rotvec_between(path.quat, before.quat)
        turn = quat_exp(self.rotation)
        carried = rotate(turn, path.angular)
        own = _clipped(add_scaled(before.angular, carried, -1.0), angular[0])
        self._rotation_rate = left_jacobian_solve(self.rotation, own)
        rest = add_scaled(before.angular_rate, rotate(turn, path.angular_rate), -1.0)
        rest = add_scaled(rest, cross(own, carried), -1.0)
        rest = _clipped(add_scaled(rest, _jacobian_rate(self.rotation, self._rotation_rate), -1.0), angular[1])
        self._rotation_change = left_jacobian_solve(self.rotation, rest)
        self._linear_s = _duration(self.position, self._velocity, self._change, linear, least_s, available_s, ASIDE[0])
        angular_s = _duration(
            self.rotation, self._rotation_rate, self._rotation_change, angular, least_s, available_s, ASIDE[1]
        )
        # 1/5.4 and 1/58 are the largest values of the quintic's parts for unit rate and change.
        fastest, strongest = max(norm(self._rotation_rate), 1e-9), max(norm(self._rotation_change), 1e-9)
        longest_s = min(5.4 * LARGEST_ASIDE_RAD / fastest, math.sqrt(58.0 * LARGEST_ASIDE_RAD / strongest))
        self._angular_s = min(angular_s, longest_s)
        self.duration_s = max(self._linear_s, self._angular_s)

    def applied(self, path: PathPoint, since_s: float) -> PathPoint:
        """The point of the new path with what is left of the difference ``since_s`` after the seam."""
        if since_s >= self.duration_s:
            return path
        since_s = max(since_s, 0.0)
        position, velocity, change = (
            _mixed(w, self.position, self._velocity, self._change) for w in _quintic(since_s, self._linear_s)
        )
        rotation, rate, rotation_change = (
            _mixed(w, self.rotation, self._rotation_rate, self._rotation_change)
            for w in _quintic(since_s, self._angular_s)
        )
        turn = quat_exp(rotation)
        carried = rotate(turn, path.angular)
        own = left_jacobian_times(rotation, rate)
        angular_rate = add_scaled(rotate(turn, path.angular_rate), left_jacobian_times(rotation, rotation_change), 1.0)
        angular_rate = add_scaled(angular_rate, _jacobian_rate(rotation, rate), 1.0)
        return PathPoint(
            add_scaled(path.position, position, 1.0),
            quat_turned(path.quat, rotation),
            add_scaled(path.linear, velocity, 1.0),
            add_scaled(carried, own, 1.0),
            add_scaled(path.linear_rate, change, 1.0),
            add_scaled(angular_rate, cross(own, carried), 1.0),
        )


def _clipped(v: Vector, limit: float) -> Vector:
    size = norm(v)
    return v if size <= LARGEST_RATE * limit else scaled(v, LARGEST_RATE * limit / size)


def _duration(
    difference: Vector,
    rate: Vector,
    change: Vector,
    limits: tuple[float, float, float],
    least_s: float,
    available_s: float,
    aside: float,
) -> float:
    """Time in which a quintic takes difference, rate and change to zero with modest peaks.

    The factors are the peaks of the three parts of the quintic for unit time: 15/8, 5.7735 and 60 for a difference;
    3.94 and 36 for a rate; 9 for a change.
    """
    d, v, a = norm(difference), norm(rate), norm(change)
    speed, acceleration, jerk = (SHARE * limit for limit in limits)
    unhurried_s = min(available_s, (d + aside) * 5.4 / max(v, 1e-9))
    return max(
        least_s,
        unhurried_s,
        1.875 * d / speed,
        math.sqrt(5.7735 * d / acceleration),
        (60.0 * d / jerk) ** (1.0 / 3.0),
        3.94 * v / acceleration,
        math.sqrt(36.0 * v / jerk),
        9.0 * a / jerk,
    )


def _quintic(t: float, duration: float) -> tuple[Vector, Vector, Vector]:
    """Weights of (difference, rate, change) in the value, its first and its second derivative at ``t``."""
    u = min(t / duration, 1.0)
    u2 = u * u
    u3 = u2 * u
    left = 1.0 - u
    value = (
        1.0 - u3 * (10.0 - 15.0 * u + 6.0 * u2),
        duration * u * left * left * left * (1.0 + 3.0 * u),
        duration * duration * 0.5 * u2 * left * left * left,
    )
    first = (
        -30.0 * u2 * left * left / duration,
        1.0 - 18.0 * u2 + 32.0 * u3 - 15.0 * u2 * u2,
        duration * (u - 4.5 * u2 + 6.0 * u3 - 2.5 * u2 * u2),
    )
    second = (
        (-60.0 * u + 180.0 * u2 - 120.0 * u3) / (duration * duration),
        (-36.0 * u + 96.0 * u2 - 60.0 * u3) / duration,
        1.0 - 9.0 * u + 18.0 * u2 - 10.0 * u3,
    )
    return value, first, second


def _mixed(weights: Vector, a: Vector, b: Vector, c: Vector) -> Vector:
    p, q, r = weights
    return (p * a[0] + q * b[0] + r * c[0], p * a[1] + q * b[1] + r * c[1], p * a[2] + q * b[2] + r * c[2])


def _jacobian_rate(rotation: Vector, rate: Vector) -> Vector:
    """(d/dt J(o)) o' by a central difference along o'; exact to about 1e-8."""
    step = 1e-4 / (1.0 + norm(rate))
    ahead = left_jacobian_times(add_scaled(rotation, rate, step), rate)
    behind = left_jacobian_times(add_scaled(rotation, rate, -step), rate)
    k = 0.5 / step
    return (k * (ahead[0] - behind[0]), k * (ahead[1] - behind[1]), k * (ahead[2] - behind[2]))
