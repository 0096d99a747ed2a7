"""The arm's latency from a record of commanded and measured poses. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate, standard_error, without_outliers
from dp_bringup.calibration.motion_lag import LEAST_LAG_S, Track, WindowLag, motion_rms, window_lag

Array = NDArray[np.float64]

AXES = ("x", "y", "z")
LEAST_CORRELATION = 0.97
LEAST_RMS_M = 0.002
LEAST_WINDOWS = 3
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
    """

    command_s: Array
    command_m: Array
    measured_s: Array
    measured_m: Array

    def tracks(self, axis: int) -> tuple[Track, Track]:
        """Commanded and measured motion along an axis."""
        return Track(self.command_s, self.command_m[:, axis]), Track(self.measured_s, self.measured_m[:, axis])


@dataclass(frozen=True)
class AxisWindow:
    """A window that was used: its axis and its lag; `used` is False for an outlier."""

    axis: str
    lag: WindowLag
    used: bool = True


def estimate_robot(
    record: PoseRecord, contract: Contract, axes: tuple[str, ...] = AXES, window_s: float = 2.5, longest_s: float = 0.6
) -> tuple[LatencyEstimate, tuple[AxisWindow, ...]]:
    """The latency of the arm: mean over windows and axes in which it moved.

    Args:
        record: see `PoseRecord`.
        contract: uncertainty of the pose stream's own latency.
        axes: to look at.
        window_s: length of a window, s.
        longest_s: lags up to this are tried, s.

    Raises:
        CalibrationError: too little motion, a poor correlation, or a lag that cannot be one.
    """
    found = [AxisWindow(axis, lag) for axis in axes for lag in _moving_windows(record, axis, window_s, longest_s)]
    if len(found) < LEAST_WINDOWS:
        raise CalibrationError(
            f"only {len(found)} windows of {window_s:g} s have a motion of {1e3 * LEAST_RMS_M:g} mm (rms) or more "
            f"along {', '.join(axes)}; at least {LEAST_WINDOWS} are needed: move longer or farther"
        )
    quality = float(np.median([window.lag.correlation for window in found]))
    if quality < LEAST_CORRELATION:
        raise CalibrationError(
            f"commanded and measured motion correlate with {quality:.3f} only, at least {LEAST_CORRELATION} is needed: "
            "was the arm blocked, in contact, or driven by somebody else?"
        )
    good = [window for window in found if window.lag.correlation >= LEAST_CORRELATION]
    if any(window.lag.at_edge for window in good):
        raise CalibrationError(
            f"the best lag lies at the edge of what was tried ({LEAST_LAG_S:g} to {longest_s:g} s): the clocks of "
            "robot and computer differ, or the arm is slower than that (--longest-lag)"
        )
    lags = np.array([window.lag.lag_s for window in good])
    kept = without_outliers(lags)
    windows = tuple(AxisWindow(w.axis, w.lag, bool(k)) for w, k in zip(good, kept, strict=True))
    estimate = LatencyEstimate(
        place=("action",),
        latency_s=float(lags[kept].mean()),
        samples_s=lags[kept],
        statistical_s=standard_error(lags[kept]),
        systematic_s={
            "latency of ee_pose": contract.streams["ee_pose"].latency_uncertainty_s,
            "difference between axes": _between_axes(windows),
        },
        quality=("correlation", quality),
        note=_gain_note(windows),
    )
    return estimate, windows


def _moving_windows(record: PoseRecord, axis: str, window_s: float, longest_s: float) -> list[WindowLag]:
    """Lags of the windows, end to end, in which the command moves along an axis and nothing is missing."""
    commanded, measured = record.tracks(AXES.index(axis))
    start_s = max(record.command_s[0] + longest_s, record.measured_s[0])
    end_s = min(record.command_s[-1] + LEAST_LAG_S, record.measured_s[-1])
    lags = []
    for begin_s in np.arange(start_s, end_s - window_s, window_s):
        complete = _complete(record.command_s, begin_s - longest_s, begin_s + window_s - LEAST_LAG_S) and _complete(
            record.measured_s, begin_s, begin_s + window_s
        )
        if complete and motion_rms(commanded, begin_s, window_s) >= LEAST_RMS_M:
            lags.append(window_lag(commanded, measured, float(begin_s), window_s, longest_s))
    return lags


def _complete(t_s: Array, begin_s: float, end_s: float) -> bool:
    """Whether samples cover a span without a gap."""
    inside = t_s[(t_s >= begin_s - LONGEST_GAP_S) & (t_s <= end_s + LONGEST_GAP_S)]
    return len(inside) > 1 and float(np.diff(inside).max()) <= LONGEST_GAP_S


def _between_axes(windows: tuple[AxisWindow, ...]) -> float:
    """Standard error that a difference between the axes gives their mean; one number stands for all of them."""
    by_axis = [np.mean([w.lag.lag_s for w in windows if w.used and w.axis == axis]) for axis in axes_of(windows)]
    return standard_error(np.array(by_axis)) if len(by_axis) > 1 else 0.0


def axes_of(windows: tuple[AxisWindow, ...]) -> list[str]:
    """The axes that have a window which was used."""
    return [axis for axis in AXES if any(w.axis == axis and w.used for w in windows)]


def _gain_note(windows: tuple[AxisWindow, ...]) -> str:
    gain = float(np.median([window.lag.gain for window in windows]))
    return "" if 0.9 <= gain <= 1.1 else f"the arm follows with {100 * gain:.0f} % of the commanded amplitude"
