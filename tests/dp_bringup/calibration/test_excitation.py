"""The motions of a calibration: smooth, within the limits, from rest to rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.excitation import ACTION_PERIOD_S, Wobble, step_widths, wobble_poses
from dp_core.contract import load_contract
from dp_core.limits import KeepOutBox, SafetySpec

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def test_a_wobble_begins_and_ends_at_rest_and_is_as_large_as_asked():
    for seed in range(5):
        wobble = Wobble(amplitude_m=0.02)
        offsets = wobble.deflection(np.random.default_rng(seed), wobble.times())
        assert abs(offsets[0]) < 1e-12 and abs(offsets[-1]) < 1e-12
        assert abs(offsets[1]) < 1e-4 and abs(offsets[-2]) < 1e-4
        assert 0.97 * 0.02 < np.abs(offsets).max() <= 0.02 + 1e-9
        assert np.std(offsets) > 0.004


def test_its_power_lies_in_the_band():
    wobble = Wobble(duration_s=12.0, lowest_hz=0.5, highest_hz=1.0)
    offsets = wobble.deflection(np.random.default_rng(0), wobble.times())
    power = np.abs(np.fft.rfft(offsets)) ** 2
    frequency = np.fft.rfftfreq(len(offsets), ACTION_PERIOD_S)
    inside = (frequency > 0.35) & (frequency < 1.15)
    assert power[inside].sum() > 0.98 * power.sum()


def test_the_same_seed_gives_the_same_motion_along_one_axis():
    poses = [wobble_poses(Wobble(), "y", START, CONTRACT, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(poses[0], poses[1])
    assert np.abs(poses[0] - poses[2]).max() > 0.005
    np.testing.assert_array_equal(poses[0][:, [0, 2, 3, 4, 5, 6]], np.tile(START[[0, 2, 3, 4, 5, 6]], (161, 1)))


def test_what_does_not_fit_the_cell_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(CalibrationError, match=r"along y about 0.390 m leaves the workspace \(-0.4 to 0.4 m\)"):
        wobble_poses(Wobble(), "y", np.array([0.5, 0.39, 0.3, 1.0, 0.0, 0.0, 0.0]), CONTRACT, rng)
    with pytest.raises(CalibrationError, match=r"velocity.*60% of the limit 0.6 is allowed: .*smaller --amplitude"):
        wobble_poses(Wobble(amplitude_m=0.1, lowest_hz=1.0, highest_hz=3.0), "y", START, CONTRACT, rng)
    with pytest.raises(CalibrationError, match=r"a wobble of 0.003 m moves by 1.1 mm \(rms\).*larger --amplitude"):
        wobble_poses(Wobble(amplitude_m=0.003), "y", START, CONTRACT, np.random.default_rng(0))
    for settings, text in (
        ({"duration_s": 20.0}, r"--duration 20 is not valid; valid: 2 to 12.75 s"),
        ({"amplitude_m": 0.5}, r"--amplitude 0.5 is not valid; valid: 0.001 to 0.1 m"),
        ({"lowest_hz": 2.0}, r"--band 2 1 is not valid"),
    ):
        with pytest.raises(CalibrationError, match=text):
            Wobble(**settings)


def test_table_and_keep_out_boxes_are_not_touched():
    rng = np.random.default_rng(0)
    box = KeepOutBox((0.4, 0.01, 0.2), (0.6, 0.1, 0.4))
    for axis, safety, name in (
        ("z", SafetySpec(table_height_m=0.29), "table"),
        ("y", SafetySpec(keep_out={"bin": box}), "keep_out:bin"),
    ):
        with pytest.raises(CalibrationError, match=rf"along {axis} .* meets a boundary of the contract \({name}\)"):
            wobble_poses(Wobble(), axis, START, replace(CONTRACT, safety=safety), rng)
        wobble_poses(Wobble(), "x", START, replace(CONTRACT, safety=safety), rng)


@pytest.mark.parametrize(("start", "first"), [(0.08, 0.0), (0.0, 0.08)])
def test_steps_of_the_gripper_begin_away_from_where_it_is(start, first):
    times, widths = step_widths(CONTRACT, start, 5, 1.5)
    changes = np.flatnonzero(np.diff(widths)) + 1
    assert widths[0] == start and widths[changes[0]] == first
    np.testing.assert_allclose(times[changes], [1.5, 3.0, 4.5, 6.0, 7.5])
    assert times[-1] == pytest.approx(9.0)
    with pytest.raises(CalibrationError, match=r"--steps 40 every 1.5 s is not valid; valid: 3 to 16"):
        step_widths(CONTRACT, start, 40, 1.5)
