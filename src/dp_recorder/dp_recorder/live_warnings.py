"""What the operator should know now: gaps, jitter, stale clocks, a slow disk, a disk that fills up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dp_recorder.gate import stream_problem
from dp_recorder.live_health import StreamHealth
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamSummary
from dp_recorder.verdict import jitter_limit_s

NANOSECONDS = 1_000_000_000
#: A loss is warned of for this long, s of ROS time.
LOSS_SHOWN_S = 5.0
#: A queue fuller than this means that the disk does not keep up.
QUEUE_SHARE = 0.25
#: So does data that reaches the disk later than this, s.
FLUSH_DELAY_S = 1.0
#: Less than this left at the present rate is worth a warning, minutes.
MINUTES_LEFT = 15.0
#: A clock has drifted when delays have changed by this since the start, s; or by half of `max_age_s` if that is less.
DRIFT_S = 0.05


@dataclass(frozen=True)
class DiskState:
    """The disk that is recorded to.

    Attributes:
        free_bytes: Free on it.
        min_free_bytes: Recording stops below this.
        written_bytes_per_s: What is being written, bytes/s; 0 while nothing is.
        queue_share: How full the queue before it is, [0, 1].
        flush_delay_s: How long the newest data on the disk took to get there, s.
    """

    free_bytes: int = 0
    min_free_bytes: int = 0
    written_bytes_per_s: float = 0.0
    queue_share: float = 0.0
    flush_delay_s: float = 0.0

    @property
    def minutes_left(self) -> float | None:
        """Until recording stops at the present rate; None while nothing is written."""
        if self.written_bytes_per_s <= 0.0:
            return None
        return max(0.0, (self.free_bytes - self.min_free_bytes) / self.written_bytes_per_s / 60.0)

    def warnings(self) -> list[str]:
        """What is wrong with it."""
        found = []
        if self.queue_share > QUEUE_SHARE:
            found.append(f"the disk is too slow: the queue before it is {100 * self.queue_share:.0f} % full")
        elif self.flush_delay_s > FLUSH_DELAY_S:
            found.append(f"the disk is slow: data takes {self.flush_delay_s:.1f} s to reach it")
        minutes = self.minutes_left
        if minutes is not None and minutes < MINUTES_LEFT:
            found.append(f"the disk is full in {minutes:.0f} min at the present rate")
        elif self.free_bytes < 2 * self.min_free_bytes:
            found.append(f"only {self.free_bytes / 2**30:.1f} GiB free on the disk")
        return found


class LiveWarnings:
    """Judges the streams time after time; remembers what changed. One thread calls it."""

    def __init__(self, streams: Sequence[RecordedStream], *, simulated: bool) -> None:
        """Judge streams; ``simulated``: ROS time is that of /clock."""
        self._streams = tuple(streams)
        self._simulated = simulated
        self.begin()

    def begin(self, health: Sequence[StreamHealth] = ()) -> None:
        """A new episode begins with the delays of ``health``; forget the losses of the one before."""
        self._delays = [state.delay_s if state.received else None for state in health] or [None] * len(self._streams)
        self._lost = [0] * len(self._streams)
        self._lost_at_ns: list[int | None] = [None] * len(self._streams)

    def stream_problems(
        self, health: Sequence[StreamHealth], summaries: Sequence[StreamSummary] | None, now_ns: int
    ) -> list[str]:
        """What is wrong with each stream now; empty texts where all is well.

        Args:
            health: The streams over the last seconds.
            summaries: The streams since the start of the open episode; None while none is open.
            now_ns: Present ROS time, ns.
        """
        problems = []
        for index, (stream, state) in enumerate(zip(self._streams, health, strict=True)):
            found = [self._state_problem(index, stream, state, now_ns)] if stream.required else []
            if summaries is not None:
                found.append(self._loss(index, summaries[index], now_ns))
            problems.append("; ".join(text for text in found if text))
        return problems

    def _state_problem(self, index: int, stream: RecordedStream, state: StreamHealth, now_ns: int) -> str:
        # Between two messages age grows by a period: that is no silence yet.
        patience_s = 1.0 / stream.rate_hz if stream.rate_hz else 0.0
        problem = stream_problem(stream, state, now_ns, simulated=self._simulated, patience_s=patience_s)
        if problem:
            return problem
        if stream.rate_hz and state.jitter_s > (limit_s := jitter_limit_s(stream.rate_hz)):
            return f"jitter of {1e3 * state.jitter_s:.0f} ms, allowed {1e3 * limit_s:.0f} ms"
        before_s = self._delays[index]
        if self._simulated or before_s is None or not state.received:
            return ""
        limit_s = min(DRIFT_S, 0.5 * stream.max_age_s) if stream.max_age_s else DRIFT_S
        if abs(state.delay_s - before_s) > limit_s:
            return (
                f"its clock drifts: stamps were {1e3 * before_s:.0f} ms old when received, "
                f"now {1e3 * state.delay_s:.0f} ms"
            )
        return ""

    def _loss(self, index: int, summary: StreamSummary, now_ns: int) -> str:
        absent = summary.missing_stamps if self._streams[index].required else 0
        lost = max(summary.lost + summary.frames_lost, absent) + summary.dropped
        if lost > self._lost[index]:
            self._lost[index], self._lost_at_ns[index] = lost, now_ns
        at_ns = self._lost_at_ns[index]
        if at_ns is None or now_ns - at_ns > LOSS_SHOWN_S * NANOSECONDS:
            return ""
        if summary.dropped:
            return f"{summary.dropped} messages dropped: this episode is spoilt"
        if summary.lost:
            return f"{summary.lost} of {summary.published} published messages lost"
        if summary.frames_lost:
            return f"{summary.frames_lost} frames lost between camera and driver"
        return f"{absent} samples missing by the stamps, longest gap {summary.max_gap_s:.2f} s"
