"""The lag of one motion behind another, and the latency of the arm: known delays, and the simulated arm's own law."""

from __future__ import annotations

import numpy as np
import pytest
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.excitation import Wobble
from dp_bringup.calibration.motion_lag import Track, window_lag
from dp_bringup.calibration.robot_latency import PoseRecord, Span, axis_means, estimate_robot, spans_of
from dp_core.contract import load_contract

WOBBLE = Wobble(amplitude_m=0.02, duration_s=6.0)
CONTRACT = load_contract("sim_franka")
BEFORE_S, LENGTH_S = 0.2, 6.5


def wobble(t_s: np.ndarray, seed: int = 0) -> np.ndarray:
    """Position of a wobble that begins at 1 s, between the times of its actions as control interpolates, roughly."""
    times = np.arange(0.0, WOBBLE.duration_s, 0.002)
    return np.interp(t_s - 1.0, times, WOBBLE.deflection(np.random.default_rng(seed), times))


def delayed(delay_s: float, rate_hz: float = 100.0, gain: float = 1.0, noise_m: float = 0.0) -> tuple[Track, Track]:
    """Commanded at 100 Hz; measured at `rate_hz`, out of step with it."""
    command_s = np.arange(0.0, 9.0, 0.01)
    measured_s = np.arange(0.0031, 9.0, 1.0 / rate_hz)
    noise = np.random.default_rng(1).normal(0.0, noise_m, len(measured_s)) if noise_m else 0.0
    return Track(command_s, wobble(command_s)), Track(measured_s, 0.3 + gain * wobble(measured_s - delay_s) + noise)


@pytest.mark.parametrize("delay", [0.0, 0.0137, 0.08, 0.2501])
@pytest.mark.parametrize("rate", [30.0, 100.0, 1000.0])
def test_a_pure_delay_is_found_to_a_fraction_of_the_sampling(delay, rate):
    lag = window_lag(*delayed(delay, rate), 1.0 - BEFORE_S, LENGTH_S, 0.6)
    assert lag.lag_s == pytest.approx(delay, abs=3e-4 if rate >= 100.0 else 1e-3)
    assert lag.correlation > 0.9995 and lag.gain == pytest.approx(1.0, abs=0.01) and not lag.at_edge


def test_gain_offset_and_noise_do_not_move_the_lag():
    lag = window_lag(*delayed(0.05, gain=0.7, noise_m=0.0005), 1.0 - BEFORE_S, LENGTH_S, 0.6)
    # Noise over the rms velocity and the root of the samples, 0.5 mm / (23 mm/s sqrt 650), is 0.85 ms: three of those.
    assert lag.lag_s == pytest.approx(0.05, abs=0.0026) and lag.gain == pytest.approx(0.7, abs=0.02)


def test_a_delay_beyond_what_is_tried_is_seen_at_the_edge():
    assert window_lag(*delayed(0.3), 1.0 - BEFORE_S, LENGTH_S, 0.2).at_edge


def record_of(delay_s: float, rng: np.random.Generator | None = None) -> PoseRecord:
    """Three axes, of which y is 10 ms slower and z still; noise instead of an answer where `rng` is given."""
    t_s = np.arange(0.0, 9.0, 0.01)
    still = np.zeros_like(t_s)
    commanded = np.stack([wobble(t_s), wobble(t_s, 1), still], axis=1)
    measured = np.stack([wobble(t_s - delay_s), wobble(t_s - delay_s - 0.01, 1), still], axis=1)
    if rng is not None:
        measured = rng.normal(0.0, 0.01, measured.shape)
    return PoseRecord(t_s, commanded, t_s, measured)


def test_the_estimate_is_the_mean_of_the_axes_that_moved():
    record = record_of(0.06)
    spans = spans_of(record, ("x", "y", "z"), 3.0, 0.6)
    estimate, windows = estimate_robot(record, CONTRACT, spans)
    means = axis_means(windows)
    assert list(means) == ["x", "y"]
    assert means["x"] == pytest.approx(0.06, abs=1e-3) and means["y"] == pytest.approx(0.07, abs=1e-3)
    assert estimate.latency_s == pytest.approx(0.065, abs=1e-3)
    # One number stands for both axes: their standard deviation, 10 ms / sqrt 2, is its uncertainty.
    assert estimate.systematic_s["difference between axes"] == pytest.approx(0.01 / np.sqrt(2.0), abs=1e-3)
    assert estimate.uncertainty_s >= estimate.systematic_s["difference between axes"]


def test_repetitions_that_agree_perfectly_are_not_known_perfectly():
    estimate, _ = estimate_robot(record_of(0.06), CONTRACT, [Span("x", 0.8, 6.5)] * 3)
    assert estimate.uncertainty_s == pytest.approx(0.01 / np.sqrt(12.0 * 3.0), rel=0.01)
    assert abs(estimate.latency_s - 0.06) < estimate.uncertainty_s


def test_what_is_no_measurement_is_refused():
    spans = [Span("x", 0.8, 3.0), Span("y", 0.8, 3.0), Span("x", 3.5, 3.0)]
    with pytest.raises(CalibrationError, match=r"correlate with .* only, at least 0.97"):
        estimate_robot(record_of(0.06, np.random.default_rng(0)), CONTRACT, spans)
    with pytest.raises(CalibrationError, match=r"only 0 of 3 spans have a motion"):
        estimate_robot(record_of(0.06), CONTRACT, [Span("z", 0.8, 3.0)] * 3)
    with pytest.raises(CalibrationError, match=r"edge of what was tried .* clocks"):
        estimate_robot(record_of(-0.2), CONTRACT, spans)


def test_an_arm_that_moves_before_its_command_is_a_matter_of_clocks():
    spans = [Span("x", 0.8, 6.5), Span("y", 0.8, 6.5), Span("x", 0.7, 6.5)]
    with pytest.raises(CalibrationError, match=r"the arm seems to move 4\d\.\d ms before it is commanded"):
        estimate_robot(record_of(-0.05), CONTRACT, spans)
    by_chance, _ = estimate_robot(record_of(-0.0055), CONTRACT, spans)
    assert by_chance.latency_s == 0.0, "x is 5.5 ms early and y 4.5 ms late"


def test_spans_with_lost_messages_are_left_out():
    record = record_of(0.06)
    keep = (record.measured_s < 2.0) | (record.measured_s > 2.5)
    gappy = PoseRecord(record.command_s, record.command_m, record.measured_s[keep], record.measured_m[keep])
    spans = [Span("x", 0.8, 3.0), Span("x", 3.9, 1.5), Span("x", 5.4, 1.5), Span("y", 3.9, 1.5)]
    _, windows = estimate_robot(gappy, CONTRACT, spans)
    assert [window.lag.start_s for window in windows] == [3.9, 5.4, 3.9]
