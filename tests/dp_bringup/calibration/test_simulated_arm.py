"""The latency of the simulated arm, by the calibration and by another way: lock-in detection of single tones.

The arm is driven by a sum of tones whose common period is long over; sine and cosine of each tone pick its gain and
phase out of the answer. The lag at which a command correlates best with the answer follows from those: the sum of
amplitude^2 gain cos(2 pi f lag - phase) over the tones is largest there.
"""

from __future__ import annotations

import numpy as np
import pytest
from dp_bringup.calibration.excitation import Wobble
from dp_bringup.calibration.robot_latency import PoseRecord, Span, estimate_robot
from dp_core.contract import load_contract
from dp_sim.cell import SimulatedCell

CONTRACT = load_contract("sim_franka")
CONTROL_MS = 10
AXIS = 1
DELAY_MS = 30


def tone_lag_s(axis: int, tones_hz: np.ndarray, amplitude_m: float, period_s: float, settle_s: float = 2.0):
    """Best lag (s) of the arm of `sim_franka` for equal tones, commands held for a control period included.

    Args:
        axis: 0 to 2, of the base frame.
        tones_hz: multiples of 1 / period_s.
        amplitude_m: of each tone.
        period_s: over which the answer is looked at.
        settle_s: before that.
    """
    cell = SimulatedCell("place")
    start = cell.ee_pose()
    phases = np.arange(len(tones_hz)) ** 2 * np.pi / len(tones_hz)  # Schroeder: keeps the sum low

    def command(t_s: float) -> float:
        rise = min(1.0, t_s / settle_s)
        return amplitude_m * rise * float(np.sin(2.0 * np.pi * tones_hz * t_s + phases).sum())

    times, answer = [], []
    for tick in range(round(1000.0 * (settle_s + period_s + 0.5) / CONTROL_MS)):
        pose = start.copy()
        pose[axis] += command(0.001 * CONTROL_MS * tick)
        cell.set_target_pose(pose)
        cell.step(CONTROL_MS)
        times.append(0.001 * cell.t_ms)
        answer.append(cell.ee_pose()[axis] - start[axis])
    t_s, y = np.array(times), np.array(answer)
    t_s, y = t_s[t_s > settle_s + 0.5 - 1e-9], y[np.array(times) > settle_s + 0.5 - 1e-9]
    count = round(1000.0 * period_s / CONTROL_MS)
    t_s, y = t_s[:count], y[:count]
    turn = np.exp(-1j * (2.0 * np.pi * np.outer(tones_hz, t_s) + phases[:, None]))
    # sin(x - delay) picked out by exp(-ix): (1 / 2i) exp(-i delay) on average.
    response = 2j * (turn @ y) / count
    gain, delay = np.abs(response), -np.angle(response)
    lags = np.arange(0.0, 0.5, 1e-4)
    fit = (gain * np.cos(2.0 * np.pi * np.outer(lags, tones_hz) - delay)).sum(axis=1)
    return float(lags[np.argmax(fit)])


def test_the_simulated_arms_lag_is_that_of_its_impedance_law():
    wobble = Wobble(amplitude_m=0.02, duration_s=6.0)
    times = wobble.times()
    deflection = wobble.deflection(np.random.default_rng(0), times)
    cell = SimulatedCell("place")
    start = cell.ee_pose()
    targets, command, measured = [], [], []
    for tick in range(800):
        target = start.copy()
        target[AXIS] += np.interp(0.001 * CONTROL_MS * tick - 1.0, times, deflection)
        targets.append(target)
        cell.set_target_pose(targets[max(0, tick - DELAY_MS // CONTROL_MS)])
        command.append((0.001 * cell.t_ms, *target[:3]))
        measured.append((0.001 * cell.t_ms, *cell.ee_pose()[:3]))
        cell.step(CONTROL_MS)
    c, m = np.array(command), np.array(measured)
    record = PoseRecord(c[:, 0], c[:, 1:], m[:, 0], m[:, 1:])
    estimate, _ = estimate_robot(record, CONTRACT, [Span("xyz"[AXIS], 0.8, 6.5)] * 3)
    law_s = tone_lag_s(AXIS, np.linspace(wobble.lowest_hz, wobble.highest_hz, 8), 0.003, 10.0)
    assert estimate.latency_s == pytest.approx(0.001 * DELAY_MS + law_s, abs=0.0015)
    # By hand: D / K of a critically damped arm, 2 sqrt(m / K) with 5.46 kg along y, and half a period of the command.
    assert law_s == pytest.approx(2.0 * np.sqrt(5.46 / 3000.0) + 0.005, abs=0.003)
