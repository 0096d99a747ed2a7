"""Stop trajectories: the quickest smooth way to rest that is known to keep every limit.

From velocity v0 and acceleration a0 the velocity follows, over T and with s = t/T, the one cubic that ends at rest,

    v(s) = v0 (1 - 3 s^2 + 2 s^3) + a0 T (s - 2 s^2 + s^3),

sampled at the N = T/dt control ticks. Accelerations of the samples are means of v'(s) over a period, and their
differences weighted means of v''(s), so bounds on the cubic's derivatives are bounds on what the robot is sent. v'' is
linear in s: its norm is largest at one end. v' is a quadratic Bezier curve: after one subdivision its control points
bound it (a0, 1.5 v0/T, 1.5 v0/T + a0/2). T is the shortest for which these stay within the limits.

In a corner one T for all directions is too long for the direction whose wall is near. There a stop may be split: each
axis of the base frame stops in its own time, within 1/sqrt(3) of the limits, so that the norms hold again.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp_core.rotations import ZERO, Vector, dot

Array = NDArray[np.float64]

# A stop is never longer than this many periods; limits that need more are met by no arm.
LONGEST = 1_000_000
FIRST_GUESS = 8


class Basis(NamedTuple):
    """The cubic's two parts at ticks 0 ... N, for unit v0 and unit a0 T; sums are in periods."""

    from_velocity: list[float]
    from_acceleration: list[float]
    sum_velocity: Array
    sum_acceleration: Array
    square_velocity: Array
    square_mixed: Array
    square_acceleration: Array


@lru_cache(maxsize=2048)
def basis(ticks: int) -> Basis:
    """Basis of a stop that lasts ``ticks`` periods."""
    s = np.arange(ticks + 1) / max(ticks, 1)
    b0 = (1.0 - s) ** 2 * (1.0 + 2.0 * s)
    b1 = s * (1.0 - s) ** 2
    sum0 = np.cumsum(b0) - b0[0]
    return Basis(b0.tolist(), b1.tolist(), sum0, np.cumsum(b1), b0 * b0, 2.0 * b0 * b1, b1 * b1)


class Stop(NamedTuple):
    """A stop being played: ``tick`` of ``ticks`` reached, from ``velocity`` and ``change`` = a0 T."""

    ticks: int
    tick: int
    velocity: Vector
    change: Vector

    def next(self) -> tuple[Vector, Stop]:
        """Velocity of the next tick and the stop from there on."""
        k = self.tick + 1
        if k >= self.ticks:
            return ZERO, AT_REST
        table = basis(self.ticks)
        b0, b1 = table.from_velocity[k], table.from_acceleration[k]
        v, c = self.velocity, self.change
        return (b0 * v[0] + b1 * c[0], b0 * v[1] + b1 * c[1], b0 * v[2] + b1 * c[2]), self._replace(tick=k)


AT_REST = Stop(0, 0, ZERO, ZERO)


class SplitStop(NamedTuple):
    """Three stops being played at once, one along each axis of the base frame."""

    parts: tuple[Stop, Stop, Stop]

    def next(self) -> tuple[Vector, AnyStop]:
        """Velocity of the next tick and the stop from there on."""
        (x, a), (y, b), (z, c) = (part.next() for part in self.parts)
        rest = a is AT_REST and b is AT_REST and c is AT_REST
        return (x[0], y[1], z[2]), AT_REST if rest else SplitStop((a, b, c))


AnyStop = Stop | SplitStop


class SplitPlanner:
    """Finds the shortest split stop; arguments as of :class:`StopPlanner`."""

    def __init__(self, velocity: float, acceleration: float, jerk: float, period_s: float) -> None:
        share = 3.0**-0.5
        self._velocity2 = velocity * velocity
        self._acceleration = share * acceleration
        self._axes = [StopPlanner(velocity, share * acceleration, share * jerk, period_s) for _ in range(3)]

    def plan(self, velocity: Vector, acceleration: Vector) -> SplitStop | None:
        """Split stop from a state; None when there is none within the limits."""
        parts: list[Stop] = []
        for axis, planner in enumerate(self._axes):
            if abs(acceleration[axis]) > self._acceleration:
                return None
            v, a = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
            v[axis], a[axis] = velocity[axis], acceleration[axis]
            planner.guess = FIRST_GUESS
            part = planner.plan((v[0], v[1], v[2]), (a[0], a[1], a[2]))
            if part is None:
                return None
            parts.append(part)
        stop = SplitStop((parts[0], parts[1], parts[2]))
        return stop if self._within_speed(stop) else None

    def _within_speed(self, stop: SplitStop) -> bool:
        speed2 = np.zeros(max(part.ticks for part in stop.parts) + 1)
        for axis, part in enumerate(stop.parts):
            table, v, c = basis(part.ticks), part.velocity[axis], part.change[axis]
            speed2[: part.ticks + 1] += (
                v * v * table.square_velocity + v * c * table.square_mixed + c * c * table.square_acceleration
            )
        return bool(speed2.max() <= self._velocity2)


class StopPlanner:
    """Finds the shortest stop within limits on velocity, acceleration and jerk (norms; any unit of length).

    Args:
        velocity: per s.
        acceleration: per s^2.
        jerk: per s^3.
        period_s: control period.
    """

    def __init__(self, velocity: float, acceleration: float, jerk: float, period_s: float) -> None:
        self._velocity2 = velocity * velocity
        self._acceleration2 = acceleration * acceleration
        self._jerk2 = jerk * jerk
        self._period_s = period_s
        # Fewest ticks found last; where the next search begins. Part of the planner's state: see MotionShield.
        self.guess = FIRST_GUESS

    def plan(self, velocity: Vector, acceleration: Vector) -> Stop | None:
        """Shortest stop from a state; None when the speed would pass its limit on the way."""
        vv, va, aa = dot(velocity, velocity), dot(velocity, acceleration), dot(acceleration, acceleration)
        if vv == 0.0 and aa == 0.0:
            return AT_REST
        ticks = self._shortest(vv, va, aa)
        time_s = ticks * self._period_s
        if not self._within_speed(ticks, vv, va * time_s, aa * time_s * time_s):
            return None
        return Stop(
            ticks,
            0,
            velocity,
            (time_s * acceleration[0], time_s * acceleration[1], time_s * acceleration[2]),
        )

    def _fits(self, ticks: int, vv: float, va: float, aa: float) -> bool:
        t = ticks * self._period_s
        t2 = t * t
        bound = self._jerk2 * t2 * t2
        return (
            36.0 * vv + 48.0 * va * t + 16.0 * aa * t2 <= bound
            and 36.0 * vv + 24.0 * va * t + 4.0 * aa * t2 <= bound
            and 2.25 * vv <= self._acceleration2 * t2
            and 2.25 * vv + 1.5 * va * t + 0.25 * aa * t2 <= self._acceleration2 * t2
        )

    def _shortest(self, vv: float, va: float, aa: float) -> int:
        """Fewest ticks that fit; the last answer is the first guess, since states change little in a period."""
        high = self.guess
        if self._fits(high, vv, va, aa):
            low = high
            while low > 1 and self._fits(low - 1, vv, va, aa):
                low -= 1
                if high - low >= 4:
                    return self._remember(self._bisect(0, low, vv, va, aa))
            return self._remember(low)
        low, step = high, 1
        while not self._fits(high, vv, va, aa):
            low, high, step = high, high + step, 2 * step
            if high > LONGEST:
                raise OverflowError("no stop within the limits; the limits of acceleration or jerk are far too small")
        return self._remember(self._bisect(low, high, vv, va, aa))

    def _remember(self, ticks: int) -> int:
        self.guess = ticks
        return ticks

    def _bisect(self, low: int, high: int, vv: float, va: float, aa: float) -> int:
        """``high`` fits, ``low`` does not (or is 0)."""
        while high - low > 1:
            middle = (low + high) // 2
            if self._fits(middle, vv, va, aa):
                high = middle
            else:
                low = middle
        return high

    def _within_speed(self, ticks: int, vv: float, vc: float, cc: float) -> bool:
        """True when no tick exceeds the speed; ``c`` = a0 T. The Bezier control points decide most cases."""
        limit = self._velocity2
        if vv > limit:
            return False
        if vv + vc / 3.0 + cc / 36.0 <= limit and 0.5625 * vv + 0.25 * vc + cc / 36.0 <= limit:
            return True
        table = basis(ticks)
        speed2 = vv * table.square_velocity + vc * table.square_mixed + cc * table.square_acceleration
        return bool(speed2.max() <= limit)


def reach(stop: AnyStop, period_s: float) -> float:
    """Upper bound on how far a stop goes from where it begins."""
    if isinstance(stop, SplitStop):
        x, y, z = (reach(part, period_s) for part in stop.parts)
        return math.sqrt(x * x + y * y + z * z)
    v, c = stop.velocity, stop.change
    time_s = stop.ticks * period_s
    return 0.5 * time_s * math.sqrt(dot(v, v)) + time_s * math.sqrt(dot(c, c)) / 12.0


def displacements(stop: AnyStop, period_s: float) -> Array:
    """(N + 1, 3) displacement at ticks 0 ... N of a stop that has not begun; row 0 is zero."""
    if isinstance(stop, SplitStop):
        moved = np.zeros((max(part.ticks for part in stop.parts) + 1, 3))
        for axis, part in enumerate(stop.parts):
            alone = displacements(part, period_s)[:, axis]
            moved[: len(alone), axis] = alone
            moved[len(alone) :, axis] = alone[-1]
        return moved
    table = basis(stop.ticks)
    return period_s * (
        table.sum_velocity[:, None] * np.asarray(stop.velocity)
        + table.sum_acceleration[:, None] * np.asarray(stop.change)
    )
