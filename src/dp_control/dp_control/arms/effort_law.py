"""The Cartesian impedance law (:mod:`dp_core.impedance`) on the model of a cell's robot. Pure: no ROS, no clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract
from dp_core.impedance import CartesianImpedance, end_effector_inertia
from numpy.typing import NDArray

from dp_control.robot_model import RobotModel

Array = NDArray[np.float64]

# Slower, the delay of a period eats the damping of the wrist's small inertia.
LOWEST_RATE_HZ = 200.0
DESIGN_PERIOD_S = 0.01
# Of the delay margin at the start, this share may be used: the margin shrinks where the arm's inertia does.
USABLE_MARGIN = 0.85
# The largest torque must come to zero within this time: launchers kill a process that takes long to end.
LONGEST_RAMP_S = 2.0


@dataclass(frozen=True)
class JointMeasurement:
    """Joint positions (n,) rad and velocities (n,) rad/s at ``t_ns``."""

    t_ns: int
    position: Array
    velocity: Array


def delay_margin_s(stiffness: Array, inertia: Array, ratio: float) -> float:
    """Delay in its loop at which the fastest mode of the law begins to grow, s.

    A mass with spring ``w^2`` and damper ``2 ratio w``, both delayed, has its gain crossover at ``x w`` with
    ``x^2 = 2 ratio^2 + sqrt(4 ratio^4 + 1)`` and there a phase margin of ``atan(2 ratio x)``.

    Args:
        stiffness: (6,) N/m | Nm/rad.
        inertia: (6, 6) kg | kg m2 at the end effector.
        ratio: of the damping.
    """
    fastest = math.sqrt(np.linalg.eigvals(np.linalg.solve(inertia, np.diag(stiffness))).real.max())
    crossover = math.sqrt(2.0 * ratio**2 + math.sqrt(4.0 * ratio**4 + 1.0))
    return math.atan(2.0 * ratio * crossover) / (crossover * fastest)


class DelayWatch:
    """Tells a torque loop that is too slow to be stable from one that hiccups.

    Three cycles over the limit within about 150 make it too slow, until they are forgiven.
    """

    _TOLERATED = 3.0
    _FORGIVEN_PER_CYCLE = 0.02

    def __init__(self) -> None:
        self._late = 0.0
        self.too_slow = False

    def update(self, delay_s: float, limit_s: float) -> bool:
        """Count one cycle; ``delay_s`` from the measurement to the end of its torque. Returns ``too_slow``."""
        if delay_s > limit_s:
            self._late = min(self._late + 1.0, self._TOLERATED)
        else:
            self._late = max(self._late - self._FORGIVEN_PER_CYCLE, 0.0)
        self.too_slow = self._late >= self._TOLERATED or (self.too_slow and self._late > 0.0)
        return self.too_slow


class EffortLaw:
    """Joint torques from a target pose and measured joints, one call each period. One thread.

    Attributes:
        delay_limit_s: longest time from a measurement to the end of its torque; infinite before the start.

    Args:
        contract: gains, period, posture, who carries the arm.
        model: of that robot.

    Raises:
        ConfigurationError: the rate is too low, or a list does not fit the joints.
    """

    def __init__(self, contract: Contract, model: RobotModel) -> None:
        self._gains, self._robot, self._model = contract.impedance, contract.robot, model
        self._carries = contract.robot.gravity == "controller"
        _check(contract, model)
        joints = len(model.joint_names)
        self._period_s = 1.0 / contract.control.rate_hz
        self._design_every = max(1, round(DESIGN_PERIOD_S / self._period_s))
        self._motors = np.diag(self._robot.motor_inertia_kg_m2 or np.zeros(joints))
        self._law: CartesianImpedance | None = None
        self._position: Array | None = None
        self._torque = np.zeros(joints)
        self._calls = 0
        self._anew = True
        self.delay_limit_s = math.inf

    def start(self, position: Array) -> CartesianImpedance:
        """Begin at measured joints (n,) rad, which become the null-space posture unless the contract names one.

        The rate limit goes on from the last torque.
        """
        posture = np.array(self._robot.posture_rad or position, dtype=float)
        inertia = end_effector_inertia(self._model.jacobian(posture), self._mass(posture))
        margin_s = delay_margin_s(self._gains.stiffness, inertia, self._gains.damping_ratio)
        self.delay_limit_s = USABLE_MARGIN * margin_s
        self._law = CartesianImpedance(self._gains, np.diag(inertia), posture, self._period_s)
        self._law.reset(self._torque)
        self._calls, self._anew = 0, False
        return self._law

    def restart(self) -> None:
        """The next :meth:`follow` starts anew, as :meth:`start` does."""
        self._anew = True

    def follow(self, joints: JointMeasurement, pose: Array, twist: Array) -> Array:
        """Torques (n,) Nm of one period towards ``pose`` (pose7) that moves with ``twist`` (6,), base frame."""
        model, position, velocity = self._model, joints.position, joints.velocity
        law = self.start(position) if self._law is None or self._anew else self._law
        jacobian = model.jacobian(position)
        if self._gains.damping != "diagonal" and self._calls % self._design_every == 0:
            law.design_damping(jacobian, self._mass(position))
        self._calls += 1
        measured = model.forward(position)
        bias = model.bias(position, velocity) if self._carries else model.coriolis(position, velocity)
        torque = law.torque(
            jacobian, (measured[:3], measured[3:]), (position, velocity), (pose[:3], pose[3:]), bias, twist
        )
        self._position, self._torque = position, torque.copy()
        return self._torque

    def relax(self) -> Array:
        """Torques (n,) Nm of one period on the way to :attr:`rest_torque`, at the rate limit."""
        if self._law is not None:
            self._torque = self._law.relax(self.rest_torque).copy()
        return self._torque

    @property
    def longest_ramp_s(self) -> float:
        """Time that :meth:`relax` needs at most: from one end of the torque limits to the other, s."""
        return 2.0 * max(self._gains.torque_limit_Nm) / self._gains.torque_rate_limit_Nm_s

    @property
    def rest_torque(self) -> Array:
        """What carries the arm at the last known joints, (n,) Nm; zeros where the robot carries itself."""
        if self._carries and self._position is not None:
            return self._model.gravity(self._position)
        return np.zeros(len(self._torque))

    def _mass(self, position: Array) -> Array:
        return self._model.mass(position) + self._motors


def _check(contract: Contract, model: RobotModel) -> None:
    joints = len(model.joint_names)
    if contract.control.rate_hz < LOWEST_RATE_HZ:
        raise ConfigurationError(
            f"control.rate_hz: {contract.control.rate_hz:g} Hz is too slow for torques; "
            f"valid: {LOWEST_RATE_HZ:g} to 1000"
        )
    for name, values, optional in (
        ("impedance.torque_limit_Nm", contract.impedance.torque_limit_Nm, False),
        ("robot.posture_rad", contract.robot.posture_rad, True),
        ("robot.motor_inertia_kg_m2", contract.robot.motor_inertia_kg_m2, True),
    ):
        if len(values) != joints and not (optional and not values):
            raise ConfigurationError(
                f"{name}: {len(values)} values for {joints} joints ({', '.join(model.joint_names)})"
            )
    slowest, rate = max(contract.impedance.torque_limit_Nm) / LONGEST_RAMP_S, contract.impedance.torque_rate_limit_Nm_s
    if rate < slowest:
        raise ConfigurationError(
            f"impedance.torque_rate_limit_Nm_s: {rate:g} Nm/s is too slow to end the largest torque within "
            f"{LONGEST_RAMP_S:g} s; valid: {slowest:g} Nm/s or more"
        )
    above = np.array(contract.impedance.torque_limit_Nm) > model.effort_limit + 1e-9
    if above.any():
        raise ConfigurationError(
            f"impedance.torque_limit_Nm: {contract.impedance.torque_limit_Nm} is above the robot's own limits "
            f"{tuple(model.effort_limit.tolist())}"
        )
