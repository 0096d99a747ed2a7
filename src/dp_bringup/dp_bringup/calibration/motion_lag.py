"""By how much one motion lags behind another: the lag at which they correlate best, finer than their sampling. Pure.

The measured motion of a window is compared with the commanded motion shifted by each lag of a grid; the peak of the
normalised correlation is refined by a parabola through its three highest points. Normalising leaves gain and offset
free, so an arm that follows a little softly still gives its lag. For one that answers like a mass on a spring and
damper the lag is close to D/K for motions slower than its resonance, plus half a period of a command that is held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRID_S = 0.002
# Lags below zero are searched too: a peak there tells that the clocks differ.
LEAST_LAG_S = -0.1


@dataclass(frozen=True)
class Track:
    """One coordinate of a motion.

    Attributes:
        t_s: (n,) times, rising.
        value: (n,) metres or radians.
    """

    t_s: Array
    value: Array

    def at(self, t_s: Array) -> Array:
        """Values between the samples, linearly."""
        return np.asarray(np.interp(t_s, self.t_s, self.value))


@dataclass(frozen=True)
class WindowLag:
    """The lag in one window.

    Attributes:
        start_s: begin of the window.
        lag_s: best lag.
        correlation: its normalised correlation, at most 1.
        gain: amplitude of the measured motion by that of the commanded one.
        at_edge: the best lag is the largest or smallest that was tried: it is not the lag.
    """

    start_s: float
    lag_s: float
    correlation: float
    gain: float
    at_edge: bool


def window_lag(commanded: Track, measured: Track, start_s: float, length_s: float, longest_lag_s: float) -> WindowLag:
    """The lag of `measured` behind `commanded` in a window of the measured motion.

    Args:
        commanded: covers the window and `longest_lag_s` before it.
        measured: covers the window.
        start_s: begin of the window.
        length_s: of the window.
        longest_lag_s: lags up to this are tried.
    """
    t_s = np.arange(start_s, start_s + length_s, GRID_S)
    reply = measured.at(t_s)
    reply = reply - reply.mean()
    lags = np.arange(round(LEAST_LAG_S / GRID_S), round(longest_lag_s / GRID_S) + 1)
    first, last = t_s[0] - lags[-1] * GRID_S, t_s[-1] - lags[0] * GRID_S
    wide = commanded.at(np.linspace(first, last, len(t_s) + len(lags) - 1))
    # Row k of the view is the command shifted by the (n - 1 - k)th lag.
    shifted = np.lib.stride_tricks.sliding_window_view(wide, len(t_s))[::-1]
    centred = shifted - shifted.mean(axis=1, keepdims=True)
    power = np.sqrt(np.sum(centred**2, axis=1))
    correlation = centred @ reply / np.maximum(power * np.linalg.norm(reply), 1e-300)
    best = int(np.argmax(correlation))
    at_edge = best in (0, len(lags) - 1)
    offset = 0.0 if at_edge else _peak_offset(correlation[best - 1 : best + 2])
    gain = float(np.linalg.norm(reply) / max(power[best], 1e-300))
    return WindowLag(start_s, (lags[best] + offset) * GRID_S, float(correlation[best]), gain, at_edge)


def _peak_offset(three: Array) -> float:
    """Where the parabola through three values at -1, 0 and 1 has its top."""
    left, middle, right = three.tolist()
    bend = left - 2.0 * middle + right
    return 0.0 if bend >= 0.0 else 0.5 * (left - right) / bend


def motion_rms(track: Track, start_s: float, length_s: float) -> float:
    """Standard deviation of a coordinate within a window."""
    return float(np.std(track.at(np.arange(start_s, start_s + length_s, GRID_S))))
