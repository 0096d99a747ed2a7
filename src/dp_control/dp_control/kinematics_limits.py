"""Bounds on joint velocities that a joint can always keep: position, velocity and acceleration together.

Towards a position limit a joint moves no faster than :func:`approach_speed`, along which it brakes with less than the
acceleration limit: the next period's bounds are never empty. With the defaults that speed stays below the
position-dependent velocity limits which the FR3 enforces (libfranka, ``rate_limiting.h``: per joint the same curve
with c of 0.2 to 0.35 rad/s and a of 2.6 to 17 rad/s^2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.configuration import require_range
from numpy.typing import NDArray

from dp_control.robot_model import RobotModel

Array = NDArray[np.float64]

# Braking in front of a position limit, and rest before it (the FR3 allows no speed for the last 7 mrad of joint 6).
_BRAKING_RAD_S2 = 2.5
_MARGIN_RAD = 0.01
_CREEP_RAD_S = 0.35
# A joint that begins outside its limits is brought back with this time constant.
_RETURN_S = 0.5
_CLOSE_RAD_S = 1e-6


def approach_speed(distance: Array, braking: float, creep: float, period_s: float) -> Array:
    """Highest speed towards a limit, to be kept for one period: ``sqrt(c^2 + 2 a d) - c`` at the period's end.

    Followed to the limit, it brakes with less than a, and for the last bit exponentially with time constant c/a.

    Args:
        distance: (k,) to the limit, any unit; 0 is taken for what is beyond.
        braking: a, unit/s^2.
        creep: c, unit/s.
        period_s: s.
    """
    # Solved for the speed, where d is what one period at that speed leaves.
    creep = creep + braking * period_s
    speed: Array = np.sqrt(creep * creep + 2.0 * braking * np.maximum(distance, 0.0)) - creep
    return speed


@dataclass(frozen=True)
class VelocityBounds:
    """Bounds (n,) rad/s of one period.

    Attributes:
        lower: of all limits together.
        upper: the same.
        limits: name, lower and upper bounds of each limit alone.
    """

    lower: Array
    upper: Array
    limits: tuple[tuple[str, Array, Array], ...]

    def active(self, velocity: Array) -> tuple[str, ...]:
        """Names of the limits that ``velocity`` (n,) rad/s lies on."""
        high, low = velocity + _CLOSE_RAD_S, velocity - _CLOSE_RAD_S
        if not ((high >= self.upper) | (low <= self.lower)).any():
            return ()
        return tuple(name for name, lower, upper in self.limits if ((high >= upper) | (low <= lower)).any())


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
        self._positions = np.concatenate([model.upper, -model.lower])
        self._velocity = model.velocity_limit

    def bounds(self, joints: Array, velocity: Array, period_s: float) -> VelocityBounds:
        """Bounds of the next period's velocity at ``joints`` (n,) rad, after ``velocity`` (n,) rad/s."""
        change = self.acceleration * period_s
        slowest, fastest = velocity - change, velocity + change
        distance = self._positions - np.concatenate([joints, -joints])
        towards = approach_speed(distance - _MARGIN_RAD, _BRAKING_RAD_S2, _CREEP_RAD_S, period_s)
        towards += np.minimum(distance, 0.0) / _RETURN_S
        up, down = towards[: len(joints)], -towards[len(joints) :]
        # Acceleration wins where a start outside the limits would leave nothing.
        upper = np.maximum(np.minimum(np.minimum(fastest, self._velocity), up), slowest)
        lower = np.minimum(np.maximum(np.maximum(slowest, -self._velocity), down), np.minimum(fastest, upper))
        limits = (
            ("joint_acceleration", slowest, fastest),
            ("joint_velocity", -self._velocity, self._velocity),
            ("joint_position", down, up),
        )
        return VelocityBounds(lower, upper, limits)
