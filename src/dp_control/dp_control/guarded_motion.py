"""The commanded motion of the arm: bounded by the limiter, followed by inverse kinematics where there is one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from dp_core.contract import Contract
from dp_core.motion_limits import Motion, MotionLimiter
from dp_core.poses import quat_normalise
from numpy.typing import NDArray

from dp_control.interfaces import ArmKinematics, JointSolution

Array = NDArray[np.float64]

UNREACHABLE = "unreachable"
# Joints slower than this are at rest (rad/s).
RESTING_RAD_S = 1e-3


class GuardedMotion:
    """One step per control period; each returns the names of the limits that were active. One thread.

    A step whose pose the joints cannot follow is undone and replaced by a step of braking, so that the command never
    runs away from the arm; a step that brings the command back towards what the joints can do is taken.

    Args:
        contract: limits, safety rules, control period.
        kinematics: of the arm, or None.
    """

    def __init__(self, contract: Contract, kinematics: ArmKinematics | None = None) -> None:
        self._period_s = 1e-9 * contract.control.period_ns
        self._limiter = MotionLimiter(contract.limits, contract.safety, self._period_s)
        self._kinematics = kinematics
        # What a controller takes as its target is where its own pose comes from.
        self._starts_at_joints = contract.robot.back_end in ("joint", "effort")
        self._solution: JointSolution | None = None
        self._strain = 0.0
        self.started = False
        #: The command; meaningful once started.
        self.motion: Motion = self._limiter.motion

    @property
    def joints(self) -> JointSolution | None:
        """Joint solution of the command; None without kinematics or before the start."""
        return self._solution

    @property
    def resting(self) -> bool:
        """True when neither the command nor its joints move."""
        joints_rest = self._solution is None or bool(np.abs(self._solution.velocity).max() < RESTING_RAD_S)
        return self.motion.resting and joints_rest

    def start(self, pose: Array, joints: Array | None = None) -> None:
        """Begin at rest where the arm is, so that the first command does not move it.

        Measured pose and that of the measured joints may be centimetres apart by a calibration. A controller that
        takes poses holds the arm at the measured pose7; one that takes joints or torques, at the measured joints (n,)
        rad, whose pose is the command then.

        Raises:
            ContractError: the joints cannot be those of this robot; nothing has begun.
        """
        with_joints = self._kinematics is not None and joints is not None
        if self._kinematics is not None and joints is not None:
            self._kinematics.start(joints)
            pose = self._kinematics.forward(joints) if self._starts_at_joints else pose
        clean = np.array(pose, dtype=np.float64)
        clean[3:] = quat_normalise(clean[3:])
        self._limiter.start(clean)
        self.motion = self._limiter.motion
        self._strain, self._solution = 0.0, None
        if with_joints:
            measured = np.array(joints, dtype=np.float64)
            self._solution = JointSolution(measured, np.zeros_like(measured), 0.0, 0.0)
        self.started = True

    def end(self) -> None:
        """Forget the command: the next mode starts from a measured pose."""
        self.started, self._solution = False, None

    def rest(self) -> None:
        """Stand still at the last command, after a time in which nothing was sent."""
        self._limiter.start(self.motion.pose)
        self.motion = self._limiter.motion
        if self._kinematics is not None and self._solution is not None:
            self._kinematics.start(self._solution.position)

    def follow_twist(self, twist: Array) -> tuple[str, ...]:
        """Move with a twist (6,) for one period."""
        return self._attempt(lambda: self._limiter.follow_twist(twist))

    def follow_pose(self, pose: Array, twist: Array, acceleration: Array) -> tuple[str, ...]:
        """Move towards a reference, given at the end of this period."""
        return self._attempt(lambda: self._limiter.follow_pose(pose, twist, acceleration))

    def brake(self) -> tuple[str, ...]:
        """One period of the stop."""
        active = self._limiter.brake()
        self.motion = self._limiter.motion
        return active if self._solution is None else (*active, *self._solve().active)

    def stop(self) -> tuple[str, ...]:
        """One period of the last stop before nothing is sent: once the command rests the joints brake as well.

        They would go on to the posture for seconds, and be cut off on their way.
        """
        if self._kinematics is None or self._solution is None or not self.motion.resting:
            return self.brake()
        self._solution = self._kinematics.brake(self._period_s)
        return self._solution.active

    def _attempt(self, step: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        kinematics, solution, strain = self._kinematics, self._solution, self._strain
        if kinematics is None or solution is None:
            active = step()
            self.motion = self._limiter.motion
            return active
        before, joints_before = self._limiter.snapshot(), kinematics.snapshot()
        active = step()
        self.motion = self._limiter.motion
        solved = self._solve()
        if self._strain <= max(1.0, strain):
            return (*active, *solved.active)
        self._limiter.restore(before)
        kinematics.restore(joints_before)
        self._solution, self._strain = solution, strain
        return (*self.brake(), UNREACHABLE)

    def _solve(self) -> JointSolution:
        """Joints for the present command; the strain is what they miss, in units of the tolerance."""
        kinematics = self._kinematics
        if kinematics is None:
            raise RuntimeError("no kinematics: nothing to solve")
        solved = kinematics.solve(self.motion.pose, self._period_s)
        self._strain = max(solved.residual_m / kinematics.tolerance_m, solved.residual_rad / kinematics.tolerance_rad)
        self._solution = solved
        return solved
