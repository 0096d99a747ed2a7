"""A shield round any law of motion: what it lets through can always be stopped within the limits.

For one 3-vector of velocity (linear, or angular) it keeps, besides velocity and acceleration, a stop trajectory
(:mod:`dp_core.stopping`) that is known to keep every limit from here on. A proposed acceleration is taken only when a
stop of that kind exists from where it leads; else a mixture of the proposal and the stored stop is tried, and in the
end the stored stop itself is played.

Guarantee, by induction over the ticks: at rest the stop is to stay. If the stored stop keeps every limit, then either
a proposal with a verified stop of its own is taken, or the next tick of the stored stop is, whose rest is verified. So
velocity, acceleration, jerk and region hold at every tick, whatever is proposed.
"""

from __future__ import annotations

from collections.abc import Callable

from dp_core.rotations import ZERO, Vector, add_scaled, dot
from dp_core.stopping import AT_REST, FIRST_GUESS, AnyStop, SplitPlanner, StopPlanner, basis

# (next velocity, its stop) -> name of the region's constraint that the two would violate, or None.
RegionCheck = Callable[[Vector, AnyStop], str | None]
ShieldState = tuple[Vector, Vector, AnyStop, int]

# Shares of the proposal that are tried before the stored stop is played.
SHARES = (1.0, 0.5, 0.25, 0.125)
# Limits are kept with this margin, so that rounding of the poses never shows as a violation.
ROUNDING = 1e-6
# Stops of up to this many periods are tabulated at the start, so that nothing is in the loop.
TABULATED = 400


class MotionShield:
    """Velocity, acceleration and verified stop of one 3-vector.

    Args:
        velocity: limit of the norm, per s; the others likewise.
        acceleration: per s^2.
        jerk: per s^3.
        period_s: control period.
        corners: try stops split by axes where a constraint of the region stands against one in a straight line.
    """

    def __init__(
        self, velocity: float, acceleration: float, jerk: float, period_s: float, corners: bool = False
    ) -> None:
        kept = 1.0 - ROUNDING
        limits = (kept * velocity, kept * acceleration, kept * jerk, period_s)
        self._planner = StopPlanner(*limits)
        self._corners = SplitPlanner(*limits) if corners else None
        for ticks in range(TABULATED + 1):
            basis(ticks)
        self._period_s = period_s
        self.velocity: Vector = ZERO
        self.acceleration: Vector = ZERO
        self._stop: AnyStop = AT_REST

    @property
    def state(self) -> ShieldState:
        """Velocity, acceleration, stop and where the next search begins; to be given back to :meth:`restore`."""
        return self.velocity, self.acceleration, self._stop, self._planner.guess

    def restore(self, state: ShieldState) -> None:
        """Go back to a former state."""
        self.velocity, self.acceleration, self._stop, self._planner.guess = state

    def rest(self) -> None:
        """Begin at rest."""
        self.velocity, self.acceleration, self._stop, self._planner.guess = ZERO, ZERO, AT_REST, FIRST_GUESS

    def brake(self) -> None:
        """Play one tick of the verified stop."""
        velocity, self._stop = self._stop.next()
        self.acceleration = self._change(velocity)
        self.velocity = velocity

    def propose(self, acceleration: Vector, check: RegionCheck) -> str | None:
        """Move on by one tick with this acceleration, or as much of it as the limits allow.

        Args:
            acceleration: within the limits of acceleration and jerk.
            check: of the region.

        Returns:
            None when the proposal was taken as it is; else what stood against it: ``velocity``, or a constraint.
        """
        reason: str | None = None
        stopping: Vector | None = None
        for share in SHARES:
            trial = acceleration
            if share < 1.0:
                if stopping is None:
                    stopping = self._change(self._stop.next()[0])
                trial = add_scaled(stopping, (
                    acceleration[0] - stopping[0], acceleration[1] - stopping[1], acceleration[2] - stopping[2]
                ), share)  # fmt: skip
            velocity = add_scaled(self.velocity, trial, self._period_s)
            stop, problem = self._safe_stop(velocity, trial, check)
            if stop is not None:
                self.velocity, self.acceleration, self._stop = velocity, trial, stop
                return reason
            reason = reason or problem
        self.brake()
        return reason

    def _safe_stop(
        self, velocity: Vector, acceleration: Vector, check: RegionCheck
    ) -> tuple[AnyStop | None, str | None]:
        """A stop from a state that keeps every limit; or None, and what stands against it."""
        stop = self._planner.plan(velocity, acceleration)
        if stop is None:
            return None, "velocity"
        problem = check(velocity, stop)
        if problem is None:
            return stop, None
        split = None if self._corners is None else self._corners.plan(velocity, acceleration)
        if split is not None and check(velocity, split) is None:
            return split, None
        return None, problem

    def _change(self, velocity: Vector) -> Vector:
        rate, v = 1.0 / self._period_s, self.velocity
        return ((velocity[0] - v[0]) * rate, (velocity[1] - v[1]) * rate, (velocity[2] - v[2]) * rate)


def at_rest(velocity: Vector, acceleration: Vector) -> bool:
    """True when a motion is slow enough to end in one tick without a jerk that anybody could measure."""
    return dot(velocity, velocity) < 1e-16 and dot(acceleration, acceleration) < 1e-12
