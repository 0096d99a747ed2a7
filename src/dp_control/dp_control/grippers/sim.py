"""The gripper of the simulated cell: one dp_msgs/GripperCommand for each new width."""

from __future__ import annotations

from dp_core.contract import Contract
from dp_ros.messages import ns_to_stamp
from rclpy.node import Node

from dp_control.arms.command_topic import CommandTopic
from dp_msgs.msg import GripperCommand
from dp_ros import qos


class SimGripper:
    """Publishes on ``gripper/command``. Implements :class:`dp_control.interfaces.GripperBackEnd`."""

    def __init__(self, node: Node, contract: Contract) -> None:
        topic = contract.robot.gripper_name or "gripper/command"
        self._topic = CommandTopic(node, GripperCommand, topic, "the simulated cell", qos.STATE)

    def send(self, width_m: float, speed_m_s: float, force_N: float, t_ns: int) -> None:
        """Publish the command; the simulated fingers always go to the newest one."""
        message = GripperCommand(width=float(width_m), speed=float(speed_m_s), force=float(force_N))
        message.header.stamp = ns_to_stamp(t_ns)
        self._topic.publish(message)

    def step(self, t_ns: int) -> None:
        """Nothing is in flight: the topic is reliable."""

    def problem(self, t_ns: int) -> str:
        """A second publisher, or nobody who listens."""
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Destroy the publisher."""
        self._topic.close()
