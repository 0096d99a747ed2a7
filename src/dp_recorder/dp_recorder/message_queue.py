"""The bounded queue between the thread that receives messages and the thread that writes them."""

import math
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
        self._wanted_bytes = 0
        self._high_water_messages = 0
        self._high_water_bytes = 0

    @property
    def high_water(self) -> tuple[int, int]:
        """Most messages and most bytes held at any time."""
        return self._high_water_messages, self._high_water_bytes

    @property
    def share(self) -> float:
        """How full the queue is, by messages or by bytes, in [0, 1]; what does not fit is refused."""
        return max(len(self._messages) / self._max_messages, self._bytes / self._max_bytes)

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
            if self._bytes >= self._wanted_bytes:
                self._changed.notify()
        return refused

    def take_all(self, timeout_s: float) -> list[QueuedMessage]:
        """Remove and return everything queued, waiting up to ``timeout_s`` for the first message."""
        return self.take(timeout_s)

    def take(
        self, timeout_s: float, most_bytes: float = math.inf, worthwhile_bytes: int = 0
    ) -> list[QueuedMessage]:
        """Remove and return the oldest messages.

        Args:
            timeout_s: Longest wait, s; what is there then is returned, however little.
            most_bytes: No further message is taken once there are so many; the rest stays and counts as queued.
            worthwhile_bytes: Waits for so many, which spares waking up for each message; 0 for any message.
        """
        taken: list[QueuedMessage] = []
        size = 0
        with self._changed:
            enough = self._bytes >= worthwhile_bytes if worthwhile_bytes else bool(self._messages)
            if not enough and not self._closed:
                self._wanted_bytes = worthwhile_bytes
                self._changed.wait(timeout_s)
                self._wanted_bytes = 0
            while self._messages and size < most_bytes:
                message = self._messages.popleft()
                size += len(message.data)
                taken.append(message)
            self._bytes -= size
        return taken

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
