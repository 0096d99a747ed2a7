"""Rate, jitter, gaps, order, loss and clock offset of one stream of a bag, in constant memory."""

from dataclasses import dataclass
from typing import Any

from dp_recorder.bag_tools.finding import FAILURE, WARNING, BagFinding
from dp_recorder.bag_tools.running_quantiles import RunningQuantiles
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamStatistics
from dp_recorder.verdict import FUTURE_S, HIGHEST_RATE, JITTER_FLOOR_S

_SECOND_NS = 1_000_000_000
_GAP_PERIODS = 1.5
#: Below this share of the contract's rate a stream fails the check, and above the verdict's ``HIGHEST_RATE``.
LEAST_RATE_SHARE = 0.9
#: Drift between two clocks that is complained of, and the change of offset below which it is noise.
DRIFT_SHARE, DRIFT_S = 200e-6, 0.005
#: A drift is told from noise only over this time (s) and number of messages.
DRIFT_SPAN_S, DRIFT_MESSAGES = 10.0, 100


@dataclass(frozen=True)
class TimingLimits:
    """What a stream has to keep; None where nothing is asked.

    Attributes:
        required: Whether the contract asks for the stream.
        rate_hz: Its rate.
        max_age_s: Longest gap that may be bridged, s.
        counted: Whether the publisher's counter may be trusted.
        clocked: Whether receipt and stamp are of clocks that should agree (not in simulation).
    """

    required: bool = False
    rate_hz: float | None = None
    max_age_s: float | None = None
    counted: bool = True
    clocked: bool = True

    @staticmethod
    def of(stream: RecordedStream, counted: bool = True, clocked: bool = True) -> "TimingLimits":
        """Limits of a stream of the contract."""
        return TimingLimits(stream.required, stream.rate_hz, stream.max_age_s, counted, clocked)


class StreamTiming:
    """Statistics of one stream."""

    def __init__(self, topic: str, limits: TimingLimits) -> None:
        """Start with nothing.

        Args:
            topic: Full name.
            limits: What is asked of the stream.
        """
        self.topic = topic
        self._limits = limits
        self._counts = StreamStatistics(limits.rate_hz)
        if not limits.counted:
            self._counts.publisher_ambiguous()
        self._intervals = RunningQuantiles()
        self._offsets = RunningQuantiles()
        self._drift = _Line()
        self._gap_ns = int(_GAP_PERIODS * _SECOND_NS / limits.rate_hz) if limits.rate_hz else None
        self._gaps = 0
        self._longest_at_ns = 0
        self._order_at_ns: int | None = None
        self._log_disorder = 0
        self._last_stamp_ns: int | None = None
        self._last_log_ns = 0
        self._first_log_ns = 0

    def add(self, log_ns: int, stamp_ns: int, sequence: int, size: int) -> None:
        """Take one message: receipt and acquisition time in ns, the publisher's counter, and its size in bytes."""
        self._counts.add(stamp_ns, sequence, size)
        offset_s = (log_ns - stamp_ns) / _SECOND_NS
        self._offsets.add(offset_s)
        if self._last_stamp_ns is None:
            self._first_log_ns = log_ns
        else:
            self._add_interval(stamp_ns - self._last_stamp_ns, log_ns)
            self._log_disorder += log_ns < self._last_log_ns
        self._drift.add((log_ns - self._first_log_ns) / _SECOND_NS, offset_s)
        self._last_stamp_ns = stamp_ns if self._last_stamp_ns is None else max(self._last_stamp_ns, stamp_ns)
        self._last_log_ns = log_ns

    def _add_interval(self, interval_ns: int, log_ns: int) -> None:
        if interval_ns <= 0:
            if self._order_at_ns is None:
                self._order_at_ns = log_ns
            return
        if interval_ns > self._intervals.maximum * _SECOND_NS:
            self._longest_at_ns = log_ns - interval_ns
        self._intervals.add(interval_ns / _SECOND_NS)
        self._gaps += self._gap_ns is not None and interval_ns > self._gap_ns

    def row(self) -> dict[str, Any]:
        """The figures. Times in s; jitter is the distance of an interval from the contract's period."""
        summary = self._counts.summary()
        period_s = 1.0 / self._limits.rate_hz if self._limits.rate_hz else self._intervals.quantile(0.5)
        late = [self._intervals.quantile(share) - period_s for share in (0.01, 0.5, 0.99)]
        extremes = [self._intervals.minimum - period_s, self._intervals.maximum - period_s]
        return {
            "topic": self.topic,
            "required": self._limits.required,
            "messages": summary.received,
            "bytes": summary.bytes,
            "rate_hz": summary.rate_hz,
            "expected_rate_hz": self._limits.rate_hz,
            "jitter_p50_s": abs(late[1]),
            "jitter_p99_s": max(map(abs, (late[0], late[2]))) if self._intervals.count else 0.0,
            "jitter_max_s": max(map(abs, extremes)) if self._intervals.count else 0.0,
            "gaps": self._gaps,
            "longest_gap_s": self._intervals.maximum,
            "lost": summary.lost,
            "published": summary.published,
            "out_of_order": summary.out_of_order,
            "log_out_of_order": self._log_disorder,
            "offset_median_s": self._offsets.quantile(0.5),
            "offset_spread_s": self._offsets.quantile(0.99) - self._offsets.quantile(0.01),
            "offset_drift": self._drift.slope if self._shows_drift(summary.received) else None,
        }

    def findings(self, bag_start_ns: int, bag_end_ns: int) -> list[BagFinding]:
        """What is wrong with the stream in a bag of this span, log time in ns."""
        row, limits = self.row(), self._limits
        found: list[BagFinding] = []

        def complain(level: str, what: str, at_ns: int | None = None) -> None:
            at_s = None if at_ns is None else (at_ns - bag_start_ns) / _SECOND_NS
            found.append(BagFinding(level, self.topic, what, at_s))

        severe = FAILURE if limits.required else WARNING
        if row["messages"] == 0:
            if limits.required:
                complain(FAILURE, "no messages")
            return found
        share = row["rate_hz"] / limits.rate_hz if limits.rate_hz and row["messages"] > 1 else 1.0
        if not LEAST_RATE_SHARE <= share <= HIGHEST_RATE:
            complain(severe, f"{row['rate_hz']:.2f} Hz, the contract asks for {limits.rate_hz:g} Hz")
        if limits.max_age_s and row["longest_gap_s"] > limits.max_age_s:
            what = f"gap of {row['longest_gap_s']:.3f} s between stamps, allowed {limits.max_age_s:g} s"
            complain(severe, what, self._longest_at_ns)
        if limits.rate_hz and row["jitter_p99_s"] > max(0.5 / limits.rate_hz, JITTER_FLOOR_S):
            complain(WARNING, f"jitter of {1e3 * row['jitter_p99_s']:.1f} ms (99th percentile)")
        if row["lost"]:
            complain(FAILURE, f"{row['lost']} of {row['published']} published messages lost")
        if row["out_of_order"]:
            complain(severe, f"{row['out_of_order']} stamps not after their predecessor", self._order_at_ns)
        if row["log_out_of_order"]:
            complain(WARNING, f"{row['log_out_of_order']} messages received before their predecessor")
        self._check_span(complain, bag_start_ns, bag_end_ns)
        if limits.clocked:
            self._check_clock(complain, row, severe)
        return found

    def _check_span(self, complain: Any, bag_start_ns: int, bag_end_ns: int) -> None:
        if not self._limits.required or self._limits.max_age_s is None:
            return
        late_s, early_s = (self._first_log_ns - bag_start_ns) / 1e9, (bag_end_ns - self._last_log_ns) / 1e9
        if late_s > self._limits.max_age_s:
            complain(FAILURE, f"nothing in the first {late_s:.2f} s", bag_start_ns)
        if early_s > self._limits.max_age_s:
            complain(FAILURE, f"nothing in the last {early_s:.2f} s", self._last_log_ns)

    def _check_clock(self, complain: Any, row: dict[str, Any], severe: str) -> None:
        median_s = row["offset_median_s"]
        if median_s < -FUTURE_S:
            complain(severe, f"stamps lie {-median_s:.3f} s in the future: its clock is ahead of the recorder's")
        elif self._limits.max_age_s and median_s > self._limits.max_age_s:
            what = f"stamps are {median_s:.3f} s old when they arrive, allowed {self._limits.max_age_s:g} s"
            complain(severe, f"{what}: its clock is behind, or the link is slow")
        drift = row["offset_drift"]
        if drift is None:
            return
        change_s = abs(drift) * (self._last_log_ns - self._first_log_ns) / 1e9
        if abs(drift) > DRIFT_SHARE and change_s > max(DRIFT_S, row["offset_spread_s"] / 2):
            complain(WARNING, f"its clock drifts by {1e6 * drift:.0f} ppm, {change_s:.3f} s in this bag")

    def _shows_drift(self, messages: int) -> bool:
        return messages >= DRIFT_MESSAGES and self._last_log_ns - self._first_log_ns >= DRIFT_SPAN_S * _SECOND_NS


class _Line:
    """Least squares of a straight line through (x, y) in constant memory."""

    def __init__(self) -> None:
        self._n = 0
        self._x = self._y = self._xx = self._xy = 0.0

    def add(self, x: float, y: float) -> None:
        # Running means keep the sums small, whatever the span (Welford).
        self._n += 1
        dx = x - self._x
        self._x += dx / self._n
        self._y += (y - self._y) / self._n
        self._xx += dx * (x - self._x)
        self._xy += dx * (y - self._y)

    @property
    def slope(self) -> float:
        return self._xy / self._xx if self._xx > 0 else 0.0
