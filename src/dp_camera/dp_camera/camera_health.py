"""How a camera is doing: counts, rate, jitter and delay, and what of it deserves a warning. Pure."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from dp_core.frame_gaps import FrameGaps, GapSummary

from dp_camera.clock_map import ClockFit

#: Frames looked at for rate, jitter and delay.
_WINDOW = 150
_LEAST_RATE = 0.9
_DOUBTFUL_STAMP_NS = 3_000_000


class Level(IntEnum):
    """As in diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class HealthReport:
    """One status: level, one line, and figures by name."""

    level: Level
    message: str
    values: dict[str, str]


@dataclass(frozen=True)
class _Counts:
    lost: int = 0
    repeats: int = 0
    bad: int = 0
    refused: int = 0
    steps: int = 0


class CameraHealth:
    """Watches one camera. One thread records, another asks for reports.

    Args:
        rate_hz: that the camera should have.
        stall_s: without a frame for this long it is said to stall, s.
    """

    def __init__(self, rate_hz: float, stall_s: float) -> None:
        self._rate_hz = rate_hz
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._gaps = FrameGaps()
        self._frames: deque[tuple[int, int]] = deque(maxlen=_WINDOW)
        self._last_ns: int | None = None
        self._problem = "not started"
        self._notes: tuple[str, ...] = ()
        self._domain = ""
        self._published = self._bad = self._refused = self._settling = self._starts = 0
        self._reported = _Counts()

    def started(self, now_ns: int, notes: tuple[str, ...]) -> None:
        """The camera sends, or is about to."""
        with self._lock:
            self._starts += 1
            self._problem, self._notes = "", notes
            self._gaps.restart()
            self._frames.clear()
            self._last_ns = now_ns

    def lost(self, problem: str) -> None:
        """The camera is gone, or was never there."""
        with self._lock:
            self._problem = problem

    def arrived(self, number: int, domain: str, now_ns: int) -> int:
        """A frame came; returns how many are missing before it."""
        with self._lock:
            self._last_ns, self._domain = now_ns, domain
            return self._gaps.add(number)

    def published(self, stamp_ns: int, received_ns: int) -> None:
        """It was published with this stamp."""
        with self._lock:
            self._published += 1
            self._frames.append((stamp_ns, received_ns))

    def bad_frame(self) -> None:
        """What came is no frame of this camera."""
        with self._lock:
            self._bad += 1

    def withheld(self, settling: bool) -> None:
        """A frame was not published: the clocks are being compared, or it is not after its predecessor."""
        with self._lock:
            if settling:
                self._settling += 1
            else:
                self._refused += 1

    @property
    def gaps(self) -> GapSummary:
        """By the camera's counter."""
        with self._lock:
            return self._gaps.summary

    def silent_s(self, now_ns: int) -> float:
        """Since the last frame or start, s."""
        with self._lock:
            return 0.0 if self._last_ns is None else 1e-9 * (now_ns - self._last_ns)

    def report(self, now_ns: int, fit: ClockFit, temperatures: dict[str, float]) -> HealthReport:
        """The present status; warnings are about what happened since the last one."""
        with self._lock:
            return self._report(now_ns, fit, temperatures)

    def _report(self, now_ns: int, fit: ClockFit, temperatures: dict[str, float]) -> HealthReport:
        rate_hz, jitter_ms, delay_ms = self._timing()
        gaps = self._gaps.summary
        silent_s = 0.0 if self._last_ns is None else 1e-9 * (now_ns - self._last_ns)
        now = _Counts(gaps.lost, gaps.repeats, self._bad, self._refused, fit.steps + fit.resets)
        values = {
            "rate_hz": f"{rate_hz:.2f}",
            "jitter_ms_p99": f"{jitter_ms:.3f}",
            "delay_ms_p50": f"{delay_ms:.2f}",
            "frames": str(gaps.frames),
            "published": str(self._published),
            "lost": str(gaps.lost),
            "gaps": str(gaps.gaps),
            "longest_gap": str(gaps.longest_gap),
            "repeats": str(gaps.repeats),
            "bad_frames": str(self._bad),
            "refused_stamps": str(self._refused),
            "settling_frames": str(self._settling),
            "silent_s": f"{silent_s:.2f}",
            "reconnects": str(max(0, self._starts - 1)),
            "clock_domain": self._domain,
            "clock_drift_ppm": f"{fit.drift_ppm:.2f}",
            "clock_uncertainty_ms": f"{1e-6 * fit.uncertainty_ns:.3f}" if fit.settled else "none",
            "clock_window_s": f"{fit.span_s:.0f}",
            "clock_resets": str(fit.resets),
            "clock_steps": str(fit.steps),
            "clock_outliers": str(fit.outliers),
            **{f"temperature_{name}_C": f"{value:.1f}" for name, value in temperatures.items()},
        }
        problem = self._problem or (f"no frame for {silent_s:.1f} s" if silent_s > self._stall_s else "")
        if problem:
            self._reported = now
            return HealthReport(Level.ERROR, problem, values)
        doubts = self._doubts(now, rate_hz, fit)
        self._reported = now
        level = Level.WARN if doubts else Level.OK
        return HealthReport(level, "; ".join(doubts) or f"{rate_hz:.1f} Hz", values)

    def _doubts(self, now: _Counts, rate_hz: float, fit: ClockFit) -> list[str]:
        before = self._reported
        doubts = [
            f"{count} {what}"
            for count, what in (
                (now.lost - before.lost, "frames lost"),
                (now.repeats - before.repeats, "frames repeated"),
                (now.bad - before.bad, "bad frames"),
                (now.refused - before.refused, "frames not after their predecessor"),
                (now.steps - before.steps, "steps of the camera's clock"),
            )
            if count
        ]
        if not fit.settled:
            doubts.append("comparing the clocks, nothing is published yet")
        elif fit.uncertainty_ns > _DOUBTFUL_STAMP_NS:
            doubts.append(f"stamps good to {1e-6 * fit.uncertainty_ns:.1f} ms only")
        if len(self._frames) == _WINDOW and rate_hz < _LEAST_RATE * self._rate_hz:
            doubts.append(f"{rate_hz:.1f} Hz instead of {self._rate_hz:g}")
        if self._domain == "system_time":
            doubts.append("no hardware stamps (kernel without metadata): stamps are of the arrival")
        return [*doubts, *self._notes]

    def _timing(self) -> tuple[float, float, float]:
        """Rate, Hz; 99th percentile of |interval - period|, ms; median of receipt minus stamp, ms."""
        if len(self._frames) < 3:
            return 0.0, 0.0, 0.0
        times = np.array(self._frames, dtype=np.int64)
        intervals = np.diff(times[:, 0]) * 1e-9
        span_s = float(intervals.sum())
        rate_hz = len(intervals) / span_s if span_s > 0 else 0.0
        jitter_ms = 1e3 * float(np.percentile(np.abs(intervals - 1.0 / self._rate_hz), 99))
        delay_ms = 1e-6 * float(np.median(times[:, 1] - times[:, 0]))
        return rate_hz, jitter_ms, delay_ms
