"""From a camera's own clock to the clock of the computer, with offset and rate followed as they drift.

The computer only sees when a frame has arrived, ``host = camera + offset + drift * camera + delay``. The delay of
read-out and USB is never below some least value and often far above it (a busy bus, a thread that woke late), so
averages are biased and least squares follows every stall. What does not depend on the stalls is the lower edge of the
points ``host - camera``: the line that lies below all of them and as close to them as it can, over a minute. Its
height is the offset plus the least delay, its slope the drift. Source: the linear-programming estimator of Moon,
Skelly and Towsley, "Estimation and removal of clock skew from network delay measurements", INFOCOM 1999; the weak
pull towards the slope known before, for windows that are too short to tell drift from jitter, is ours.

Pure: times come in, times go out.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: The slope is looked for within this range; crystals are good to 50 ppm or so, of both clocks together.
MAX_DRIFT = 300e-6
#: A frame this much faster than any before it shows that one of the clocks was set, or that the least delay is another.
STEP_NS = 5_000_000
#: Nothing of a whole bin this much above the line, in this many bins running, shows the same in the other direction.
RISE_NS = 20_000_000
RISE_BINS = 10
#: A frame that arrives this much before it was taken, or this long after, has a clock that was started anew. (A process
#: that was kept from running finds frames in its queue that are some seconds old; that is no reset.)
RESET_NS = 500_000_000
LONGEST_DELAY_NS = 20_000_000_000
#: So many frames, with fewer than `FORGET_FRAMES` others between them, must say that a clock was set or started anew: a
#: single one has a bad stamp.
CONFIRM_FRAMES = 3
FORGET_FRAMES = 30
#: The pull to the slope known before: one that differs by `_PULL_SLOPE` must raise the line by half of `_PULL_NS`.
_PULL_NS = 50_000.0
_PULL_SLOPE = 50e-6
#: A window this long knows the slope better than anything before it.
_KNOWN_NS = 30_000_000_000
_FLOOR_NS = 10_000.0


@dataclass(frozen=True)
class ClockFit:
    """How well the two clocks are known to each other.

    Attributes:
        settled: enough frames were seen since the last start.
        drift_ppm: by how much the computer's clock is faster than the camera's.
        uncertainty_ns: of a mapped time, apart from the least delay, which no fit can see; negative while not settled.
        span_s: length of the window that the fit rests on.
        resets: times that the camera's clock began anew.
        steps: times that the offset changed at once.
        outliers: frames with a time that those after them did not confirm; they are not mapped.
    """

    settled: bool
    drift_ppm: float
    uncertainty_ns: int
    span_s: float
    resets: int
    steps: int
    outliers: int = 0


class ClockMap:
    """Maps camera times to host times; a few additions for each frame, and one small fit each `bin_ns`.

    Args:
        wrap_ns: the camera's counter goes on from zero after this much; None: it does not.
        settle_frames: frames to see before the first time is mapped. The first ones after a start are often late; with
            nothing to compare them to, their whole delay would go into the offset.
        bin_ns: the fastest frame of each such span takes part in the fit.
        window_bins: spans that the fit looks back over.
    """

    def __init__(
        self,
        wrap_ns: int | None = None,
        settle_frames: int = 15,
        bin_ns: int = 1_000_000_000,
        window_bins: int = 60,
    ) -> None:
        self._wrap_ns = wrap_ns
        self._settle_frames = max(1, settle_frames)
        self._bin_ns = bin_ns
        self._bins: deque[tuple[int, int]] = deque(maxlen=window_bins)
        self._slope = self._known_slope = 0.0
        self._resets = self._steps = self._outliers = 0
        self._begin()

    def restart(self) -> None:
        """Forget the offset, not the drift: the camera was started anew, with a clock of whatever value."""
        self._begin()

    def update(self, camera_ns: int, received_ns: int) -> int | None:
        """Take in a frame.

        Args:
            camera_ns: its time on the camera's clock.
            received_ns: when it was received, on the host's clock.

        Returns:
            Its time on the host's clock, as if the fastest frames had taken no time at all; None while the fit settles,
            and for a frame that contradicts the fit until others confirm it.
        """
        x = self._unwrap(camera_ns, received_ns)
        if not self._is_believed(x, received_ns):
            return None
        if x is None:
            self._resets += 1
            self._begin()
            x = camera_ns
        self._raw_ns, self._x = camera_ns, x
        y = received_ns - x
        if self._count == 0:
            self._origin, self._height, self._bin_begin = x, y, x
        self._count += 1
        self._collect(x, y)
        excess = y - self._line(x)
        if excess < 0.0:
            # Nothing arrives before it was sent: the line was too high.
            self._correction += excess
            if excess < -STEP_NS and self.settled:
                self._step([])
                self._collect(x, y)
            excess = 0.0
        self._excess_sum += excess
        return round(x + self._line(x)) if self.settled else None

    @property
    def settled(self) -> bool:
        """Whether times are mapped."""
        return self._count >= self._settle_frames

    @property
    def fit(self) -> ClockFit:
        """The present state of the fit."""
        span_ns = self._bins[-1][0] - self._bins[0][0] if self._bins else 0
        uncertainty = self._uncertainty(span_ns) if self.settled else -1
        drift_ppm = 1e6 * self._slope
        return ClockFit(self.settled, drift_ppm, uncertainty, 1e-9 * span_ns, self._resets, self._steps, self._outliers)

    def _begin(self) -> None:
        self._bins.clear()
        self._count = 0
        self._contradicting = 0
        self._agreeing = 0
        self._raw_ns = self._x = 0
        self._origin = self._height = self._bin_begin = 0
        self._correction = 0.0
        self._excess_sum = 0.0
        self._best: tuple[float, int, int] | None = None

    def _is_believed(self, x: int | None, received_ns: int) -> bool:
        """Whether a frame agrees with the fit, or enough of them do not."""
        agrees = x is not None and not (self.settled and received_ns - x - self._line(x) < -STEP_NS)
        if agrees:
            self._agreeing += 1
            if self._agreeing >= FORGET_FRAMES:
                self._outliers += self._contradicting
                self._contradicting = 0
            return True
        self._contradicting += 1
        self._agreeing = 0
        if self._contradicting < CONFIRM_FRAMES:
            return False
        self._contradicting = 0
        return True

    def _unwrap(self, camera_ns: int, received_ns: int) -> int | None:
        """The camera's time as if its counter never wrapped; None when it began anew."""
        if self._count == 0:
            return camera_ns
        x = self._x + camera_ns - self._raw_ns
        if self._wrap_ns is not None:
            x += self._wrap_ns * round((received_ns - x - self._line(self._x)) / self._wrap_ns)
        delay = received_ns - x - self._line(x)
        return x if x >= self._x and -RESET_NS <= delay <= LONGEST_DELAY_NS else None

    def _line(self, x: int) -> float:
        """Height of the line, ns; the large numbers are subtracted as integers."""
        return self._height + self._correction + self._slope * (x - self._origin)

    def _collect(self, x: int, y: int) -> None:
        """Keep the fastest frame of the present bin; fit when the bin is full."""
        if x - self._bin_begin >= self._bin_ns:
            if self._best is not None:
                self._bins.append(self._best[1:])
                self._fit()
            self._bin_begin, self._best = x, None
        delay = (y - self._height) - self._slope * (x - self._origin)
        if self._best is None or delay < self._best[0]:
            self._best = (delay, x, y)

    def _fit(self) -> None:
        if self._risen():
            self._step(list(self._bins)[-RISE_BINS:])
        x0, y0 = self._bins[0]
        x = np.array([b[0] - x0 for b in self._bins], dtype=float)
        y = np.array([b[1] - y0 for b in self._bins], dtype=float)
        centre = x.mean()
        slope = _best_slope(x - centre, y, self._known_slope)
        if x[-1] >= _KNOWN_NS:
            self._known_slope = slope
        self._origin, self._height = x0, y0
        self._correction = float((y - slope * x).min())
        self._slope = slope

    def _risen(self) -> bool:
        """Whether even the fastest frames have long been far above the line that earlier ones hold down."""
        if len(self._bins) <= RISE_BINS:
            return False
        return all(y - self._line(x) > RISE_NS for x, y in list(self._bins)[-RISE_BINS:])

    def _step(self, keep: list[tuple[int, int]]) -> None:
        self._steps += 1
        self._bins.clear()
        self._bins.extend(keep)
        self._best = None

    def _uncertainty(self, span_ns: int) -> int:
        """Typical distance of fast frames from the line, and what the slope adds on the way to the newest frame."""
        if len(self._bins) < 3:
            spread = self._excess_sum / max(1, self._count)
        else:
            spread = float(np.median([y - self._line(x) for x, y in self._bins]))
        slope = min(_PULL_SLOPE, 4.0 * spread / span_ns) if span_ns else _PULL_SLOPE
        reach = max(self._bin_ns, span_ns // 2)
        return round(_FLOOR_NS + spread + slope * reach)


def _best_slope(x: NDArray[np.float64], y: NDArray[np.float64], before: float) -> float:
    """Slope of the line below all points that is highest at x = 0, less the pull to a slope.

    The aim is concave in the slope, so a grid that is refined around its best point three times finds it to 0.02 ppm.

    Args:
        x: ``(n,)`` ns, about their middle.
        y: ``(n,)`` ns.
        before: the slope known before.
    """
    low, high = -MAX_DRIFT, MAX_DRIFT
    best = before
    for _ in range(3):
        slopes = np.linspace(low, high, 61)
        heights = (y[None, :] - slopes[:, None] * x[None, :]).min(axis=1)
        aims = heights - 0.5 * _PULL_NS * ((slopes - before) / _PULL_SLOPE) ** 2
        best = float(slopes[int(aims.argmax())])
        step = slopes[1] - slopes[0]
        low, high = best - step, best + step
    return best
