"""The arm's latency from a record of commanded and measured poses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate, checked_delay, repeated_error
from dp_bringup.calibration.motion_lag import LEAST_LAG_S, Track, WindowLag, motion_rms, window_lag

Array = NDArray[np.float64]

AXES = ("x", "y", "z")
LEAST_CORRELATION = 0.97
LEAST_RMS_M = 0.002
LEAST_WINDOWS = 3
LEAST_SPAN_S = 2.0
# Within a window samples must not be farther apart than this.
LONGEST_GAP_S = 0.25


@dataclass(frozen=True)
class PoseRecord:
    """What was commanded and what was measured, times corrected by the latencies of their streams.

    Attributes:
        command_s: (n,) rising.
        command_m: (n, 3) commanded position, base frame.
        measured_s: (m,) rising.
        measured_m: (m, 3) measured position.
        origin_s: ROS time at which the times of this record begin.
    """

    command_s: Array
    command_m: Array
    measured_s: Array
    measured_m: Array
    origin_s: float = 0.0

    def tracks(self, axis: int) -> tuple[Track, Track]:
        """Commanded and measured motion along an axis."""
        return Track(self.command_s, self.command_m[:, axis]), Track(self.measured_s, self.measured_m[:, axis])


@dataclass(frozen=True)
class AxisWindow:
    """A span that was used: its axis, its lag and its length."""

    axis: str
    lag: WindowLag
    length_s: float


@dataclass(frozen=True)
class Span:
    """A part of a record to look at along one axis; best from rest to rest, since then nothing is cut off.

    Attributes:
        axis: x, y or z of the base frame.
        start_s: begin, in the time of the record.
        length_s: of the measured motion in it.
    """

    axis: str
    start_s: float
    length_s: float


def estimate_robot(
    record: PoseRecord, contract: Contract, spans: Sequence[Span], longest_s: float = 0.6
) -> tuple[LatencyEstimate, tuple[AxisWindow, ...]]:
    """The latency of the arm: mean of the axes, each the mean of its spans.

    Args:
        record: see `PoseRecord`.
        contract: uncertainty of the pose stream's own latency.
        spans: those with too little motion or with gaps are left out.
        longest_s: lags up to this are tried, s.

    Raises:
        CalibrationError: too little motion, a poor correlation, or a lag that cannot be one.
    """
    if not spans:
        raise CalibrationError(
            f"no stretch of {LEAST_SPAN_S:g} s without gaps in which the arm was commanded long enough"
        )
    found = [_axis_window(record, span, longest_s) for span in spans if _is_complete(record, span, longest_s)]
    if len(found) < LEAST_WINDOWS:
        raise CalibrationError(
            f"only {len(found)} of {len(spans)} spans have a motion of {1e3 * LEAST_RMS_M:g} mm (rms) or more without "
            f"gaps in the messages; at least {LEAST_WINDOWS} are needed: move farther, or more often"
        )
    quality = float(np.median([window.lag.correlation for window in found]))
    good = [window for window in found if window.lag.correlation >= LEAST_CORRELATION]
    if any(window.lag.at_edge for window in good) or all(window.lag.at_edge for window in found):
        raise CalibrationError(
            f"the best lag lies at the edge of what was tried ({LEAST_LAG_S:g} to {longest_s:g} s): the clocks of "
            "robot and computer differ, or the arm is slower than that (--longest-lag)"
        )
    if quality < LEAST_CORRELATION or len(good) < LEAST_WINDOWS:
        raise CalibrationError(
            f"commanded and measured motion correlate with {quality:.3f} only, at least {LEAST_CORRELATION} is needed "
            f"in {LEAST_WINDOWS} spans: was the arm blocked, in contact, or driven by somebody else?"
        )
    lags = np.array([window.lag.lag_s for window in good])
    windows = tuple(good)
    within_s = repeated_error(_within_axes(windows), record.measured_s, len(windows))
    estimate = LatencyEstimate(
        place=("action",),
        latency_s=checked_delay("the arm", float(np.mean(list(axis_means(windows).values()))), within_s),
        samples_s=lags,
        statistical_s=within_s,
        systematic_s={
            "latency of ee_pose": contract.streams["ee_pose"].latency_uncertainty_s,
            "difference between axes": _between_axes(windows),
        },
        quality=("correlation", quality),
        note=_gain_note(windows),
    )
    return estimate, windows


def spans_of(record: PoseRecord, axes: Sequence[str], length_s: float, longest_s: float) -> list[Span]:
    """Spans end to end over a record of a motion that was not made for this; none reaches over a gap.

    Args:
        record: of one episode, or of several one after another.
        axes: to look at.
        length_s: of a span; a stretch without gaps that is shorter is one span, if it has `LEAST_SPAN_S`.
        longest_s: lags up to this are tried, so the command must have begun so much earlier.
    """
    spans = []
    breaks = np.flatnonzero(np.diff(record.command_s) > LONGEST_GAP_S)
    begins = record.command_s[np.concatenate([[0], breaks + 1])]
    ends = record.command_s[np.concatenate([breaks, [len(record.command_s) - 1]])]
    for begin, end in zip(begins + longest_s, ends + LEAST_LAG_S, strict=True):
        inside = record.measured_s[(record.measured_s >= begin) & (record.measured_s <= end)]
        if len(inside) < 2 or inside[-1] - inside[0] < LEAST_SPAN_S:
            continue
        count = max(1, int((inside[-1] - inside[0]) / length_s))
        one_s = float(inside[-1] - inside[0]) / count
        spans += [Span(axis, float(inside[0]) + number * one_s, one_s) for axis in axes for number in range(count)]
    return spans


def _is_complete(record: PoseRecord, span: Span, longest_s: float) -> bool:
    """Whether the command moves enough in a span, and nothing is missing."""
    start_s, end_s = span.start_s, span.start_s + span.length_s
    commanded, _ = record.tracks(AXES.index(span.axis))
    return (
        _complete(record.command_s, start_s - longest_s, end_s - LEAST_LAG_S)
        and _complete(record.measured_s, start_s, end_s)
        and motion_rms(commanded, start_s, span.length_s) >= LEAST_RMS_M
    )


def _axis_window(record: PoseRecord, span: Span, longest_s: float) -> AxisWindow:
    commanded, measured = record.tracks(AXES.index(span.axis))
    return AxisWindow(span.axis, window_lag(commanded, measured, span.start_s, span.length_s, longest_s), span.length_s)


def _complete(t_s: Array, begin_s: float, end_s: float) -> bool:
    """Whether samples cover a time without a gap."""
    if len(t_s) < 2 or t_s[0] > begin_s + 1e-6 or t_s[-1] < end_s - 1e-6:
        return False
    inside = t_s[(t_s >= begin_s - LONGEST_GAP_S) & (t_s <= end_s + LONGEST_GAP_S)]
    return len(inside) > 1 and float(np.diff(inside).max()) <= LONGEST_GAP_S


def axis_means(windows: tuple[AxisWindow, ...]) -> dict[str, float]:
    """Mean lag of each axis that has a window, s."""
    lags = {axis: [w.lag.lag_s for w in windows if w.axis == axis] for axis in AXES}
    return {axis: float(np.mean(values)) for axis, values in lags.items() if values}


def _between_axes(windows: tuple[AxisWindow, ...]) -> float:
    """Standard deviation of the axes' lags: the contract has one number for motion in any direction."""
    means = list(axis_means(windows).values())
    return float(np.std(means, ddof=1)) if len(means) > 1 else 0.0


def _within_axes(windows: tuple[AxisWindow, ...]) -> float:
    """Standard error of the mean of the axes' means, from the spread of the windows of each axis."""
    means = axis_means(windows)
    rest = np.array([w.lag.lag_s - means[w.axis] for w in windows])
    return float(np.sqrt(np.sum(rest**2) / max(len(rest) - len(means), 1) / len(rest)))


def _gain_note(windows: tuple[AxisWindow, ...]) -> str:
    gain = float(np.median([window.lag.gain for window in windows]))
    return "" if 0.9 <= gain <= 1.1 else f"the arm follows with {100 * gain:.0f} % of the commanded amplitude"
