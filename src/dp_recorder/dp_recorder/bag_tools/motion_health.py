"""Poses, gripper widths and joint positions that no arm can have had."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_recorder.bag_tools.finding import FAILURE, WARNING, BagFinding
from dp_recorder.bag_tools.motion_record import MotionRecord

#: Farther out of the workspace than this, m, an arm of this cell has not been; and the same for gripper widths.
WORKSPACE_MARGIN_M, WIDTH_MARGIN_M = 0.05, 0.005
QUATERNION_TOLERANCE = 1e-3
#: A step is a jump when it is faster than this many times the limit, and longer than noise ever is.
JUMP_FACTOR, JUMP_M, JUMP_RAD, JUMP_WIDTH_M = 3.0, 0.02, 0.15, 0.01
JOINT_SPEED_RAD_S = 10.0
#: HOLD, TELEOP and POLICY of ``dp_msgs/CommandState``; in the others the pose is that of the last command, or none.
MODES_THAT_SEND = (0, 1, 2)


class Complaints:
    """Counts complaints of each kind about one topic and keeps the first of them; constant memory."""

    def __init__(self, topic: str) -> None:
        """Start with none.

        Args:
            topic: Full name.
        """
        self.topic = topic
        self._kinds: dict[str, tuple[str, str, int, int]] = {}

    def add(self, kind: str, t_ns: int, what: str, level: str = FAILURE) -> None:
        """Complain, at a log time in ns; ``kind`` tells complaints apart that are counted together."""
        level, first, first_ns, count = self._kinds.get(kind, (level, what, t_ns, 0))
        self._kinds[kind] = (level, first, first_ns, count + 1)

    def findings(self, start_ns: int) -> list[BagFinding]:
        """One finding for each kind, in a bag that starts at a log time, ns."""
        return [
            BagFinding(level, self.topic, what if count == 1 else f"{what} ({count} times)", (t_ns - start_ns) / 1e9)
            for level, what, t_ns, count in self._kinds.values()
        ]


class PoseHealth:
    """Checks ``geometry_msgs/PoseStamped`` of the end effector."""

    def __init__(self, topic: str, contract: Contract, motion: MotionRecord | None = None) -> None:
        """Start with none.

        Args:
            topic: Full name.
            contract: Workspace, limits and base frame.
            motion: Receives the path; None for none.
        """
        self.complaints = Complaints(topic)
        self._low = np.asarray(contract.limits.workspace_min_m) - WORKSPACE_MARGIN_M
        self._high = np.asarray(contract.limits.workspace_max_m) + WORKSPACE_MARGIN_M
        self._speed = JUMP_FACTOR * contract.limits.linear_velocity_m_s
        self._turning = JUMP_FACTOR * contract.limits.angular_velocity_rad_s
        self._frame = contract.base_frame
        self._motion = motion
        self._last: tuple[int, NDArray[np.float64]] | None = None

    def add(self, t_ns: int, message: Any) -> None:
        """Check one message, received at a log time in ns."""
        if message.header.frame_id != self._frame:
            what = f"frame {message.header.frame_id!r}, the contract's base frame is {self._frame!r}"
            self.complaints.add("frame", t_ns, what, WARNING)
        self.add_pose(t_ns, _stamp_ns(message), message.pose)

    def add_pose(self, t_ns: int, stamp_ns: int, pose: Any) -> None:
        """Check a pose of a log time and a stamp, ns."""
        p, q = pose.position, pose.orientation
        values = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        if not np.isfinite(values).all():
            self.complaints.add("finite", t_ns, "a pose is not finite")
            return
        norm = float(np.linalg.norm(values[3:]))
        if abs(norm - 1.0) > QUATERNION_TOLERANCE:
            self.complaints.add("norm", t_ns, f"a quaternion has norm {norm:.4f}")
        position = values[:3]
        if (position < self._low).any() or (position > self._high).any():
            where = ", ".join(f"{value:.3f}" for value in position)
            what = f"position ({where}) is more than {WORKSPACE_MARGIN_M:g} m out of the workspace"
            self.complaints.add("workspace", t_ns, what)
        self._check_jump(t_ns, stamp_ns, values)
        if self._motion is not None:
            self._motion.add(t_ns, position)

    def forget(self) -> None:
        """The next pose has no predecessor."""
        self._last = None

    def _check_jump(self, t_ns: int, stamp_ns: int, values: NDArray[np.float64]) -> None:
        if self._last is not None:
            dt_s = max(0, stamp_ns - self._last[0]) / 1e9
            before = self._last[1]
            step_m = float(np.linalg.norm(values[:3] - before[:3]))
            if step_m > max(JUMP_M, self._speed * dt_s):
                self.complaints.add("jump", t_ns, f"the position jumps by {step_m:.3f} m in {dt_s:.3f} s")
            cosine = min(1.0, abs(float(values[3:] @ before[3:])))
            angle = 2.0 * math.acos(cosine)
            if angle > max(JUMP_RAD, self._turning * dt_s):
                self.complaints.add("turn", t_ns, f"the orientation jumps by {angle:.2f} rad in {dt_s:.3f} s")
        self._last = stamp_ns, values


class WidthHealth:
    """Checks gripper widths, from joint states or commands."""

    def __init__(self, topic: str, contract: Contract) -> None:
        """Start with none.

        Args:
            topic: Full name.
            contract: The gripper's range and speed, and its joints.
        """
        self.complaints = Complaints(topic)
        self._spec = contract.gripper
        self._names = contract.streams["gripper"].joint_names
        self._last: tuple[int, float] | None = None

    def add(self, t_ns: int, message: Any) -> None:
        """Check the width that a ``sensor_msgs/JointState`` tells, received at a log time in ns."""
        present = list(message.name)
        missing = [name for name in self._names if name not in present[: len(message.position)]]
        if missing:
            what = f"no position of joint {missing[0]}; there are {', '.join(present) or 'none'}"
            self.complaints.add("joint", t_ns, what)
            return
        width_m = float(sum(message.position[present.index(name)] for name in self._names))
        self.add_width(t_ns, width_m)
        if self._last is not None and math.isfinite(width_m):
            dt_s = max(0, _stamp_ns(message) - self._last[0]) / 1e9
            step_m = abs(width_m - self._last[1])
            if step_m > max(JUMP_WIDTH_M, JUMP_FACTOR * self._spec.speed_m_s * dt_s):
                self.complaints.add("jump", t_ns, f"the width jumps by {step_m:.3f} m in {dt_s:.3f} s")
        self._last = _stamp_ns(message), width_m

    def add_width(self, t_ns: int, width_m: float) -> None:
        """Check a width, m, of a log time, ns."""
        low, high = self._spec.min_width_m - WIDTH_MARGIN_M, self._spec.max_width_m + WIDTH_MARGIN_M
        if not low <= width_m <= high:
            allowed = f"{self._spec.min_width_m:g} to {self._spec.max_width_m:g} m"
            self.complaints.add("range", t_ns, f"width {width_m:.4f} m, the gripper has {allowed}")


class JointHealth:
    """Checks ``sensor_msgs/JointState`` of the arm."""

    def __init__(self, topic: str, names: tuple[str, ...]) -> None:
        """Start with none.

        Args:
            topic: Full name.
            names: Joints that have to be there.
        """
        self.complaints = Complaints(topic)
        self._names = names
        self._last: tuple[int, NDArray[np.float64]] | None = None

    def add(self, t_ns: int, message: Any) -> None:
        """Check one message, received at a log time in ns."""
        present = message.name[: len(message.position)]
        missing = [name for name in self._names if name not in present]
        if missing:
            what = f"no position of joint {missing[0]}; there are {', '.join(present) or 'none'}"
            self.complaints.add("joint", t_ns, what)
        for field in ("position", "velocity", "effort"):
            if not np.isfinite(getattr(message, field)).all():
                self.complaints.add(field, t_ns, f"a {field} is not finite")
                return
        position = np.asarray(message.position, dtype=np.float64)
        stamp_ns = _stamp_ns(message)
        if self._last is not None and self._last[1].shape == position.shape and position.size:
            dt_s = max(0, stamp_ns - self._last[0]) / 1e9
            step = float(np.abs(position - self._last[1]).max())
            if step > max(JUMP_RAD, JOINT_SPEED_RAD_S * dt_s):
                self.complaints.add("jump", t_ns, f"a joint jumps by {step:.2f} rad in {dt_s:.3f} s")
        self._last = stamp_ns, position


class CommandHealth:
    """Checks ``dp_msgs/CommandState``: what was commanded."""

    def __init__(self, topic: str, contract: Contract) -> None:
        """Start with none.

        Args:
            topic: Full name.
            contract: Workspace, limits and gripper.
        """
        self.complaints = Complaints(topic)
        self._pose, self._width = PoseHealth(topic, contract), WidthHealth(topic, contract)
        self._pose.complaints = self._width.complaints = self.complaints

    def add(self, t_ns: int, message: Any) -> None:
        """Check one message, received at a log time in ns."""
        if message.mode in MODES_THAT_SEND:
            self._pose.add_pose(t_ns, _stamp_ns(message), message.commanded_pose)
        else:
            self._pose.forget()  # the next mode starts at the measured pose, wherever that is
        self._width.add_width(t_ns, float(message.commanded_width))


class WrenchHealth:
    """Checks that a ``geometry_msgs/WrenchStamped`` is finite."""

    def __init__(self, topic: str) -> None:
        """Start with none.

        Args:
            topic: Full name.
        """
        self.complaints = Complaints(topic)

    def add(self, t_ns: int, message: Any) -> None:
        """Check one message, received at a log time in ns."""
        force, torque = message.wrench.force, message.wrench.torque
        if not all(map(math.isfinite, (force.x, force.y, force.z, torque.x, torque.y, torque.z))):
            self.complaints.add("finite", t_ns, "a force or torque is not finite")


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)


Health = PoseHealth | WidthHealth | JointHealth | CommandHealth | WrenchHealth


def motion_checks(
    contract: Contract, types: dict[str, str], full_name: Callable[[str], str], motion: MotionRecord
) -> dict[str, Health]:
    """Full topic name to what checks it, for the robot streams of a contract that have the type it says.

    Args:
        contract: Of the cell.
        types: Full topic name to message type in the bag.
        full_name: Full name of a topic of the contract.
        motion: Receives the path of the measured pose.
    """
    found: dict[str, Health] = {}
    for name, stream in contract.streams.items():
        topic = full_name(stream.topic)
        kind = types.get(topic)
        if kind == "geometry_msgs/msg/PoseStamped":
            found[topic] = PoseHealth(topic, contract, motion if name == "ee_pose" else None)
        elif kind == "sensor_msgs/msg/JointState" and name == "gripper":
            found[topic] = WidthHealth(topic, contract)
        elif kind == "sensor_msgs/msg/JointState":
            found[topic] = JointHealth(topic, stream.joint_names)
        elif kind == "dp_msgs/msg/CommandState":
            found[topic] = CommandHealth(topic, contract)
        elif kind == "geometry_msgs/msg/WrenchStamped":
            found[topic] = WrenchHealth(topic)
    return found
