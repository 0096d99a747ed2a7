"""Commands to the arm as they come over DDS: one subscription, that of the controller which the contract names.

Topics, messages and what is checked are those of the real controllers: crisp_controllers reads neither frame nor stamp
of a pose, FZI drops another frame, the forward command controllers have no stamp at all, the joint trajectory
controller takes its time from the stamp. Values without meaning are refused by all of them here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from dp_core.contract import Contract
from dp_ros.messages import pose_to_array, stamp_to_ns
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from dp_ros import qos
from dp_sim.arm_controllers import ArmController, BadTargetError, EffortArm, ImpedanceArm
from dp_sim.delays import DelayLine
from dp_sim.franka import ARM_JOINTS
from dp_sim.joint_path import JointPoint

# Controller of the contract: message and its own topic.
_TOPICS: dict[str, tuple[Any, str]] = {
    "impedance": (PoseStamped, "robot/target_pose"),
    "crisp": (PoseStamped, "target_pose"),
    "fzi": (PoseStamped, "cartesian_motion_controller/target_frame"),
    "joint_trajectory": (JointTrajectory, "joint_trajectory_controller/joint_trajectory"),
    "forward_position": (Float64MultiArray, "forward_position_controller/commands"),
    "forward_effort": (Float64MultiArray, "effort_controller/commands"),
}


class ArmInput:
    """The newest command; callbacks store it, the physics thread applies it.

    Args:
        node: owns the subscription.
        contract: names the controller, its topic and the frames.
        on_answer: told the time (ns) of the tick that a command answers.
        refuse: told in words why a command was not taken.
        delay_ms: the arm takes a command this much later, in physics time.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        on_answer: Callable[[int], None],
        refuse: Callable[[str], None],
        delay_ms: int = 0,
    ) -> None:
        self._base_frame = contract.base_frame
        self._controller_name = contract.robot.resolved_controller
        self._on_answer, self._refuse = on_answer, refuse
        self._lock = threading.Lock()
        self._newest: tuple[int, Any] | None = None
        self._delay_ms = delay_ms
        self._line: DelayLine[tuple[int, Any]] = DelayLine()
        self._tick_ns = 0
        message, topic = _TOPICS[self._controller_name]
        self.topic = contract.robot.topic or topic
        node.create_subscription(message, self.topic, self._on_message, qos.COMMAND_IN)

    def begin_tick(self, t_ns: int) -> None:
        """A message without a stamp that comes from now on answers the tick of `t_ns`."""
        self._tick_ns = t_ns

    def _on_message(self, message: Any) -> None:
        checks_frame = self._controller_name in ("impedance", "fzi")
        if checks_frame and message.header.frame_id != self._base_frame:
            self._refuse(f"is in frame {message.header.frame_id!r}, expected {self._base_frame!r}")
            return
        t_ns = self._tick_ns
        if self._controller_name == "impedance":
            t_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            self._newest = (t_ns, message)
        self._on_answer(t_ns)

    def take(self, t_ms: int) -> None:
        """Take the newest command in, before the tick that begins at `t_ms`."""
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is not None:
            self._line.put(t_ms + self._delay_ms, newest)

    @property
    def next_ms(self) -> int:
        """When the next command is due."""
        return self._line.next_ms

    def apply(self, controller: ArmController, t_ms: int, oldest_ns: int) -> None:
        """Hand on the commands that are due, except those older than `oldest_ns`. Raises `BadTargetError`."""
        for _, (sent_ns, message) in self._line.take(t_ms):
            if sent_ns < oldest_ns:
                continue
            if isinstance(controller, ImpedanceArm):
                controller.set_pose(pose_to_array(message.pose))
            elif isinstance(controller, EffortArm):
                controller.set_effort(message.data)
            elif isinstance(message, JointTrajectory):
                controller.set_trajectory(trajectory_points(message, sent_ns))
            else:
                controller.set_joints(message.data)


def trajectory_points(message: JointTrajectory, now_ns: int) -> list[JointPoint]:
    """Points of a trajectory in the order of the arm's joints; a zero stamp means `now_ns`.

    Raises:
        BadTargetError: other joints, or a point without a position for each.
    """
    if sorted(message.joint_names) != sorted(ARM_JOINTS):
        raise BadTargetError(f"a trajectory is for {', '.join(ARM_JOINTS)}, got {', '.join(message.joint_names)}")
    order = [list(message.joint_names).index(name) for name in ARM_JOINTS]
    start_ns = stamp_to_ns(message.header.stamp) or now_ns
    points = []
    for point in message.points:
        if len(point.positions) != len(order) or len(point.velocities) not in (0, len(order)):
            raise BadTargetError(
                f"a point has {len(point.positions)} positions and {len(point.velocities)} velocities for "
                f"{len(order)} joints"
            )
        position = np.array(point.positions)[order]
        velocity = np.array(point.velocities)[order] if len(point.velocities) else None
        points.append(JointPoint(1e-9 * (start_ns + stamp_to_ns(point.time_from_start)), position, velocity))
    return points
