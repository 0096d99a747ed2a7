"""Bounds on joint velocities that a joint can always keep: position, velocity and acceleration together.

The speed towards a position limit at distance d is at most ``sqrt(c^2 + 2 a d) - c``. Along this curve the joint
brakes with less than a, so that with a below the acceleration limit the next period's bounds are never empty. With the
defaults the curve lies below the position-dependent velocity limits that the FR3 enforces (libfranka
``rate_limiting.h``: for each joint -c + sqrt(2 a d) with c of 0.2 to 0.35 rad/s and a of 2.6 to 17 rad/s^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.configuration import require_range
from numpy.typing import NDArray

from dp_control.robot_model import RobotModel

Array = NDArray[np.float64]

# Braking in front of a position limit.
_BRAKING_RAD_S2 = 2.5
_CREEP_RAD_S = 0.35
# A joint that begins outside its limits is brought back with this time constant.
_RETURN_S = 0.5
_CLOSE = 1e-6


@dataclass(frozen=True)
class VelocityBounds:
    """Bounds (n,) rad/s of one period, and for each side what sets it: 0 acceleration, 1 velocity, 2 position."""

    lower: Array
    upper: Array
    lower_by: NDArray[np.intp]
    upper_by: NDArray[np.intp]

    #: Names of the values of ``lower_by`` and ``upper_by``.
    NAMES = ("joint_acceleration", "joint_velocity", "joint_position")

    def active(self, velocity: Array) -> tuple[str, ...]:
        """Names of the limits that ``velocity`` (n,) rad/s lies on."""
        hit = {*self.upper_by[velocity >= self.upper - _CLOSE], *self.lower_by[velocity <= self.lower + _CLOSE]}
        return tuple(name for index, name in enumerate(self.NAMES) if index in hit)


class JointLimits:
    """Position, velocity and acceleration limits of the arm's joints.

    Attributes:
        acceleration: (n,) rad/s^2.
    """

    def __init__(self, model: RobotModel, acceleration_rad_s2: float = 10.0) -> None:
        """Take positions and velocities of ``model``.

        Args:
            model: the arm.
            acceleration_rad_s2: of every joint; the FR3's data sheet has 10 for all.

        Raises:
            ConfigurationError: the acceleration is too low to brake in front of the limits, or absurd.
        """
        require_range("acceleration_rad_s2", acceleration_rad_s2, _BRAKING_RAD_S2, 1000, "rad/s^2")
        self.acceleration = np.full(len(model.joint_names), float(acceleration_rad_s2))
        self._lower, self._upper, self._velocity = model.lower, model.upper, model.velocity_limit

    def bounds(self, joints: Array, velocity: Array, period_s: float) -> VelocityBounds:
        """Bounds of the next period's velocity at ``joints`` (n,) rad, after ``velocity`` (n,) rad/s."""
        change = self.acceleration * period_s
        slowest, fastest = velocity - change, velocity + change
        up = self._towards(self._upper - joints, period_s)
        down = -self._towards(joints - self._lower, period_s)
        uppers = np.stack([fastest, self._velocity, up])
        lowers = np.stack([slowest, -self._velocity, down])
        # Acceleration wins where a start outside the limits would leave nothing.
        upper = np.maximum(uppers.min(axis=0), slowest)
        lower = np.minimum(lowers.max(axis=0), fastest)
        return VelocityBounds(np.minimum(lower, upper), upper, lowers.argmax(axis=0), uppers.argmin(axis=0))

    @staticmethod
    def _towards(distance: Array, period_s: float) -> Array:
        """Highest speed (n,) towards a limit at ``distance`` (n,) rad, kept for a period; negative beyond it."""
        # The curve holds at the end of the period, after coming closer by speed times period.
        creep = _CREEP_RAD_S + _BRAKING_RAD_S2 * period_s
        inside = np.sqrt(creep * creep + 2.0 * _BRAKING_RAD_S2 * np.maximum(distance, 0.0)) - creep
        return inside + np.minimum(distance, 0.0) / _RETURN_S
