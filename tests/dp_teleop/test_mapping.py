"""SpaceMouse mapping; expected values worked by hand."""

import dataclasses

import numpy as np
import pytest
from dp_core.contract import GripperSpec, TeleopSpec
from dp_core.poses import quat_from_rpy
from dp_teleop.mapping import MappingState, SpaceMouseSample, is_repetition, sample_problem, shape_axis, step

SPEC = TeleopSpec()
GRIPPER = GripperSpec(0.0, 0.08, 0.1, 40.0)


def sample(axes, buttons=(False, False), t_s=0.0):
    return SpaceMouseSample(int(t_s * 1e9), np.array(axes, dtype=float), buttons)


def test_deadband_is_continuous_at_its_edge_and_keeps_full_deflection():
    values = shape_axis(np.array([-1.0, -0.05, 0.0, 0.0501, 0.525, 1.0, 3.0]), 0.05, 0.0)
    np.testing.assert_allclose(values, [-1, 0, 0, 0.0001 / 0.95, 0.5, 1, 1], atol=1e-12)


def test_expo_is_cubic_at_one():
    assert shape_axis(np.array([0.5]), 0.0, 1.0)[0] == pytest.approx(0.125)
    assert shape_axis(np.array([0.5]), 0.0, 0.5)[0] == pytest.approx(0.3125)


def test_scales_and_signs():
    spec = dataclasses.replace(SPEC, axis_signs=(1, -1, 1, 1, 1, -1))
    _, command = step(MappingState(), sample([1, 1, 0, 0, 0, 1]), None, spec, GRIPPER)
    np.testing.assert_allclose(command.twist, [0.25, -0.25, 0, 0, 0, -1.0])


def test_tool_frame_turns_the_twist():
    spec = dataclasses.replace(SPEC, frame="tool")
    quarter = quat_from_rpy([0, 0, np.pi / 2])
    _, command = step(MappingState(), sample([1, 0, 0, 1, 0, 0]), quarter, spec, GRIPPER)
    np.testing.assert_allclose(command.twist, [0, 0.25, 0, 0, 1.0, 0], atol=1e-12)
    _, command = step(MappingState(), sample([1, 0, 0, 0, 0, 0]), None, spec, GRIPPER)
    assert not command.engaged and not np.any(command.twist), "an unknown tool pose must not move the arm"


def test_the_clutch_must_be_held():
    spec = dataclasses.replace(SPEC, clutch_button=1)
    _, loose = step(MappingState(), sample([1, 0, 0, 0, 0, 0]), None, spec, GRIPPER)
    _, held = step(MappingState(), sample([1, 0, 0, 0, 0, 0], (False, True)), None, spec, GRIPPER)
    assert not np.any(loose.twist) and held.twist[0] == pytest.approx(0.25)


def test_gripper_toggles_on_the_rising_edge_once_and_is_debounced():
    state, widths = MappingState(), []
    presses = [(0.00, 0), (0.01, 1), (0.02, 1), (0.03, 0), (0.04, 1), (0.05, 0), (0.30, 1), (0.31, 0)]
    for t_s, down in presses:
        state, command = step(state, sample([0] * 6, (bool(down), False), t_s), None, SPEC, GRIPPER)
        if command.toggled:
            widths.append((t_s, command.width))
    # The press at 0.04 s is a bounce of the one at 0.01 s.
    assert widths == [(0.01, 0.0), (0.30, 0.08)]


@pytest.mark.parametrize(
    ("axes", "buttons", "message"),
    [
        ([0, 0, 0], (False, False), "3 axes, expected 6"),
        ([0, 0, np.nan, 0, 0, 0], (False, False), "not finite"),
        ([0] * 6, (), "0 buttons, but button 0 is in use"),
    ],
)
def test_bad_samples_are_named(axes, buttons, message):
    assert message in sample_problem(sample(axes, buttons), SPEC)


def test_a_good_sample_has_no_problem():
    assert sample_problem(sample([0] * 6), SPEC) is None


def test_only_the_same_reading_within_five_milliseconds_is_a_repetition():
    first = sample([0.5, 0, 0, 0, 0, 0], t_s=1.0)
    same, later = (sample([0.5, 0, 0, 0, 0, 0], t_s=t_s) for t_s in (1.004, 1.006))
    assert is_repetition(first, same) and not is_repetition(first, later)
    assert not is_repetition(None, first)
    assert not is_repetition(first, sample([0.5, 0, 0, 0, 0, 0.1], t_s=1.001))
    assert not is_repetition(first, sample([0.5, 0, 0, 0, 0, 0], (True, False), t_s=1.001)), "a press is news"
    assert not is_repetition(first, sample([0.5, 0, 0, 0, 0, 0], t_s=0.999)), "the clock was set back"
