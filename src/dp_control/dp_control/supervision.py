"""What makes control stop the arm by itself, and what keeps a mode from starting."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from dp_core.limits import MotionLimits
from dp_core.poses import pose_problem
from numpy.typing import NDArray

from dp_control.interfaces import ArmKinematics
from dp_control.signals import CLOCK_TOLERANCE_NS, ControlInputs, Stamped, stamp_problem

Array = NDArray[np.float64]

# A mode starts with a measured pose this much newer than the request, so that no sample from before the request
# (a reset, a guided arm) seeds the command.
ENTRY_DELAY_NS = 50_000_000
# The robot description and the measured pose may differ by this much at the start: calibration, not another tool.
DESCRIPTION_ERROR_M = 0.02
DESCRIPTION_ERROR_RAD = 0.1
# A measured pose or an action this far outside the workspace is a wrong unit or frame: neither an arm that was guided
# out by hand nor an overshoot that the limiter should clip.
IMPLAUSIBLE_DISTANCE_M = 0.5


@dataclass(frozen=True)
class Fault:
    """Why the arm must stop; ``yields``: the command goes back to where the arm is, so that it pushes no longer."""

    reason: str
    yields: bool = False


class Supervisor:
    """Looks at the robot in each cycle. Pure but for the time since which a contact lasts.

    Args:
        contract: ages, limits, topics.
        kinematics: of the arm, or None; with it the measured joints are watched too.
    """

    def __init__(self, contract: Contract, kinematics: ArmKinematics | None = None) -> None:
        self._spec, self._safety, self._limits = contract.control, contract.safety, contract.limits
        self._streams = contract.streams
        self._kinematics = kinematics
        limited = contract.safety.force_limit_N is not None or contract.safety.torque_limit_Nm is not None
        self._wrench_topic = contract.streams["wrench"].topic if limited else ""
        self._contact_since_ns: int | None = None
        self._last_ns: int | None = None

    def clock_fault(self, t_ns: int, period_ns: int, periods: int) -> Fault | None:
        """Compare the ROS time that has passed with the periods that the loop has counted; call once per cycle."""
        last, self._last_ns = self._last_ns, t_ns
        if last is None:
            return None
        jump_ns = t_ns - last - periods * period_ns
        if jump_ns < -CLOCK_TOLERANCE_NS:
            return Fault(f"the clock went back by {-jump_ns * 1e-9:.2f} s")
        if jump_ns > CLOCK_TOLERANCE_NS:
            return Fault(f"the clock jumped ahead by {jump_ns * 1e-9:.2f} s")
        return None

    def fault(self, inputs: ControlInputs, commanded: Array, t_ns: int) -> Fault | None:
        """Why the arm must stop now, or None.

        Args:
            inputs: of this cycle.
            commanded: pose7 of the last command.
            t_ns: ROS time.
        """
        stale = self._stale(inputs, t_ns)
        if stale:
            return Fault(stale)
        measured = inputs.measured_pose
        error_m, error_rad = (0.0, 0.0) if measured is None else separation(commanded, measured.value)
        if error_m > self._spec.track_error_m:
            limit = f"limit {self._spec.track_error_m} m"
            return Fault(f"arm is {error_m:.3f} m from its command ({limit}): blocked or pushed", yields=True)
        if error_rad > self._safety.track_error_rad:
            limit = f"limit {self._safety.track_error_rad} rad"
            return Fault(f"arm is {error_rad:.2f} rad from its command ({limit}): blocked or pushed", yields=True)
        contact = self._contact(inputs.wrench)
        if contact and self._lasts(inputs.wrench):
            return Fault(f"contact: {contact}", yields=True)
        if inputs.robot_problem:
            return Fault(f"robot: {inputs.robot_problem}")
        return Fault(f"arm: {inputs.arm_problem}") if inputs.arm_problem else None

    def start_problem(self, inputs: ControlInputs, since_ns: int, t_ns: int) -> str:
        """Why a mode that was asked for at ``since_ns`` cannot start at the measured pose yet, or empty."""
        pose, topic = inputs.measured_pose, self._streams["ee_pose"].topic
        if pose is None or pose.t_ns < since_ns + ENTRY_DELAY_NS or stamp_problem(pose, t_ns, math.inf):
            return f"no measured pose on {topic} since the request"
        stale = self._stale(inputs, t_ns)
        if stale:
            return stale
        joints = inputs.joints
        if self._kinematics is not None and joints is not None and joints.t_ns < since_ns + ENTRY_DELAY_NS:
            return f"no joint positions on {self._streams['joint_states'].topic} since the request"
        if pose_problem(pose.value):
            return f"measured pose on {topic} {pose_problem(pose.value)}"
        outside_m = farthest_outside_m(self._limits, pose.value[None, :3])
        if outside_m > IMPLAUSIBLE_DISTANCE_M:
            limit = f"limit {IMPLAUSIBLE_DISTANCE_M} m"
            return f"measured pose on {topic} is {outside_m:.2f} m outside the workspace ({limit}): wrong unit?"
        if inputs.stream_problems:
            return "; ".join(inputs.stream_problems)
        contact = self._contact(inputs.wrench)
        if contact:
            return f"the arm is in contact: {contact}"
        if inputs.robot_problem:
            return f"robot: {inputs.robot_problem}"
        return f"arm: {inputs.arm_problem}" if inputs.arm_problem else self._description_problem(inputs)

    def _stale(self, inputs: ControlInputs, t_ns: int) -> str:
        """Which part of the robot's state is missing, too old or not a number."""
        streams = [("measured pose", self._streams["ee_pose"].topic, inputs.measured_pose)]
        if self._kinematics is not None:
            streams.append(("joint positions", self._streams["joint_states"].topic, inputs.joints))
        if self._wrench_topic:
            streams.append(("measured wrench", self._wrench_topic, inputs.wrench))
        for what, topic, sample in streams:
            problem = stamp_problem(sample, t_ns, self._spec.state_max_age_s)
            if problem:
                return f"{what} on {topic} {problem} (limit {self._spec.state_max_age_s} s)"
            if sample is not None and not math.isfinite(float(sample.value.sum())):
                return f"{what} on {topic} is not finite"
        return ""

    def _contact(self, wrench: Stamped | None) -> str:
        """Which part of the wrench is above its limit, or empty."""
        if wrench is None or not self._wrench_topic:
            return ""
        values = wrench.value.tolist()
        parts = (
            ("force", math.hypot(*values[:3]), self._safety.force_limit_N, "N"),
            ("torque", math.hypot(*values[3:]), self._safety.torque_limit_Nm, "Nm"),
        )
        over = [
            f"{name} {norm:.1f} {unit} (limit {limit} {unit})"
            for name, norm, limit, unit in parts
            if limit and norm > limit
        ]
        if not over:
            self._contact_since_ns = None
        return ", ".join(over)

    def _lasts(self, wrench: Stamped | None) -> bool:
        """True when the contact has been measured for long enough."""
        if wrench is None:
            return False
        if self._contact_since_ns is None or wrench.t_ns < self._contact_since_ns:
            self._contact_since_ns = wrench.t_ns  # the first, or the first since the clock was set back
        return wrench.t_ns - self._contact_since_ns >= 1e9 * self._safety.contact_time_s

    def _description_problem(self, inputs: ControlInputs) -> str:
        """Compare the robot description with the robot: a wrong file or tool frame shows before anything moves."""
        if self._kinematics is None or inputs.joints is None or inputs.measured_pose is None:
            return ""
        off_m, off_rad = separation(self._kinematics.forward(inputs.joints.value), inputs.measured_pose.value)
        if off_m <= DESCRIPTION_ERROR_M and off_rad <= DESCRIPTION_ERROR_RAD:
            return ""
        return (
            f"robot.description puts the end effector {off_m:.3f} m and {off_rad:.2f} rad from the measured pose "
            f"(limits {DESCRIPTION_ERROR_M} m, {DESCRIPTION_ERROR_RAD} rad): wrong URDF, or wrong ee_frame"
        )


def farthest_outside_m(limits: MotionLimits, positions: Array) -> float:
    """How far (m) the farthest of positions (n, 3) lies outside the workspace box; 0 inside."""
    low, high = np.asarray(limits.workspace_min_m), np.asarray(limits.workspace_max_m)
    return float(np.linalg.norm(positions - np.clip(positions, low, high), axis=1).max())


def separation(a: Array, b: Array) -> tuple[float, float]:
    """Distance (m) and angle (rad) between two pose7; plain floats, as it runs in each cycle."""
    ax, ay, az, aqx, aqy, aqz, aqw = a.tolist()
    bx, by, bz, bqx, bqy, bqz, bqw = b.tolist()
    dot = abs(aqx * bqx + aqy * bqy + aqz * bqz + aqw * bqw)
    scale = math.hypot(aqx, aqy, aqz, aqw) * math.hypot(bqx, bqy, bqz, bqw)
    angle = math.pi if scale < 1e-9 else 2.0 * math.acos(min(1.0, dot / scale))
    return math.dist((ax, ay, az), (bx, by, bz)), angle
