"""Commands as poses of the end effector: the simulated cell, crisp_controllers and FZI's cartesian_controllers.

Read in their sources: crisp_controllers v1.0.0 (``src/cartesian_controller.cpp``) subscribes ``target_pose``,
relative to the controller manager's namespace, reliable with depth 1. It reads neither frame nor stamp, does not
check values, keeps the last target for ever, and ignores all messages while the topic has two publishers.
cartesian_controllers, branch ros2 at f53f798, subscribes ``<controller>/target_frame``, reliable with depth 3, and
drops NaN and any ``frame_id`` but its ``robot_base_link``; it too keeps the last target.
"""

from __future__ import annotations

from dp_core.contract import Contract
from dp_ros.messages import fill_pose, ns_to_stamp
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node

from dp_control.arms.command_topic import NEWEST_ONLY, CommandTopic
from dp_control.interfaces import ArmCommand
from dp_ros import qos

# Who listens, its own topic, and the QoS offered: the recorder must not miss a target of the simulated cell.
_LISTENERS = {
    "impedance": ("the simulated cell", "robot/target_pose", qos.COMMAND_OUT),
    "crisp": ("crisp's cartesian controller", "target_pose", NEWEST_ONLY),
    "fzi": ("FZI's cartesian controller", "cartesian_motion_controller/target_frame", NEWEST_ONLY),
}


class PoseBackEnd:
    """Sends a PoseStamped in the base frame each cycle. Implements :class:`dp_control.interfaces.ArmBackEnd`."""

    needs_joints = False

    def __init__(self, node: Node, contract: Contract) -> None:
        listener, default, profile = _LISTENERS[contract.robot.resolved_controller]
        self._topic = CommandTopic(node, PoseStamped, contract.robot.topic or default, listener, profile)
        self._message = PoseStamped()
        self._message.header.frame_id = contract.base_frame

    def send(self, command: ArmCommand) -> None:
        """Publish the pose, stamped with the cycle's time."""
        self._message.header.stamp = ns_to_stamp(command.t_ns)
        fill_pose(self._message.pose, command.pose)
        self._topic.publish(self._message)

    def release(self) -> None:
        """Nothing to send: the controllers keep their last target, which is where control stopped."""

    def problem(self, t_ns: int) -> str:
        """A second publisher, or nobody who listens."""
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Destroy the publisher."""
        self._topic.close()
