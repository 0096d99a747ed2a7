"""What a calibration finds: a latency, how well it is known, and from what. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from dp_core.statistics import bootstrap_mean_interval
from numpy.typing import NDArray

from dp_bringup.errors import CommandError

Array = NDArray[np.float64]


# A delay as much below zero as this is one of zero, whatever its uncertainty.
LEAST_DELAY_S = 0.002


class CalibrationError(CommandError):
    """The measurement does not bear a number; the message says what was seen and what to change."""


@dataclass(frozen=True)
class LatencyEstimate:
    """A measured latency.

    Attributes:
        place: keys of the contract that hold it, such as ("cameras", "front").
        latency_s: best estimate, s.
        samples_s: (n,) single estimates that it is the mean of, s.
        statistical_s: standard error of that mean, s.
        systematic_s: named standard uncertainties that repeating does not reduce, s.
        quality: a number that says how good the measurement was, and its name.
        note: what a person should know about it; may be empty.
    """

    place: tuple[str, ...]
    latency_s: float
    samples_s: Array
    statistical_s: float
    systematic_s: dict[str, float] = field(default_factory=dict)
    quality: tuple[str, float] = ("", 1.0)
    note: str = ""

    @property
    def uncertainty_s(self) -> float:
        """Standard uncertainty, statistical and systematic together, s."""
        return math.hypot(self.statistical_s, *self.systematic_s.values())

    def row(self) -> dict[str, object]:
        """For tables and JSON."""
        low, high = bootstrap_mean_interval(self.samples_s)
        return {
            "key": ".".join((*self.place, "latency_s")),
            "latency_s": self.latency_s,
            "uncertainty_s": self.uncertainty_s,
            "statistical_s": self.statistical_s,
            "systematic_s": dict(self.systematic_s),
            "interval_95_s": [low, high],
            "samples": len(self.samples_s),
            "spread_s": float(np.std(self.samples_s)),
            self.quality[0] or "quality": self.quality[1],
            "note": self.note,
        }


def standard_error(samples: Array) -> float:
    """Standard error of the mean of independent samples (n,), n at least 2."""
    return float(np.std(samples, ddof=1) / math.sqrt(len(samples)))


def repeated_error(spread_s: float, t_s: Array, count: int) -> float:
    """Standard error of a mean of repetitions, at least what the sampling of the measured motion leaves open.

    Where robot and sampling run in step (a simulator does, perfectly) repetitions agree better than any of them is
    known, and their spread alone would claim that there is no error at all.

    Args:
        spread_s: standard error of the mean by the spread of the repetitions, s.
        t_s: (n,) times of the measured samples.
        count: of the repetitions.
    """
    return max(spread_s, float(np.median(np.diff(t_s))) / math.sqrt(12.0 * count))


def checked_delay(what: str, latency_s: float, uncertainty_s: float) -> float:
    """A delay that cannot be negative: 0 for one that is so by chance.

    Raises:
        CalibrationError: it is negative by more than that.
    """
    if latency_s < -max(3.0 * uncertainty_s, LEAST_DELAY_S):
        raise CalibrationError(
            f"{what} seems to move {-1e3 * latency_s:.1f} ms before it is commanded: the clocks of robot and computer "
            "differ (chrony, PTP), or the latency of its measured state in the contract (streams) is too large"
        )
    return max(0.0, latency_s)


def without_outliers(samples: Array, reach: float = 5.0) -> Array:
    """Mask (n,) of the samples within `reach` robust standard deviations of the median."""
    deviation = np.abs(samples - np.median(samples))
    scale = 1.4826 * float(np.median(deviation))
    return np.asarray(deviation <= reach * max(scale, 1e-4))
