"""The seam between two paths: their difference fades, with its rate and its acceleration, by a quintic.

At the seam position, velocity and acceleration of the old path go on; after the fade the new path is followed exactly.
A fade that is under way at the seam ends when it would have ended if the new path hardly differs from the old one:
what is left of a quintic is the quintic of what is left, so plans that agree do not notice how often they are merged.
The difference in rotation is a rotation vector o(t) of the base frame, q(t) = exp(o(t)) q_path(t), whose rates follow
from w = J(o) o' + R w_path with J the left Jacobian and R = exp(o).
"""

from __future__ import annotations

import math

import numpy as np

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

# A fade alone uses at most these shares of the limits of velocity, acceleration and jerk; the rest is the path's. Less
# would take longer, and lead farther aside while the difference in acceleration is taken back.
SHARES = (0.5, 0.6, 0.7)
# One that would lead aside by more than `ASIDE` uses these: the arm is on its way to where no plan wants it any more.
FIRM_SHARES = (0.9, 0.9, 0.9)
# Times of a fade that are tried, as multiples of the shortest.
_LONGER_TIMES = 1.15 ** np.arange(1, 31)
# Rates that differ by more than this many limits belong to paths that no arm could follow: not kept at the seam.
LARGEST_RATE = 2.0
# A fade of rotation leads aside by at most about this angle, far from where rotation vectors end (rad).
LARGEST_ASIDE_RAD = 1.0
# A fade that is under way goes on in its own time unless its peaks would grow by more than this.
_GOES_ON = 1.1
# One that has less time left than this has ended.
_SHORTEST_S = 1e-3
# When there is time before the plan begins the fade takes it, unless it would lead aside, beyond the difference at the
# seam, by more than this (m, rad).
ASIDE = (0.05, 0.2)


def _sampled() -> tuple[np.ndarray, np.ndarray]:
    """(13, 3) values and (3, 13, 3) first to third derivative of the unit-time quintic's parts at 13 times."""
    u = np.linspace(0.0, 1.0, 13)
    one, u2, u3, u4 = np.ones_like(u), u**2, u**3, u**4
    value = (one - 10 * u3 + 15 * u**4 - 6 * u**5, u * (1 - u) ** 3 * (1 + 3 * u), 0.5 * u2 * (1 - u) ** 3)
    first = (-30 * (u2 - 2 * u3 + u4), 1 - 18 * u2 + 32 * u3 - 15 * u4, u - 4.5 * u2 + 6 * u3 - 2.5 * u4)
    second = (-60 * u + 180 * u2 - 120 * u3, -36 * u + 96 * u2 - 60 * u3, 1 - 9 * u + 18 * u2 - 10 * u3)
    third = (-60 * one + 360 * u - 360 * u2, -36 * one + 192 * u - 180 * u2, -9 * one + 36 * u - 30 * u2)
    values, *rates = (np.stack(parts, axis=1) for parts in (value, first, second, third))
    return values, np.array(rates)


_VALUES, _RATES = _sampled()
# Difference, rate and change (3, 3) of a fade under way, and the time that it has left (s).
_Left = tuple[np.ndarray, float] | None


class SeamFade:
    """Fade of the difference between two paths.

    Args:
        before: point of the old path at the seam.
        path: point of the new path at the same time.
        least_s: shortest time of the fade; a large difference takes longer.
        limits: see :data:`SHARES`.
        available_s: time until the difference must be gone; all of it is taken where that leads not far aside.
        under_way: fade of the old path, and how long it has lasted at the seam (s); None when there is none.
    """

    def __init__(
        self,
        before: PathPoint,
        path: PathPoint,
        least_s: float,
        limits: MotionLimits,
        available_s: float = 0.0,
        under_way: tuple[SeamFade, float] | None = None,
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
        left = (None, None) if under_way is None or available_s > 0.0 else under_way[0]._left(under_way[1])
        parts = np.array((self.position, self._velocity, self._change))
        self._linear_s = _duration(parts, linear, least_s, available_s, ASIDE[0], left[0])
        parts = np.array((self.rotation, self._rotation_rate, self._rotation_change))
        angular_s = _duration(parts, angular, least_s, available_s, ASIDE[1], left[1])
        # 1/5.4 and 1/58 are the largest values of the quintic's parts for unit rate and change.
        fastest, strongest = max(norm(self._rotation_rate), 1e-9), max(norm(self._rotation_change), 1e-9)
        longest_s = min(5.4 * LARGEST_ASIDE_RAD / fastest, math.sqrt(58.0 * LARGEST_ASIDE_RAD / strongest))
        self._angular_s = min(angular_s, longest_s)
        self.duration_s = max(self._linear_s, self._angular_s)

    def _left(self, since_s: float) -> tuple[_Left, _Left]:
        """What is left of the fades of position and rotation ``since_s`` after the seam."""
        fades = (
            (self._linear_s, (self.position, self._velocity, self._change)),
            (self._angular_s, (self.rotation, self._rotation_rate, self._rotation_change)),
        )
        return tuple(  # type: ignore[return-value]
            (np.array([_mixed(w, *parts) for w in _quintic(since_s, whole_s)]), whole_s - since_s)
            if 0.0 <= since_s < whole_s - _SHORTEST_S
            else None
            for whole_s, parts in fades
        )

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
    parts: np.ndarray,
    limits: tuple[float, float, float],
    least_s: float,
    available_s: float,
    aside: float,
    left: _Left,
) -> float:
    """Shortest time in which a quintic takes difference, rate and change (3, 3) to zero with modest peaks."""
    if left is not None:
        old_parts, left_s = left
        if (_peaks(parts, left_s) <= _GOES_ON * _peaks(old_parts, left_s)).all():
            return left_s
    size, rate, change = np.sqrt(np.square(parts).sum(axis=1)).tolist()
    time_s = max(least_s, min(available_s, (size + aside) * 5.4 / max(rate, 1e-9)))
    found_s = time_s
    for shares in (SHARES, FIRM_SHARES):
        speed, acceleration, jerk = (share * limit for share, limit in zip(shares, limits, strict=True))
        # No time makes the first rate and change smaller than they are, and taking back the change takes time.
        speed = max(speed, 1.01 * (rate + 0.5 * change * change / jerk))
        found_s = _first_modest(parts, time_s, np.array((speed, max(acceleration, 1.01 * change), jerk)))
        powers = found_s ** np.arange(3.0)
        if np.sqrt(np.square(_VALUES @ (powers[:, None] * parts)).sum(axis=1).max()) - size <= aside:
            break
    return found_s


def _first_modest(parts: np.ndarray, time_s: float, allowed: np.ndarray) -> float:
    """The shortest time from ``time_s`` on whose peaks are allowed."""
    # Most seams are small: the first time is tried alone, then all longer ones at once.
    for times in (np.array((time_s,)), time_s * _LONGER_TIMES):
        excess = (_peaks(parts, times) / allowed).max(axis=1)
        if (excess <= 1.0).any():
            return float(times[np.argmax(excess <= 1.0)])
    # A long time would lead far aside at the first rate and change, so the most modest of all it is.
    return float(times[np.argmin(excess)])


def _peaks(parts: np.ndarray, times: np.ndarray | float) -> np.ndarray:
    """(n, 3) largest rate, change and jerk of quintics that take ``parts`` (3, 3) to zero in ``times`` (n,)."""
    powers = np.atleast_1d(times)[:, None] ** np.arange(3.0)
    peaks = np.sqrt(np.square(_RATES[:, None] @ (powers[:, :, None] * parts)).sum(axis=3).max(axis=2))
    return peaks.T / (powers * np.atleast_1d(times)[:, None])


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
