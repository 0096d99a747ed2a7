"""Subscriptions that lose nothing while a session waits: their messages are taken by hand, all that are there.

An executor of rclpy takes one message in a wake-up, which on a busy machine is slower than a cell publishes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from dp_ros import qos

DEPTH = 2000


class _UnservedGroup(CallbackGroup):
    """Keeps the executor away from the subscriptions."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return


class Inbox:
    """See the module. One thread.

    Args:
        node: owner of the subscriptions.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._group = _UnservedGroup()
        self._subscriptions: list[tuple[Any, Any, Callable[[Any], None]]] = []

    def listen(self, kind: Any, topic: str, callback: Callable[[Any], None]) -> None:
        """Take the messages of a topic, reliably where its publishers allow it; they should be there already."""
        profile = qos.matching_qos(self._node, topic, DEPTH)
        subscription = self._node.create_subscription(kind, topic, callback, profile, callback_group=self._group)
        self._subscriptions.append((subscription.handle, kind, callback))

    def empty(self) -> None:
        """Run the callbacks of all messages that have arrived."""
        for handle, kind, callback in self._subscriptions:
            with handle:
                while (taken := handle.take_message(kind, False)) is not None:
                    callback(taken[0])
