"""Inverse kinematics of one arm: each period the joint velocities that best follow a moving pose.

A quadratic program in the joint velocities v, solved by daqp on pinocchio's Jacobian J::

    minimise    |W (J v - twist)|^2 + damping |v|^2 + posture |v - v_posture|^2 + smoothness |v - v_last|^2
    subject to  position, velocity and acceleration of each joint (dp_control.kinematics_limits)
                singular values of W J, soft (dp_control.kinematics_singularity)
                distance between links, soft (dp_control.kinematics_collision)

The wanted twist is that of the pose itself plus a correction of the remaining error, whose speed is limited so that it
can brake, and which damps the joints while it is large. The arm stays on its side of singularities: it does not flip
elbow or wrist. A pose out of reach ends in the closest posture on this side, at rest. The limits leave each joint an
interval that is never empty, so the program always has a solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dp_core.contract import Contract
from numpy.typing import ArrayLike, NDArray

from dp_control.interfaces import JointSolution
from dp_control.kinematics_collision import SelfCollision
from dp_control.kinematics_limits import JointLimits, VelocityBounds
from dp_control.kinematics_singularity import WEIGHT, Singularity
from dp_control.robot_model import RobotModel, RobotModelError, import_pinocchio

Array = NDArray[np.float64]

_POSTURE_WEIGHT = 1e-5
_SMOOTH_WEIGHT = 1e-4
# Correction of the error: deceleration, and time constant when it is small (so many periods at least, for stability).
_CORRECTION = (1.0, 4.0)  # m/s^2, rad/s^2
_CORRECTION_S = 0.02
_CORRECTION_PERIODS = 2.5
# Damping by the speed of the correction: with a large error that cannot be corrected, the optimum for a direction of
# small effect changes faster than joints can follow; the damped one changes at most at some 20 /s.
_ERROR_DAMPING_S = 0.02
# A pose that moves faster than the cell's limits by this factor jumps, and is approached like any other error.
_OVERSPEED = 1.2
# Null-space motion towards the posture.
_POSTURE_RATE_HZ = 1.0
_POSTURE_SPEED_RAD_S = 0.3
# A start farther outside the joint limits than this is another robot's, or a broken encoder's.
_OUTSIDE_RAD = 0.1
# Share of the wanted twist that is not executed, above which a pose counts as out of reach.
_UNREACHABLE = 0.5
_SOLVER_TOLERANCE = 1e-9
_CLOSE = 1e-6
_SOFT = 8  # daqp: may be violated where nothing else is possible


@dataclass(frozen=True)
class _State:
    """Memory between solves; arrays are never written to. ``target``: pinocchio's SE3, None where there was none."""

    joints: Array
    velocity: Array
    posture: Array
    target: Any = None


class QpKinematics:
    """Inverse kinematics, see the module; implements :class:`dp_control.interfaces.ArmKinematics`. One thread.

    Whatever the poses (jumps, out of reach, NaN): successive solutions differ by at most velocity limit times period,
    and their velocities by at most acceleration limit (10 rad/s^2 unless given) times period.

    Attributes:
        model: the arm.
        limits: its joint limits.
        tolerance_m: a solution whose residual is below counts as reached.
        tolerance_rad: the same for the orientation.
    """

    tolerance_m: float = 1e-3
    tolerance_rad: float = 5e-3

    def __init__(
        self,
        model: RobotModel,
        linear_velocity_m_s: float,
        angular_velocity_rad_s: float,
        posture_rad: ArrayLike = (),
        limits: JointLimits | None = None,
        collision: SelfCollision | None = None,
    ) -> None:
        """Prepare for :meth:`start`.

        Args:
            model: the arm.
            linear_velocity_m_s: highest speed of the poses to come.
            angular_velocity_rad_s: the same for turning.
            posture_rad: (n,) null-space posture; empty: the joints of each start.
            limits: joint limits; None: the model's, with the default acceleration.
            collision: keeps the links apart; None: nothing does.

        Raises:
            RobotModelError: daqp is not installed, or the posture does not fit the model.
        """
        self._pin, self._daqp = import_pinocchio(), _import_daqp()
        self.model, self.limits = model, limits or JointLimits(model)
        self._collision = collision
        self._speed = (linear_velocity_m_s * _OVERSPEED, angular_velocity_rad_s * _OVERSPEED)
        self._posture = np.array(posture_rad, dtype=np.float64)
        if self._posture.size:
            self._check_joints("robot.posture_rad", self._posture)
        self._sense = np.zeros(len(model.joint_names), dtype=np.int32)
        self._state: _State | None = None

    @classmethod
    def from_contract(cls, contract: Contract) -> QpKinematics:
        """The inverse kinematics that a contract describes.

        Raises:
            RobotModelError: the description is missing or does not fit, or a package is not installed.
        """
        model = RobotModel.from_contract(contract)
        return cls(
            model,
            contract.limits.linear_velocity_m_s,
            contract.limits.angular_velocity_rad_s,
            contract.robot.posture_rad,
            collision=SelfCollision(model) if contract.robot.self_collision else None,
        )

    def start(self, joints: ArrayLike) -> None:
        """Begin at rest at measured joint positions (n,) rad; the null-space posture becomes these if none is set.

        Raises:
            RobotModelError: wrong number, not finite, or more than 0.1 rad outside the joint limits.
        """
        measured = np.array(joints, dtype=np.float64)
        self._check_joints("joint positions", measured)
        posture = self._posture if self._posture.size else np.clip(measured, self.model.lower, self.model.upper)
        self._state = _State(measured, np.zeros_like(measured), posture)

    def solve(self, pose: ArrayLike, period_s: float) -> JointSolution:
        """Move the last solution towards ``pose`` (pose7, base frame) for one period; becomes the last solution.

        A pose that is no pose (not finite, quaternion zero) brakes the joints; ``active`` has ``invalid_pose``.

        Raises:
            ValueError: the period is not positive, or :meth:`start` was not called.
        """
        state = self._state
        if state is None or not period_s > 0.0:
            raise ValueError(f"solve: start was not called, or period_s {period_s} is not positive")
        bounds = self.limits.bounds(state.joints, state.velocity, period_s)
        target = self._target(pose)
        active: tuple[str, ...] = ("invalid_pose",)
        if target is None:
            wanted = None
        else:
            wanted, active = self._velocity(state, target, period_s, bounds)
        # Without a solution the joints brake.
        velocity = np.clip(np.zeros_like(state.velocity) if wanted is None else wanted, bounds.lower, bounds.upper)
        inside = np.minimum(self.model.lower, state.joints), np.maximum(self.model.upper, state.joints)
        joints = np.clip(state.joints + velocity * period_s, *inside)  # but for rounding, the bounds see to it
        self._state = replace(state, joints=joints, velocity=velocity, target=target)
        return self._solution(self._state, active + bounds.active(velocity))

    def brake(self, period_s: float) -> JointSolution:
        """Brake the joints as fast as their acceleration allows; see :meth:`solve`."""
        return replace(self.solve(np.full(7, np.nan), period_s), active=())

    def snapshot(self) -> object:
        """What :meth:`restore` takes back, so that a solve may be tried and discarded."""
        return self._state

    def restore(self, snapshot: object) -> None:
        """Undo every solve since ``snapshot``; exact."""
        if snapshot is not None and not isinstance(snapshot, _State):
            raise TypeError(f"restore: {type(snapshot).__name__} did not come from snapshot")
        self._state = snapshot

    def forward(self, joints: ArrayLike) -> Array:
        """Pose7 of the end effector in the base frame at ``joints`` (n,) rad."""
        return self.model.forward(joints)

    def _target(self, pose: ArrayLike) -> Any:
        """The pose as SE3, or None if it is none."""
        pose7 = np.array(pose, dtype=np.float64)
        if pose7.shape != (7,):
            raise ValueError(f"solve: pose has shape {pose7.shape}; (7,) x y z qx qy qz qw is needed")
        norm = math.sqrt(pose7[3:] @ pose7[3:])
        if not (np.isfinite(pose7).all() and norm > 1e-6):
            return None
        pose7[3:] /= norm
        return self._pin.XYZQUATToSE3(pose7)

    def _velocity(
        self, state: _State, target: Any, period_s: float, bounds: VelocityBounds
    ) -> tuple[Array | None, tuple[str, ...]]:
        """The optimal joint velocities, None if the solver finds none; and names of what was in the way."""
        here = self.model.placement(state.joints)
        ahead, correction = self._twist(here, target, state.target or target, period_s)
        twist = WEIGHT * (ahead + correction)
        jacobian = WEIGHT[:, None] * self.model.jacobian(state.joints)
        singularity = Singularity(jacobian)
        damping = _ERROR_DAMPING_S * float(np.linalg.norm(WEIGHT * correction))
        pull = singularity.null_space(_POSTURE_RATE_HZ * (state.posture - state.joints))
        pull = _limited(pull, _POSTURE_SPEED_RAD_S)
        hessian = jacobian.T @ jacobian
        hessian.flat[:: len(pull) + 1] += damping + _POSTURE_WEIGHT + _SMOOTH_WEIGHT
        gradient = -(jacobian.T @ twist + _POSTURE_WEIGHT * pull + _SMOOTH_WEIGHT * state.velocity)
        rows, slowest = singularity.rows(self.model, state.joints, here.rotation.T, period_s)
        count = len(slowest)
        if self._collision is not None:
            more, slowest_more = self._collision.rows(state.joints, period_s)
            rows, slowest = np.concatenate([rows, more]), np.concatenate([slowest, slowest_more])
        velocity = self._optimum(hessian, gradient, bounds, rows, slowest, state.velocity)
        if velocity is None:
            return None, ("no_solution",)
        on_limit = rows @ velocity <= slowest + _CLOSE
        active = ["singularity"] if on_limit[:count].any() else []
        if on_limit[count:].any():
            active.append("self_collision")
        missing = twist - jacobian @ velocity
        if missing @ missing > _UNREACHABLE**2 * (twist @ twist):
            active.append("unreachable")
        return velocity, tuple(active)

    def _optimum(
        self, hessian: Array, gradient: Array, bounds: VelocityBounds, rows: Array, slowest: Array, guess: Array
    ) -> Array | None:
        lower, upper, sense = bounds.lower, bounds.upper, self._sense
        if len(slowest):
            lower = np.concatenate([lower, slowest])
            upper = np.concatenate([upper, np.full(len(slowest), 1e30)])
            sense = np.concatenate([sense, np.full(len(slowest), _SOFT, dtype=np.int32)])
        guess = np.clip(guess, bounds.lower, bounds.upper)
        x, _, flag, _ = self._daqp.solve(
            hessian, gradient, rows, upper, lower, sense, primal_start=guess, primal_tol=_SOLVER_TOLERANCE
        )
        return x if flag > 0 and np.isfinite(x).all() else None

    def _twist(self, here: Any, target: Any, before: Any, period_s: float) -> tuple[Array, Array]:
        """Wanted twist (6,) m/s, rad/s, base axes: of the pose itself, and to correct the error left from before."""
        log3 = self._pin.log3
        error = target.translation - here.translation, log3(target.rotation @ here.rotation.T)
        moved = target.translation - before.translation, log3(target.rotation @ before.rotation.T)
        settling_s = max(_CORRECTION_S, _CORRECTION_PERIODS * period_s)
        ahead, correction = np.empty(6), np.empty(6)
        for index, (braking, speed) in enumerate(zip(_CORRECTION, self._speed, strict=True)):
            part = slice(3 * index, 3 * index + 3)
            ahead[part] = _limited(moved[index] / period_s, speed)
            left = error[index] - ahead[part] * period_s
            distance, creep = math.sqrt(left @ left), braking * settling_s
            # approach_speed over the distance, written so that it is exact at 0.
            rate = 2.0 * braking / (math.sqrt(creep * creep + 2.0 * braking * distance) + creep)
            correction[part] = _limited(rate * left, speed)
        return ahead, correction

    def _solution(self, state: _State, active: tuple[str, ...]) -> JointSolution:
        residual_m = residual_rad = math.inf
        if state.target is not None:
            here = self.model.placement(state.joints)
            residual_m = float(np.linalg.norm(state.target.translation - here.translation))
            residual_rad = float(np.linalg.norm(self._pin.log3(state.target.rotation @ here.rotation.T)))
            if residual_m <= self.tolerance_m and residual_rad <= self.tolerance_rad:
                active = tuple(name for name in active if name != "unreachable")
        return JointSolution(state.joints.copy(), state.velocity.copy(), residual_m, residual_rad, active)

    def _check_joints(self, what: str, joints: Array) -> None:
        names, lower, upper = self.model.joint_names, self.model.lower, self.model.upper
        if joints.shape != (len(names),):
            raise RobotModelError(f"{what}: {joints.size} values; {len(names)} are needed: {', '.join(names)}")
        outside = ~((joints >= lower - _OUTSIDE_RAD) & (joints <= upper + _OUTSIDE_RAD))  # NaN is outside
        for index in np.flatnonzero(outside):
            raise RobotModelError(
                f"{what}: {names[index]} = {joints[index]:.4g} rad is outside its limits "
                f"{lower[index]:.4g} to {upper[index]:.4g}"
            )


def _limited(vector: Array, norm: float) -> Array:
    """``vector``, scaled down to ``norm`` if longer."""
    length = math.sqrt(vector @ vector)
    return vector * (norm / length) if length > norm else vector


def _import_daqp() -> Any:
    try:
        import daqp
    except ImportError as error:
        raise RobotModelError(f"robot.description: needs the package daqp ({error}); pip install daqp") from None
    return daqp
