"""A topic on which control commands a controller, and what its graph says: who listens, who else publishes."""

from __future__ import annotations

from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile

from dp_ros import qos

# The graph changes within tenths of a second at best: no need to ask it in each cycle.
GRAPH_CHECK_NS = 100_000_000
# How long the end waits for a reader to take the last message.
LAST_MESSAGE_S = 0.5
# A real controller must get the newest command only: a deeper reliable history would replay old ones after a stall.
NEWEST_ONLY = qos.COMMAND_IN


class CommandTopic:
    """One publisher and the checks that every back end makes on its topic. Used by one thread.

    Args:
        node: owns the publisher.
        message_type: ROS message class.
        topic: relative or absolute name.
        profile: QoS offered.
        listener: who should subscribe, for the text of :meth:`problem`.
    """

    def __init__(
        self, node: Node, message_type: Any, topic: str, listener: str, profile: QoSProfile = NEWEST_ONLY
    ) -> None:
        self._node = node
        self._publisher = node.create_publisher(message_type, topic, profile)
        self._listener = listener
        self._topic = self._publisher.topic_name
        self._checked_ns: int | None = None
        self._problem = ""

    def publish(self, message: Any) -> None:
        """Send one message; with a history of the newest ones only, this does not wait for slow readers."""
        self._publisher.publish(message)

    def problem(self, t_ns: int) -> str:
        """Why nobody would obey what is sent, or empty. ``t_ns``: ROS time, sets the pace of asking the graph."""
        if self._checked_ns is None or not 0 <= t_ns - self._checked_ns < GRAPH_CHECK_NS:
            self._checked_ns = t_ns
            self._problem = self._check()
        return self._problem

    def _check(self) -> str:
        others = self._node.count_publishers(self._topic) - 1
        if others > 0:
            return f"{others} other publisher(s) on {self._topic}: only control may command the arm; end them"
        if self._publisher.get_subscription_count() == 0:
            return f"nobody listens on {self._topic}: is {self._listener} running and configured?"
        return ""

    def close(self) -> None:
        """Destroy the publisher, once the last message has arrived: a torque that ends in zero must end in zero."""
        # False after the timeout (a reader that hangs), which nothing here can mend.
        self._publisher.wait_for_all_acked(Duration(seconds=LAST_MESSAGE_S))
        self._node.destroy_publisher(self._publisher)
