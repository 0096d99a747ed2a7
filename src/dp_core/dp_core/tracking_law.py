"""The law that proposes the next acceleration: exact for what can be followed, calm for what cannot.

A velocity is wanted (by a person, or to close an error on a moving target). The law is a cascade in discrete time,
written for the error e, velocity v and acceleration a of the last tick, with one pole ``mu`` for each stage:

    wanted velocity      w_k = v_ref - f(|e|) e/|e|
    wanted acceleration  b_k = (w_k - w_{k-1}) / dt - g(v - w_{k-1})
    acceleration         a_{k+1} = b_k + mu (a - b_{k-1})

Near the target f and g are linear with slope (1 - mu)/dt: e, v - w and a - b each shrink by mu a tick, a triple pole
that cannot overshoot for long and has an exact fixed point: a feasible target is followed without lag. Far from it
f is the speed from which limited jerk and acceleration can still stop, and g the acceleration that limited jerk can
still take back; both meet the linear part with the same slope.
"""

from __future__ import annotations

import math

from dp_core.rotations import ZERO, Vector, add_scaled, norm

# Shares of the limits that the law plans with. The rest is what transients, and the proof of a stop, may use.
SPEED_SHARE = 0.999
ACCELERATION_SHARE = 0.97
JERK_SHARE = 0.97
CLOSING_ACCELERATION_SHARE = 0.6
CLOSING_JERK_SHARE = 0.4
WALL_ACCELERATION_SHARE = 0.5
WALL_JERK_SHARE = 0.15
SETTLING_JERK_SHARE = 0.6


class StoppingSpeed:
    """Speed from which one can stop within a distance, as a function of it; smooth, and linear near zero.

    Three pieces with equal slopes where they meet: ``gain d``; then (J d^2)^(1/3), along which braking needs 2/9 of
    the jerk J; then the one of constant acceleration A with its onset A/J.
    """

    def __init__(self, gain: float, acceleration: float, jerk: float, speed: float) -> None:
        self._gain, self._a, self._j, self._speed = gain, acceleration, jerk, speed
        self._linear = 4.0 / 9.0 * jerk / gain**3
        self._shift = -4.0 / 27.0 * jerk / gain**3
        self._cubic = acceleration**3 / jerk**2 - self._shift
        self._onset = 0.5 * acceleration / jerk
        # With a weak limit of acceleration the constant part begins before the linear one ends.
        self._plain = self._cubic <= self._linear
        self._knee = 0.5 * acceleration / gain**2

    def __call__(self, distance: float) -> float:
        """Speed for a distance; zero for a negative one."""
        if distance <= 0.0:
            return 0.0
        if self._plain:
            if distance <= 2.0 * self._knee:
                speed = self._gain * distance
            else:
                speed = math.sqrt(2.0 * self._a * (distance - self._knee))
        elif distance <= self._linear:
            speed = self._gain * distance
        elif distance <= self._cubic:
            shifted = distance + self._shift
            speed = (self._j * shifted * shifted) ** (1.0 / 3.0)
        else:
            onset = self._onset
            speed = self._a * (math.sqrt(onset * onset + 2.0 * (distance + self._shift) / self._a) - onset)
        return speed if speed < self._speed else self._speed


class TrackingLaw:
    """One 3-vector of motion (linear, or angular): see the module. Remembers only ``planned``, b of the last tick.

    Args:
        velocity: limit of the norm, per s; the others likewise.
        acceleration: per s^2.
        jerk: per s^3.
        period_s: control period.
    """

    def __init__(self, velocity: float, acceleration: float, jerk: float, period_s: float) -> None:
        rate = min(60.0, 0.3 / period_s)
        self._mu = math.exp(-rate * period_s)
        self._gain = (1.0 - self._mu) / period_s
        self._limit = velocity
        self._speed = SPEED_SHARE * velocity
        self._acceleration = ACCELERATION_SHARE * acceleration
        self._jerk_step = JERK_SHARE * jerk * period_s
        self._settling_jerk = SETTLING_JERK_SHARE * jerk
        self.period_s = period_s
        self.closing_speed = StoppingSpeed(
            self._gain, CLOSING_ACCELERATION_SHARE * acceleration, CLOSING_JERK_SHARE * jerk, 1.01 * velocity
        )
        self.wall_speed = StoppingSpeed(
            self._gain, WALL_ACCELERATION_SHARE * acceleration, WALL_JERK_SHARE * jerk, 10.0 * velocity
        )
        self.planned: Vector = ZERO

    def limited_speed(self, velocity: Vector) -> tuple[Vector, bool]:
        """``velocity`` with a norm that the limit allows, and whether it was above it."""
        speed = norm(velocity)
        if speed <= self._speed:
            return velocity, False
        k = self._speed / speed
        return (k * velocity[0], k * velocity[1], k * velocity[2]), speed > self._limit

    def closing_velocity(self, reference: Vector, error: Vector) -> Vector:
        """Velocity that takes ``error`` (from the reference to the arm) to zero while the reference moves."""
        distance = norm(error)
        if distance == 0.0:
            return reference
        k = self.closing_speed(distance) / distance
        return (reference[0] - k * error[0], reference[1] - k * error[1], reference[2] - k * error[2])

    def closing_velocities(
        self, velocity: Vector, reference: Vector, last_reference: Vector, error: Vector
    ) -> tuple[Vector, Vector]:
        """Wanted velocities w_k and w_{k-1} that take ``error`` to zero.

        The error of the last period is taken to be this one less what has moved since. Taking it from there, instead
        of remembering it, keeps noise of the reference and its jumps from being differentiated.
        """
        moved = add_scaled(velocity, last_reference, -1.0)
        before = add_scaled(error, moved, -self.period_s)
        return self.closing_velocity(reference, error), self.closing_velocity(last_reference, before)

    def acceleration(
        self, wanted: Vector, last_wanted: Vector, velocity: Vector, acceleration: Vector
    ) -> tuple[Vector, bool, bool]:
        """Acceleration of the next tick towards the wanted velocity.

        Args:
            wanted: w_k of the module's text.
            last_wanted: w_{k-1}.
            velocity: of the last tick.
            acceleration: of the last tick.

        Returns:
            The acceleration, and whether its limit and that of jerk acted.
        """
        last_planned = self.planned
        rate, mu = 1.0 / self.period_s, self._mu
        ex, ey, ez = velocity[0] - last_wanted[0], velocity[1] - last_wanted[1], velocity[2] - last_wanted[2]
        g = self._settling_gain(math.sqrt(ex * ex + ey * ey + ez * ez))
        bx = (wanted[0] - last_wanted[0]) * rate - g * ex
        by = (wanted[1] - last_wanted[1]) * rate - g * ey
        bz = (wanted[2] - last_wanted[2]) * rate - g * ez
        size = math.sqrt(bx * bx + by * by + bz * bz)
        limited = size > self._acceleration
        if limited:
            k = self._acceleration / size
            bx, by, bz = k * bx, k * by, k * bz
        self.planned = (bx, by, bz)
        jx = bx + mu * (acceleration[0] - last_planned[0]) - acceleration[0]
        jy = by + mu * (acceleration[1] - last_planned[1]) - acceleration[1]
        jz = bz + mu * (acceleration[2] - last_planned[2]) - acceleration[2]
        step = math.sqrt(jx * jx + jy * jy + jz * jz)
        jerky = step > self._jerk_step
        k = self._jerk_step / step if jerky else 1.0
        proposal = (acceleration[0] + k * jx, acceleration[1] + k * jy, acceleration[2] + k * jz)
        return self._bounded(proposal, max(self._acceleration, norm(acceleration)), limited, jerky)

    @staticmethod
    def _bounded(a: Vector, largest: float, limited: bool, jerky: bool) -> tuple[Vector, bool, bool]:
        size = norm(a)
        # Projection on a ball that holds the present acceleration as well never lengthens the step between the two.
        if size > largest:
            k = largest / size
            return (k * a[0], k * a[1], k * a[2]), True, jerky
        return a, limited, jerky

    def _settling_gain(self, error: float) -> float:
        """g(error)/error: linear near zero, then the acceleration that limited jerk can still take back."""
        knee = self._settling_jerk / self._gain**2
        if error <= knee:
            return self._gain
        return min(math.sqrt(2.0 * self._settling_jerk * (error - 0.5 * knee)), self._acceleration) / error
