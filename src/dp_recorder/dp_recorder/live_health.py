"""How the streams are doing right now: rate, jitter, delay and age over the last seconds, recording or not.

The operator must see a dead camera before he starts, so this looks at everything that is received at any time, and
keeps little: stamp and receipt of the last seconds of each stream.
"""

from __future__ import annotations

import itertools
import statistics
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream

NANOSECONDS = 1_000_000_000
#: Time that the live figures cover, s; more for streams so slow that it holds less than five of their periods.
LIVE_WINDOW_S = 2.0
_PERIODS = 5
_FREE_RUNNING_LENGTH = 200
_LONGEST = 10_000
_FROZEN_AFTER = 3
_KEPT_EXCESS = 3.0  # streams that come up to this much too fast are still kept for the whole window


@dataclass(frozen=True)
class StreamHealth:
    """A stream over the last seconds.

    Attributes:
        received: Messages in the window.
        span_s: Time between the first and the last stamp of the window, s.
        rate_hz: Rate by those stamps; 0 while it cannot be told.
        max_gap_s: Longest interval between consecutive stamps of the window, s.
        jitter_s: 99th percentile of |interval - period|, s; 0 without a rate in the contract.
        delay_s: Median of receipt minus stamp, s.
        newest_stamp_ns: Newest stamp ever, ns; None if nothing came yet.
        newest_received_ns: Its receipt, ns; None if nothing came yet.
        frozen: Messages come, but their stamps do not advance.
    """

    received: int = 0
    span_s: float = 0.0
    rate_hz: float = 0.0
    max_gap_s: float = 0.0
    jitter_s: float = 0.0
    delay_s: float = 0.0
    newest_stamp_ns: int | None = None
    newest_received_ns: int | None = None
    frozen: bool = False

    def age_s(self, now_ns: int) -> float | None:
        """Age of the newest stamp, s; None if nothing came yet."""
        return None if self.newest_stamp_ns is None else (now_ns - self.newest_stamp_ns) / NANOSECONDS


class LiveHealth:
    """Remembers the last seconds of every stream. A message sink: one thread puts, any other looks."""

    def __init__(self, streams: Sequence[RecordedStream]) -> None:
        """Watch streams; messages carry the index into this sequence."""
        self._streams = tuple(streams)
        self._lock = threading.Lock()
        self._recent: list[deque[tuple[int, int]]] = [deque(maxlen=_length(stream)) for stream in self._streams]

    def put(self, messages: list[QueuedMessage]) -> int:
        """Take note of messages; none is kept, none refused."""
        with self._lock:
            for message in messages:
                self._recent[message.stream].append((message.publish_time_ns, message.log_time_ns))
        return 0

    def look(self, now_ns: int, window_s: float = LIVE_WINDOW_S) -> tuple[StreamHealth, ...]:
        """The streams over the ``window_s`` up to ``now_ns`` (ROS clock), in their order."""
        with self._lock:
            recent = [list(entries) for entries in self._recent]
        return tuple(
            measure(entries, stream.rate_hz, now_ns, window_s)
            for stream, entries in zip(self._streams, recent, strict=True)
        )


def measure(
    entries: Sequence[tuple[int, int]], expected_rate_hz: float | None, now_ns: int, window_s: float
) -> StreamHealth:
    """Figures of one stream.

    Args:
        entries: Stamp and receipt of its messages as they came, ns.
        expected_rate_hz: Rate of the contract; None if it has none.
        now_ns: End of the window, ns.
        window_s: Length of the window, s; longer where it would hold less than five periods.
    """
    if not entries:
        return StreamHealth()
    if expected_rate_hz:
        window_s = max(window_s, _PERIODS / expected_rate_hz)
    begin_ns = now_ns - round(window_s * NANOSECONDS)
    shown = [entry for entry in entries if entry[1] >= begin_ns]
    newest_ns, received_ns = entries[-1]
    frozen = len(shown) >= _FROZEN_AFTER and all(stamp == newest_ns for stamp, _ in shown[-_FROZEN_AFTER:])
    if len(shown) < 2:
        return StreamHealth(len(shown), newest_stamp_ns=newest_ns, newest_received_ns=received_ns)
    stamps = [stamp for stamp, _ in shown]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps) if later > earlier]
    span_ns = sum(steps)
    return StreamHealth(
        received=len(shown),
        span_s=span_ns / NANOSECONDS,
        rate_hz=len(steps) * NANOSECONDS / span_ns if span_ns else 0.0,
        max_gap_s=max(steps, default=0) / NANOSECONDS,
        jitter_s=_jitter_s(steps, expected_rate_hz),
        delay_s=statistics.median(received - stamp for stamp, received in shown) / NANOSECONDS,
        newest_stamp_ns=newest_ns,
        newest_received_ns=received_ns,
        frozen=frozen,
    )


def _jitter_s(steps: Sequence[int], expected_rate_hz: float | None) -> float:
    if not expected_rate_hz or not steps:
        return 0.0
    period_ns = NANOSECONDS / expected_rate_hz
    deviations = sorted(abs(step - period_ns) for step in steps)
    return deviations[-(-99 * len(deviations) // 100) - 1] / NANOSECONDS


def _length(stream: RecordedStream) -> int:
    if stream.rate_hz is None:
        return _FREE_RUNNING_LENGTH
    return min(_LONGEST, int(_KEPT_EXCESS * LIVE_WINDOW_S * stream.rate_hz) + 4 * _PERIODS)
