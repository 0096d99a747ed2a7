"""The onset of the fingers out of steps with a known one, and the simulated gripper's own lag."""

from __future__ import annotations

import numpy as np
import pytest
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.gripper_latency import WidthRecord, estimate_gripper, fit_steps
from dp_core.contract import load_contract
from dp_sim.cell import SimulatedCell

CONTRACT = load_contract("sim_franka")
STEPS_S = (1.0, 2.5, 4.0, 5.5, 7.0)


def commanded(t_s: np.ndarray) -> np.ndarray:
    """Open at first, then closed and open in turns."""
    return np.where(np.searchsorted(STEPS_S, t_s, side="right") % 2 == 0, 0.08, 0.0)


def ramps(latency_s: float, rate_hz: float, speed_m_s: float = 0.15, noise_m: float = 0.0) -> WidthRecord:
    """Fingers that begin to run `latency_s` after each step."""
    command_s, measured_s = np.arange(0.0, 9.0, 0.01), np.arange(0.0017, 9.0, 1.0 / rate_hz)
    width = np.full_like(measured_s, 0.08)
    for number, step_s in enumerate(STEPS_S):
        run = np.clip((measured_s - step_s - latency_s) * speed_m_s, 0.0, 0.08)
        after = measured_s > step_s + latency_s
        width[after] = (0.08 - run if number % 2 == 0 else run)[after]
    width = width + np.random.default_rng(0).normal(0.0, noise_m, len(width))
    return WidthRecord(command_s, commanded(command_s), measured_s, width)


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.231])
@pytest.mark.parametrize("rate", [15.0, 100.0])
def test_the_onset_is_finer_than_the_sampling(latency, rate):
    estimate, fits = estimate_gripper(ramps(latency, rate), CONTRACT)
    assert len(fits) == 5 and estimate.place == ("gripper",)
    assert estimate.latency_s == pytest.approx(latency, abs=1e-4)
    assert [fit.speed_m_s for fit in fits] == pytest.approx([0.15] * 5)


def test_noise_shows_in_the_uncertainty():
    estimate, _ = estimate_gripper(ramps(0.05, 100.0, noise_m=0.0005), CONTRACT)
    assert estimate.latency_s == pytest.approx(0.05, abs=0.003)
    assert 1e-5 < estimate.uncertainty_s < 0.003


@pytest.mark.parametrize("rate", [15.0, 100.0])
def test_steps_that_agree_perfectly_are_not_known_perfectly(rate):
    estimate, _ = estimate_gripper(ramps(0.05, rate), CONTRACT)
    assert estimate.uncertainty_s == pytest.approx(1.0 / rate / np.sqrt(12.0 * 5.0), rel=0.01)
    assert abs(estimate.latency_s - 0.05) < estimate.uncertainty_s


def test_a_grasped_object_and_a_slow_stream_are_refused():
    record = ramps(0.05, 100.0)
    held = WidthRecord(record.command_s, record.command_m, record.measured_s, np.maximum(record.measured_m, 0.05))
    with pytest.raises(CalibrationError, match=r"0 good steps .*moved by -30.0 of -80.0 mm.*between the fingers"):
        estimate_gripper(held, CONTRACT)
    with pytest.raises(CalibrationError, match=r"samples of its ramp; 4 are needed"):
        estimate_gripper(ramps(0.05, 8.0), CONTRACT)


def test_a_step_whose_command_was_lost_does_not_count():
    record = ramps(0.05, 100.0)
    keep = (record.command_s < 2.48) | (record.command_s > 2.53)
    fits = fit_steps(WidthRecord(record.command_s[keep], record.command_m[keep], record.measured_s, record.measured_m))
    assert [bool(fit.problem) for fit in fits] == [False, True, False, False, False]


@pytest.mark.parametrize("delay_ms", [0, 50])
def test_the_simulated_gripper(delay_ms):
    """Its servo trails a ramp by damping / stiffness: (30 + 5) / 2000 s = 17.5 ms, less one step of 1 ms."""
    cell = SimulatedCell("reach_around")
    cell.set_gripper(0.08)
    cell.step(1500)
    origin_ms, command, measured = cell.t_ms, [], []
    for tick in range(900):
        width = float(commanded(np.array(0.01 * tick)))
        command.append((0.01 * tick, width))
        measured.append((0.001 * (cell.t_ms - origin_ms), cell.state().width_m))
        sent = float(commanded(np.array(0.01 * tick - 0.001 * delay_ms)))
        cell.set_gripper(sent, CONTRACT.gripper.speed_m_s, CONTRACT.gripper.force_N)
        cell.step(10)
    c, m = np.array(command), np.array(measured)
    estimate, _ = estimate_gripper(WidthRecord(c[:, 0], c[:, 1], m[:, 0], m[:, 1]), CONTRACT)
    assert estimate.latency_s == pytest.approx(0.001 * (delay_ms + 17.5 - 1.0), abs=0.0005)
