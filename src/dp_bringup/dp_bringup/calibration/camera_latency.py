"""The latency of a camera from the clock codes in its pictures. Pure.

A code that was on the screen from ``a`` to ``b`` stands in a picture with header stamp ``s``: the light left the screen
at some time between, on average in the middle, so the picture's latency is ``s - (a + b) / 2`` minus what the screen
itself takes, give or take half of ``b - a``. The mean over many pictures is finer than that where camera and screen run
past each other; where they run in step, the phase between them stays unknown, and the uncertainty says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate, standard_error, without_outliers

Array = NDArray[np.float64]

LEAST_PICTURES = 20
LEAST_SHARE = 0.1
# Camera and screen run past each other when the pictures spread over at least this share of the codes' duration.
LEAST_COVERAGE = 0.6


@dataclass(frozen=True)
class Sighting:
    """A picture in which a code was read.

    Attributes:
        stamp_s: header stamp, s.
        shown_s: when the code came on the screen.
        hidden_s: when the next one did.
    """

    stamp_s: float
    shown_s: float
    hidden_s: float

    @property
    def latency_s(self) -> float:
        """Header stamp after the middle of the time for which the code was shown, s."""
        return self.stamp_s - 0.5 * (self.shown_s + self.hidden_s)


@dataclass(frozen=True)
class DisplayLatency:
    """What the screen takes from drawing to light, s, and its standard uncertainty, s; zero in the simulator."""

    latency_s: float = 0.0
    uncertainty_s: float = 0.0


def estimate_camera(
    name: str, sightings: list[Sighting], pictures: int, display: DisplayLatency, longest_s: float = 2.0
) -> LatencyEstimate:
    """The latency of a camera.

    Args:
        name: of the camera.
        sightings: one for each picture that was read.
        pictures: how many were looked at.
        display: latency of the screen.
        longest_s: a larger latency is taken for clocks that differ.

    Raises:
        CalibrationError: too few pictures could be read, or the latency cannot be one.
    """
    if len(sightings) < max(LEAST_PICTURES, LEAST_SHARE * pictures):
        raise CalibrationError(
            f"camera {name}: a code was read in {len(sightings)} of {pictures} pictures, at least "
            f"{max(LEAST_PICTURES, math.ceil(LEAST_SHARE * pictures))} are needed: bring the screen closer, sharp and "
            "wholly into view, shorten the exposure or show each code longer (--hold)"
        )
    raw = np.array([sighting.latency_s for sighting in sightings]) - display.latency_s
    kept = without_outliers(raw)
    samples = raw[kept]
    mean = float(samples.mean())
    if abs(mean) > longest_s:
        raise CalibrationError(f"camera {name}: its stamps are {mean:.3f} s off the screen's clock: the clocks differ")
    duration = float(np.median([s.hidden_s - s.shown_s for s in sightings]))
    low, high = np.quantile(samples, (0.02, 0.98))
    coverage = float((high - low) / (0.96 * duration))
    in_step = coverage < LEAST_COVERAGE
    note = f"camera and screen run in step ({100 * coverage:.0f} % of the phases seen)" if in_step else ""
    return LatencyEstimate(
        place=("cameras", name),
        latency_s=mean,
        samples_s=samples,
        statistical_s=standard_error(samples),
        systematic_s={
            "latency of the screen": display.uncertainty_s,
            "phase to the screen": duration / math.sqrt(12.0) if in_step else 0.0,
        },
        quality=("read", len(sightings) / max(pictures, 1)),
        note=note,
    )
