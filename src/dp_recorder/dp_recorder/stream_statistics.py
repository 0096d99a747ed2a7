"""Counts, rates and gaps of one recorded stream, from its stamps and its publisher's own counter."""

from dataclasses import dataclass

from dp_recorder.duration_histogram import DurationHistogram

NANOSECONDS = 1_000_000_000
_GAP_PERIODS = 1.5


@dataclass(frozen=True)
class StreamSummary:
    """What is known about a stream of one episode.

    Attributes:
        received: Messages that arrived.
        published: Messages that the publisher sent in the same span, by its own counter; None if the
            counter is unknown (several publishers, or none that counts).
        lost: Sent but never received (``published - received``); 0 where ``published`` is unknown.
        missing_stamps: Samples absent from a regular stream, judged by the stamps at the contract's rate.
        dropped: Received but not written: refused by the recorder's queue, or no image that can be compressed.
        out_of_order: Messages whose stamp is not after that of their predecessor.
        first_stamp_ns: Acquisition stamp of the first message; None if there was none.
        last_stamp_ns: Acquisition stamp of the newest message; None if there was none.
        rate_hz: Mean rate by the stamps.
        max_gap_s: Longest interval between consecutive stamps, s.
        bytes: Size of all messages received.
        jitter_s: 99th percentile of |interval - period| of the stamps, s, to 6 per cent; 0 without a rate.
        delay_s: Median of receipt minus stamp, s, to 6 per cent; 0 where no receipt is known.
        frames_lost: Frames that a camera took and its driver never published, by the camera's own counter.
    """

    received: int
    published: int | None
    lost: int
    missing_stamps: int
    dropped: int
    out_of_order: int
    first_stamp_ns: int | None
    last_stamp_ns: int | None
    rate_hz: float
    max_gap_s: float
    bytes: int
    jitter_s: float = 0.0
    delay_s: float = 0.0
    frames_lost: int = 0


class StreamStatistics:
    """Running statistics of one stream; constant memory.

    One thread calls ``add`` and ``add_dropped``, one ``add_unwritable``; ``summary`` may be called from another and
    is then at most one message old.
    """

    def __init__(self, expected_rate_hz: float | None = None, sequence_before: int | None = None) -> None:
        """Start with nothing received.

        Args:
            expected_rate_hz: Rate of the contract; None for streams that come when they please.
            sequence_before: The publisher's counter before the first message that counts, so that a
                message lost right at the start is noticed; None if not seen yet.
        """
        self._gap_ns = int(_GAP_PERIODS * NANOSECONDS / expected_rate_hz) if expected_rate_hz else None
        self._rate_hz = expected_rate_hz
        self._period_ns = round(NANOSECONDS / expected_rate_hz) if expected_rate_hz else 0
        self._jitter = DurationHistogram()
        self._delay = DurationHistogram()
        self._sequence_base: int | None = None
        self._sequence_last: int | None = None
        self.begin_after(sequence_before)
        self._published_closed = 0
        self._counter_known = True
        self._received = 0
        self._missing_stamps = 0
        self._dropped = 0
        self._unwritable = 0
        self._out_of_order = 0
        self._first_ns: int | None = None
        self._last_ns = 0
        self._max_gap_ns = 0
        self._bytes = 0
        self._frames_lost = 0

    @property
    def received(self) -> int:
        """Messages received so far."""
        return self._received

    def add(self, stamp_ns: int, sequence: int, size: int, received_ns: int | None = None) -> None:
        """Count one message.

        Args:
            stamp_ns: Acquisition stamp, ns.
            sequence: The publisher's counter, starting at 1; 0 or less if the middleware gives none.
            size: Bytes.
            received_ns: Receipt, on the clock of the stamps, ns; None if not known.
        """
        self._received += 1
        if received_ns is not None:
            self._delay.add(received_ns - stamp_ns)
        self._bytes += size
        self._count_sequence(sequence)
        if self._first_ns is None:
            self._first_ns = stamp_ns
            self._last_ns = stamp_ns
            return
        gap_ns = stamp_ns - self._last_ns
        if gap_ns <= 0:
            self._out_of_order += 1
            return
        self._last_ns = stamp_ns
        self._max_gap_ns = max(self._max_gap_ns, gap_ns)
        if self._period_ns:
            self._jitter.add(abs(gap_ns - self._period_ns))
        if self._gap_ns is not None and self._rate_hz is not None and gap_ns > self._gap_ns:
            self._missing_stamps += max(1, round(gap_ns * self._rate_hz / NANOSECONDS) - 1)

    def add_dropped(self, count: int = 1) -> None:
        """Count messages that were received but refused by the queue."""
        self._dropped += count

    def add_unwritable(self) -> None:
        """Count a message that the queue took and that could not be written."""
        self._unwritable += 1

    def add_frames_lost(self, count: int) -> None:
        """Count frames that the camera took and nobody published."""
        self._frames_lost += count

    def published_at_least(self, sequence: int) -> None:
        """Learn from elsewhere that the publisher's counter has reached ``sequence``.

        Reveals messages lost at the very end, which no later message shows.
        """
        if self._counter_known and self._sequence_last is not None and sequence > self._sequence_last:
            self._sequence_last = sequence

    def begin_after(self, sequence: int | None) -> None:
        """Set the publisher's counter before the first message that counts; only before the first ``add``."""
        self._sequence_base = self._sequence_last = sequence

    def publisher_ambiguous(self) -> None:
        """Stop trusting the counter: several publishers send on this topic."""
        self._counter_known = False

    def _count_sequence(self, sequence: int) -> None:
        if sequence <= 0:
            self._counter_known = False
            return
        if self._sequence_base is None:
            self._sequence_base = sequence - 1
        elif self._sequence_last is not None and sequence <= self._sequence_last:
            # The publisher was restarted and counts from one again.
            self._published_closed += self._sequence_last - self._sequence_base
            self._sequence_base = sequence - 1
        self._sequence_last = sequence

    def _published(self) -> int | None:
        if not self._counter_known:
            return None
        if self._sequence_base is None or self._sequence_last is None:
            return 0
        return self._published_closed + self._sequence_last - self._sequence_base

    def summary(self) -> StreamSummary:
        """Present state of the stream."""
        published = self._published()
        span_ns = self._last_ns - self._first_ns if self._first_ns is not None else 0
        in_order = self._received - self._out_of_order
        return StreamSummary(
            received=self._received,
            published=published,
            lost=max(0, published - self._received) if published is not None else 0,
            missing_stamps=self._missing_stamps,
            dropped=self._dropped + self._unwritable,
            out_of_order=self._out_of_order,
            first_stamp_ns=self._first_ns,
            last_stamp_ns=self._last_ns if self._first_ns is not None else None,
            rate_hz=(in_order - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0,
            max_gap_s=self._max_gap_ns / NANOSECONDS,
            bytes=self._bytes,
            jitter_s=self._jitter.quantile_ns(0.99) / NANOSECONDS,
            delay_s=self._delay.quantile_ns(0.5) / NANOSECONDS,
            frames_lost=self._frames_lost,
        )
