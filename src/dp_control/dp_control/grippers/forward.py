"""A position controller of the fingers: ``std_msgs/Float64MultiArray`` on ``<controller>/commands``.

The contract's gripper stream says that the width is the sum of its joints; each joint gets an equal share of it, in
the order of ``streams.gripper.joint_names``: half the width for two mirrored fingers, the width for a single joint.
Such a controller (ros2_controllers' forward_command_controller) has neither speed nor force; its limits are the
hardware's.
"""

from __future__ import annotations

from dp_core.contract import Contract
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from dp_control.arms.command_topic import CommandTopic


class ForwardGripper:
    """Publishes finger positions. Implements :class:`dp_control.interfaces.GripperBackEnd`."""

    def __init__(self, node: Node, contract: Contract) -> None:
        topic = contract.robot.gripper_name or "gripper_controller/commands"
        self._topic = CommandTopic(node, Float64MultiArray, topic, "the position controller of the fingers")
        self._fingers = len(contract.streams["gripper"].joint_names)
        self._width: float | None = None
        self._heard = False

    def send(self, width_m: float, speed_m_s: float, force_N: float, t_ns: int) -> None:
        """Publish the finger positions."""
        self._width = float(width_m)
        self._heard = not self._topic.problem(t_ns)
        self._publish()

    def _publish(self) -> None:
        assert self._width is not None
        self._topic.publish(Float64MultiArray(data=[self._width / self._fingers] * self._fingers))

    def step(self, t_ns: int) -> None:
        """Repeat the last width to a controller that came up after it was sent."""
        heard = not self._topic.problem(t_ns)
        if heard and not self._heard and self._width is not None:
            self._publish()
        self._heard = heard

    def problem(self, t_ns: int) -> str:
        """A second publisher, or nobody who listens."""
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Destroy the publisher."""
        self._topic.close()
