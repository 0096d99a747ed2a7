"""Grippers behind ``control_msgs/action/GripperCommand`` (read in control_msgs 5.8, ros2_controllers jazzy 4.42).

The definition calls ``position`` a gap size, but the servers take it as the position of one finger joint:
gripper_action_controller hands it to its joint, franka's ``~/gripper_action`` doubles it to get the width. The
contract says that the width is the sum of ``streams.gripper.joint_names``, so the position sent is the width divided
by their number: half the width for two mirrored fingers, the width for a gripper that reports it in one joint.

Closing on an object ends as a stall: with ``allow_stalling: false``, the default of gripper_action_controller, the
goal is aborted then, which counts here as done if the fingers were closing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from action_msgs.msg import GoalStatus
from dp_core.contract import Contract
from rclpy.action import ActionClient
from rclpy.node import Node

from dp_control.grippers.action import send_goal
from dp_control.grippers.goal_tracker import Future
from dp_control.optional_interfaces import interfaces


@dataclass(frozen=True)
class CommandGoal:
    """Position of each finger joint in metres, and the largest force in newtons."""

    position_m: float
    max_effort_N: float

    def __str__(self) -> str:
        return f"finger position {1e3 * self.position_m:.0f} mm"


class GripperCommandServer:
    """See the module. Implements :class:`dp_control.grippers.action.ActionServer`."""

    def __init__(self, node: Node, contract: Contract) -> None:
        self._action = interfaces("control_msgs.action", "robot.gripper gripper_command").GripperCommand
        self._fingers = len(contract.streams["gripper"].joint_names)
        self.name = contract.robot.gripper_name or "gripper_controller/gripper_cmd"
        self._client = ActionClient(node, self._action, self.name)

    def goal(self, width_m: float, speed_m_s: float, force_N: float) -> CommandGoal:
        """The finger position for a width; the action has no speed."""
        return CommandGoal(float(width_m) / self._fingers, float(force_N))

    def ready(self) -> bool:
        """The server is there."""
        return bool(self._client.server_is_ready())

    def send(self, goal: CommandGoal) -> Future:
        """Send the position."""
        message = self._action.Goal()
        message.command.position, message.command.max_effort = goal.position_m, goal.max_effort_N
        return send_goal(self._client, message)

    def judge(self, goal: CommandGoal, status: int, result: Any) -> str:
        """Reached, or stopped by an object while closing."""
        if status == GoalStatus.STATUS_SUCCEEDED or (result.stalled and goal.position_m < result.position):
            return ""
        return "failed (stalled while opening)" if result.stalled else "failed"

    def close(self) -> None:
        """Destroy the client."""
        self._client.destroy()
