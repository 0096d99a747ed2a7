"""The bounded queue between the thread that receives messages and the thread that writes them."""

import threading
from collections import deque
from typing import NamedTuple


class QueuedMessage(NamedTuple):
    """One serialized message on its way to the bag.

    Attributes:
        stream: Index of its stream.
        data: Serialized message.
        log_time_ns: Receipt time, ROS clock, ns.
        publish_time_ns: Acquisition stamp of the header, ROS clock, ns.
        sequence: The publisher's own count of messages, zero if unknown.
    """

    stream: int
    data: bytes
    log_time_ns: int
    publish_time_ns: int
    sequence: int


class MessageQueue:
    """A first-in first-out queue bounded by messages and by bytes; what does not fit is refused.

    Refusing the newest keeps what is already recorded contiguous. One thread may put, another take.
    """

    def __init__(self, max_messages: int = 20_000, max_bytes: int = 256 * 2**20) -> None:
        """Make an empty queue.

        Args:
            max_messages: Most messages held.
            max_bytes: Most bytes of message data held.
        """
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._messages: deque[QueuedMessage] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closed = False
        self._high_water_messages = 0
        self._high_water_bytes = 0

    @property
    def high_water(self) -> tuple[int, int]:
        """Most messages and most bytes held at any time."""
        return self._high_water_messages, self._high_water_bytes

    def put_all(self, messages: list[QueuedMessage]) -> list[QueuedMessage]:
        """Append messages.

        Returns:
            Those refused because the queue is full or closed, in order; empty while all is well.
        """
        refused: list[QueuedMessage] = []
        with self._changed:
            for message in messages:
                size = len(message.data)
                full = len(self._messages) >= self._max_messages or self._bytes + size > self._max_bytes
                if self._closed or full:
                    refused.append(message)
                    continue
                self._messages.append(message)
                self._bytes += size
            self._high_water_messages = max(self._high_water_messages, len(self._messages))
            self._high_water_bytes = max(self._high_water_bytes, self._bytes)
            self._changed.notify()
        return refused

    def take_all(self, timeout_s: float) -> list[QueuedMessage]:
        """Remove and return everything queued, waiting up to ``timeout_s`` for the first message."""
        with self._changed:
            if not self._messages and not self._closed:
                self._changed.wait(timeout_s)
            taken, self._messages = self._messages, deque()
            self._bytes = 0
        return list(taken)

    def close(self) -> None:
        """Refuse further messages; those queued can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    @property
    def finished(self) -> bool:
        """True when closed and empty."""
        with self._changed:
            return self._closed and not self._messages
