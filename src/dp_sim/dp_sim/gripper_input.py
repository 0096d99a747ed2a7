"""Commands to the gripper as they come over DDS."""

from __future__ import annotations

import threading

from dp_ros.messages import stamp_to_ns
from rclpy.node import Node

from dp_msgs.msg import GripperCommand
from dp_ros import qos
from dp_sim.cell import SimulatedCell
from dp_sim.delays import DelayLine


class GripperInput:
    """The callback stores commands, the physics thread applies them in order.

    Args:
        node: owns the subscription.
        delay_ms: the gripper takes a command this much later, in physics time.
    """

    def __init__(self, node: Node, delay_ms: int = 0) -> None:
        self._lock = threading.Lock()
        self._received: list[GripperCommand] = []
        self._delay_ms = delay_ms
        self._line: DelayLine[GripperCommand] = DelayLine()
        node.create_subscription(GripperCommand, "gripper/command", self._on_message, qos.STATE)

    def _on_message(self, message: GripperCommand) -> None:
        with self._lock:
            self._received.append(message)

    def take(self, t_ms: int) -> None:
        """Take the new commands in, before the tick that begins at `t_ms`."""
        with self._lock:
            received, self._received = self._received, []
        for message in received:
            self._line.put(t_ms + self._delay_ms, message)

    @property
    def next_ms(self) -> int:
        """When the next command is due."""
        return self._line.next_ms

    def apply(self, cell: SimulatedCell, oldest_ns: int) -> None:
        """Hand on the commands that are due, except those older than `oldest_ns`. Raises `BadTargetError`."""
        for _, message in self._line.take(cell.t_ms):
            if stamp_to_ns(message.header.stamp) >= oldest_ns:
                cell.set_gripper(message.width, message.speed, message.force)
