"""The latency of a camera out of sightings with a known one."""

from __future__ import annotations

import numpy as np
import pytest
from dp_bringup.calibration.camera_latency import DisplayLatency, Sighting, estimate_camera
from dp_bringup.calibration.estimate import CalibrationError

PERIOD_S = 1.0 / 59.94


def sightings(latency_s: float, rate_hz: float, count: int = 150, period_s: float = PERIOD_S, jitter_s: float = 0.0):
    """A camera that takes a picture at each k / rate and stamps it `latency_s` later."""
    rng = np.random.default_rng(0)
    for k in range(count):
        taken = 1e9 + (k + 0.123) / rate_hz
        shown = np.floor(taken / period_s) * period_s
        stamp = taken + latency_s + rng.normal(0.0, jitter_s) if jitter_s else taken + latency_s
        yield Sighting(stamp, shown, shown + period_s)


@pytest.mark.parametrize("latency", [0.0, 0.0123, 0.075])
@pytest.mark.parametrize("rate", [10.0, 29.7, 61.0])
def test_the_mean_is_finer_than_the_screen(latency, rate):
    estimate = estimate_camera("front", list(sightings(latency, rate)), 150, DisplayLatency())
    assert estimate.latency_s == pytest.approx(latency, abs=0.0015)
    assert abs(estimate.latency_s - latency) < 3.0 * estimate.uncertainty_s
    assert estimate.uncertainty_s < 0.001 and estimate.note == ""
    assert estimate.place == ("cameras", "front")


def test_jitter_is_averaged_and_shows_in_the_uncertainty():
    quiet = estimate_camera("a", list(sightings(0.05, 29.7)), 150, DisplayLatency())
    noisy = estimate_camera("a", list(sightings(0.05, 29.7, jitter_s=0.02)), 150, DisplayLatency())
    assert noisy.latency_s == pytest.approx(0.05, abs=4.0 * 0.02 / np.sqrt(150))
    assert noisy.uncertainty_s == pytest.approx(np.hypot(0.02, PERIOD_S / np.sqrt(12)) / np.sqrt(150), rel=0.2)
    assert quiet.uncertainty_s < noisy.uncertainty_s


def test_the_screens_own_latency_is_taken_off_and_its_uncertainty_added():
    plain = estimate_camera("a", list(sightings(0.05, 29.7)), 150, DisplayLatency())
    slow = estimate_camera("a", list(sightings(0.05, 29.7)), 150, DisplayLatency(0.02, 0.004))
    assert plain.latency_s - slow.latency_s == pytest.approx(0.02)
    assert slow.uncertainty_s == pytest.approx(np.hypot(plain.statistical_s, 0.004))


def test_a_camera_in_step_with_the_screen_says_that_the_phase_is_unknown():
    estimate = estimate_camera("a", list(sightings(0.05, 10.0, period_s=0.02)), 150, DisplayLatency())
    assert "in step" in estimate.note
    assert estimate.uncertainty_s == pytest.approx(0.02 / np.sqrt(12.0), rel=0.05)
    assert abs(estimate.latency_s - 0.05) <= 0.01


def test_a_picture_with_a_wild_stamp_does_not_count():
    some = [*sightings(0.05, 29.7), Sighting(1e9 + 900.0, 1e9, 1e9 + PERIOD_S)]
    assert estimate_camera("a", some, 151, DisplayLatency()).latency_s == pytest.approx(0.05, abs=0.0015)


def test_refusals_say_what_to_change():
    few = list(sightings(0.05, 30.0, count=15))
    with pytest.raises(CalibrationError, match=r"read in 15 of 150 pictures, at least 20 .*--hold"):
        estimate_camera("front", few, 150, DisplayLatency())
    with pytest.raises(CalibrationError, match=r"clocks differ"):
        estimate_camera("front", list(sightings(7.0, 30.0)), 150, DisplayLatency())
