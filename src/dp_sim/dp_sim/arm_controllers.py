"""What runs inside the simulated arm at 1 kHz: the controllers that a real arm offers its commands to.

`ImpedanceArm` takes poses (crisp_controllers, FZI), `JointArm` joint positions and trajectories (the position interface
of ros2_control in front of an internal joint controller), `EffortArm` joint torques (a torque interface). No ROS, no
clock; one thread. Which one a cell has follows `robot.back_end` of its contract.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from dp_core.configuration import ConfigurationError
from dp_core.impedance import CartesianImpedance, ImpedanceGains
from dp_core.robot_spec import RobotSpec
from numpy.typing import NDArray

from dp_sim.franka import JOINT_RANGE_RAD, JOINT_VELOCITY_RAD_S, TORQUE_LIMIT_NM
from dp_sim.joint_path import JointPath, JointPoint

Array = NDArray[np.float64]

PERIOD_S = 0.001
# Inertia-shaped damping follows the arm at this period.
DESIGN_PERIOD_MS = 10
# Springs of the internal joint controller, the size of those of a Franka arm, and its smoothing of the reference.
JOINT_STIFFNESS_NM_RAD = (3000.0, 3000.0, 3000.0, 2500.0, 2500.0, 2000.0, 2000.0)
JOINT_SMOOTHING_S = 0.01
JOINT_ACCELERATION_RAD_S2 = 60.0
# Without a new torque for this long the arm only damps its motion, as a real one would leave torque control.
EFFORT_TIMEOUT_MS = 50
EFFORT_LOST_DAMPING_NMS_RAD = 5.0


class BadTargetError(ValueError):
    """A command to the arm is not finite, has the wrong size, or is of a kind that this arm does not take."""


@dataclass
class ArmView:
    """What a controller sees of the arm; the arrays are views into the physics state.

    Attributes:
        position: (7,) rad.
        velocity: (7,) rad/s.
        bias: (7,) Nm of gravity and Coriolis.
        tcp_position: (3,) m, base frame.
        tcp_quat_xyzw: (4,).
        jacobian: (6, 7) of the TCP, linear over angular, base frame.
        mass: gives the (7, 7) joint-space inertia.
        t_ms: physics time.
    """

    position: Array
    velocity: Array
    bias: Array
    tcp_position: Array
    tcp_quat_xyzw: Array
    jacobian: Array
    mass: Callable[[], Array]
    t_ms: int = 0


def _finite(values: Sequence[float] | Array, count: int, what: str) -> Array:
    array = np.asarray(values, dtype=float)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise BadTargetError(f"{what}, got {array.tolist()}")
    return array


class ImpedanceArm:
    """Cartesian impedance about a target pose."""

    def __init__(self, gains: ImpedanceGains, inertia: Array, posture: Array) -> None:
        self.law = CartesianImpedance(gains, inertia, posture, PERIOD_S)
        self._target = (np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
        self._renews = gains.damping != "diagonal"

    def reset(self, arm: ArmView, tool: Array) -> None:
        """Hold the tool at `tool` (pose7), the arm at rest."""
        self.set_pose(tool)
        self.law.reset(arm.bias)

    def set_pose(self, pose: Array) -> None:
        """New target, pose7. Raises `BadTargetError`."""
        pose = _finite(pose, 7, "a target pose is seven finite numbers x y z qx qy qz qw")
        norm = float(np.linalg.norm(pose[3:]))
        if abs(norm - 1.0) > 1e-2:
            raise BadTargetError(f"the quaternion of a target pose must have norm 1, got {norm:.3f}")
        self._target[0][:] = pose[:3]
        self._target[1][:] = pose[3:] / norm

    def torque(self, arm: ArmView) -> Array:
        """(7,) Nm of this millisecond."""
        if self._renews and arm.t_ms % DESIGN_PERIOD_MS == 0:
            self.law.design_damping(arm.jacobian, arm.mass())
        return self.law.torque(
            arm.jacobian,
            (arm.tcp_position, arm.tcp_quat_xyzw),
            (arm.position, arm.velocity),
            self._target,
            arm.bias,
        )


class JointArm:
    """Stiff joint positions: a reference with first-order lag and limited motion, then a spring and damper.

    The damping is critical for the inertia that each joint has at `reset`; gravity and Coriolis are compensated.
    """

    def __init__(self) -> None:
        self._stiffness = np.array(JOINT_STIFFNESS_NM_RAD)
        self._low, self._high = np.array(JOINT_RANGE_RAD).T
        self._fastest = np.array(JOINT_VELOCITY_RAD_S)
        self._damping = np.zeros(7)
        self._target, self._target_velocity = np.zeros(7), np.zeros(7)
        self._reference, self._velocity = np.zeros(7), np.zeros(7)
        self._path: JointPath | None = None
        self._t_ms = 0

    def reset(self, arm: ArmView, tool: Array) -> None:
        """Hold the present joint positions."""
        self._target[:] = self._reference[:] = arm.position
        self._velocity[:] = self._target_velocity[:] = 0.0
        self._damping[:] = 2.0 * np.sqrt(self._stiffness * np.diag(arm.mass()))
        self._path = None

    def set_joints(self, position: Sequence[float] | Array) -> None:
        """New target (7,) rad, clipped to the joint ranges; ends a trajectory. Raises `BadTargetError`."""
        values = _finite(position, 7, "joint positions are seven finite numbers")
        self._path = None
        self._target_velocity[:] = 0.0
        self._target[:] = np.clip(values, self._low, self._high)

    def set_trajectory(self, points: Sequence[JointPoint]) -> None:
        """New trajectory, from where the one before is now; replaces it. Raises `BadTargetError`."""
        for point in points:
            _finite(point.position, 7, "the positions of a trajectory point are seven finite numbers")
            if point.velocity is not None:
                _finite(point.velocity, 7, "the velocities of a trajectory point are seven finite numbers")
        if not points or any(a.t_s >= b.t_s for a, b in pairwise(points)):
            raise BadTargetError("a trajectory needs points with times that rise")
        now_s = self._t_ms * PERIOD_S
        if points[-1].t_s <= now_s:
            raise BadTargetError(f"the trajectory ended {now_s - points[-1].t_s:.3f} s ago")
        if points[-1].velocity is not None and np.abs(points[-1].velocity).max() > 1e-9:
            raise BadTargetError("the last point of a trajectory must be at rest")
        self._path = JointPath(JointPoint(now_s, self._target.copy(), self._target_velocity.copy()), points)

    def torque(self, arm: ArmView) -> Array:
        """(7,) Nm of this millisecond."""
        self._t_ms = arm.t_ms
        if self._path is not None:
            wanted = np.clip(self._path.sample(arm.t_ms * PERIOD_S), self._low, self._high)
            np.divide(wanted - self._target, PERIOD_S, out=self._target_velocity)
            self._target[:] = wanted
        self._move_reference()
        spring = self._stiffness * (self._reference - arm.position)
        return np.asarray(spring + self._damping * (self._velocity - arm.velocity) + arm.bias)

    def _move_reference(self) -> None:
        """First-order towards the target, no faster than the joint may move nor than it can brake."""
        error = self._target - self._reference
        fastest = np.minimum(self._fastest, np.sqrt(2.0 * JOINT_ACCELERATION_RAD_S2 * np.abs(error)))
        wanted = np.clip(error / JOINT_SMOOTHING_S, -fastest, fastest)
        step = JOINT_ACCELERATION_RAD_S2 * PERIOD_S
        self._velocity += np.clip(wanted - self._velocity, -step, step)
        self._reference += self._velocity * PERIOD_S


class EffortArm:
    """Joint torques as they come, within the torque limits.

    Where the robot compensates gravity itself, these torques are without gravity (Franka's FCI); see
    `RobotSpec.gravity`. A sender that falls silent leaves damping and what the robot itself compensates.
    """

    def __init__(self) -> None:
        self._limit = np.array(TORQUE_LIMIT_NM)
        self._effort = np.zeros(7)
        self._received_ms: int | None = None
        self._t_ms = 0

    def reset(self, arm: ArmView, tool: Array) -> None:
        """Forget the last torques."""
        self._received_ms = None

    def set_effort(self, torque: Sequence[float] | Array) -> None:
        """New torques (7,) Nm. Raises `BadTargetError`."""
        values = _finite(torque, 7, "joint efforts are seven finite numbers")
        np.clip(values, -self._limit, self._limit, out=self._effort)
        self._received_ms = self._t_ms

    @property
    def commanded(self) -> bool:
        """Whether torques came within the time limit."""
        return self._received_ms is not None and self._t_ms - self._received_ms <= EFFORT_TIMEOUT_MS

    def torque(self, arm: ArmView) -> Array:
        """(7,) Nm of this millisecond."""
        self._t_ms = arm.t_ms
        return self._effort if self.commanded else -EFFORT_LOST_DAMPING_NMS_RAD * arm.velocity


ArmController = ImpedanceArm | JointArm | EffortArm


def make_controller(robot: RobotSpec, gains: ImpedanceGains, inertia: Array, posture: Array) -> ArmController:
    """The controller that receives what `robot` sends. Raises `ConfigurationError`."""
    if robot.back_end == "joint":
        return JointArm()
    if robot.back_end == "effort":
        return EffortArm()
    if len(gains.torque_limit_Nm) != len(posture):
        raise ConfigurationError(
            f"impedance.torque_limit_Nm: {len(gains.torque_limit_Nm)} values for the {len(posture)} joints of the arm"
        )
    return ImpedanceArm(gains, inertia, posture)
