"""SpaceMouse mapping; expected values worked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from dp_core.contract import GripperSpec, TeleopSpec
from dp_core.poses import quat_from_rpy
from dp_core.teleop_spec import AXES, ButtonGesture
from dp_teleop.gains import shape_axis
from dp_teleop.mapping import MappingState, choose_command, step
from dp_teleop.sample import SpaceMouseSample, is_repetition, sample_problem
from hypothesis import given, settings
from hypothesis import strategies as st

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
    spec = replace(SPEC, axis_signs=(1, -1, 1, 1, 1, -1))
    _, command = step(MappingState(), sample([1, 1, 0, 0, 0, 1]), None, spec, GRIPPER)
    np.testing.assert_allclose(command.twist, [0.25, -0.25, 0, 0, 0, -1.0])


def test_tool_frame_turns_the_twist():
    spec = replace(SPEC, frame="tool")
    quarter = quat_from_rpy([0, 0, np.pi / 2])
    _, command = step(MappingState(), sample([1, 0, 0, 1, 0, 0]), quarter, spec, GRIPPER)
    np.testing.assert_allclose(command.twist, [0, 0.25, 0, 0, 1.0, 0], atol=1e-12)
    _, command = step(MappingState(), sample([1, 0, 0, 0, 0, 0]), None, spec, GRIPPER)
    assert not command.engaged and not np.any(command.twist), "an unknown tool pose must not move the arm"


def test_the_clutch_must_be_held():
    spec = replace(SPEC, clutch_button=1)
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


def play(spec, frames, state=None, period_s=0.01, quat=None):
    """Commands of a hand at 100 Hz; ``frames``: (axes, buttons) of each sample. It was at rest before, unless given."""
    state, commands = state or replace(MappingState.at_start(spec), armed=True), []
    for tick, (axes, buttons) in enumerate(frames):
        state, command = step(state, sample(axes, buttons, 5.0 + tick * period_s), quat, spec, GRIPPER)
        commands.append(command)
    return state, commands


REST = ([0.0] * 6, (False, False, False))
PUSH = ([1.0, 0.5, 0, 0, 0, 0], (False, False, False))
DEFLECTION = st.lists(st.floats(-1, 1, allow_nan=False), min_size=6, max_size=6).map(np.array)
SHAPE = {"deadband": st.floats(0, 0.9), "expo": st.floats(0, 1)}


@settings(max_examples=200, deadline=None)
@given(value=st.floats(-1, 1), **SHAPE)
def test_the_curve_is_odd_bounded_and_rises(value, deadband, expo):
    up, down = shape_axis(np.array([value, -value]), deadband, expo)
    assert up == -down and abs(up) <= abs(value) + 1e-12
    assert up * value >= 0.0
    farther = shape_axis(np.array([np.sign(value) * min(1.0, abs(value) + 0.01)]), deadband, expo)[0]
    assert abs(farther) >= abs(up)


@settings(max_examples=200, deadline=None)
@given(distance=st.floats(0, 1e-3), **SHAPE)
def test_nothing_jumps_at_the_edge_of_the_deadband(distance, deadband, expo):
    inside, outside = shape_axis(np.array([max(deadband - distance, 0.0), deadband + distance]), deadband, expo)
    assert inside == 0.0 and 0.0 <= outside <= 3.0 * distance / (1.0 - deadband) + 1e-12


@settings(max_examples=200, deadline=None)
@given(
    axes=DEFLECTION,
    scale=st.tuples(*[st.floats(0, 1)] * 6),
    locked=st.sets(st.sampled_from(AXES)),
    tier=st.integers(0, 1),
    dominant=st.booleans(),
)
def test_a_twist_is_bounded_by_its_scale_and_tier_and_locked_axes_are_exactly_zero(axes, scale, locked, tier, dominant):
    spec = TeleopSpec(
        axis_scale=scale, locked_axes=tuple(locked), speed_tiers=(1.0, 0.25), speed_tier=tier, dominant_axis=dominant
    )
    _, (_, command, *_) = play(spec, [REST, (axes, REST[1])])
    bound = np.repeat([0.25, 1.0], 3) * np.array(scale) * (1.0, 0.25)[tier]
    assert np.all(np.abs(command.twist) <= bound * np.abs(axes) + 1e-12)
    assert np.all(command.twist[[axis in locked for axis in AXES]] == 0.0)
    assert np.count_nonzero(command.twist) <= (1 if dominant else 6)
    _, (_, opposite) = play(spec, [REST, (-axes, REST[1])])
    np.testing.assert_array_equal(opposite.twist, -command.twist)


@settings(max_examples=100, deadline=None)
@given(
    presses=st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 1, 2])), min_size=1, max_size=12),
    axes=DEFLECTION,
    sign=st.sampled_from([1, -1]),
)
def test_no_button_and_no_setting_makes_the_twist_jump(presses, axes, sign):
    """With a cap held still the twist changes by full scale in ramp_s at most, but for a clutch that is let go."""
    spec = TeleopSpec(clutch_button=1, speed_button=2, lock_button=3, speed_tiers=(1.0, 0.1), ramp_s=0.2)
    other = replace(spec, axis_signs=(sign, 1, 1, 1, 1, sign), linear_scale_m_s=0.1, locked_axes=("y",))
    state, _ = play(spec, [([0.0] * 6, (False,) * 4)])
    limit = np.repeat([0.25, 1.0], 3) * (0.01 / 0.2) + 1e-9
    t_s, before, down = 5.01, np.zeros(6), [False] * 4
    for count, kind in presses:
        down[1 + kind] = not down[1 + kind]
        for _ in range(count):
            now = spec if (count + kind) % 2 else other
            state, command = step(state, sample(axes, tuple(down), t_s), None, now, GRIPPER)
            change = np.abs(command.twist - before)
            assert np.all(change <= limit) or not np.any(command.twist), "only braking is at once"
            t_s, before = t_s + 0.01, command.twist


def test_tiers_are_stepped_through_and_join_by_a_ramp():
    spec = TeleopSpec(speed_button=2, speed_tiers=(1.0, 0.5), ramp_s=0.2)
    pressed = (PUSH[0], (False, False, True))
    _, commands = play(spec, [REST] + [PUSH] * 5 + [pressed] * 30 + [PUSH] * 30)
    speeds = [command.twist[0] for command in commands]
    assert speeds[5] == 0.25 and commands[6].speed_factor == 0.5
    # Full scale, 0.25 m/s, in 0.2 s is 0.0125 m/s each 10 ms.
    np.testing.assert_allclose(speeds[6:18], np.maximum(0.25 - 0.0125 * np.arange(1, 13), 0.125))
    assert speeds[-1] == 0.125, "one press, one step"


def test_the_dominant_axis_alone_moves_and_another_takes_over_when_it_is_clearly_stronger():
    spec = TeleopSpec(dominant_axis=True, deadband=0.0)
    first, near, clear = ([0.5, 0.4, 0, 0, 0, 0.1], [0.5, 0.6, 0, 0, 0, 0], [0.5, 0.7, 0, 0, 0, 0])
    _, commands = play(spec, [REST, (first, REST[1]), (near, REST[1])] + [(clear, REST[1])] * 25)
    np.testing.assert_allclose(commands[1].twist, [0.125, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(commands[2].twist, [0.125, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(commands[-1].twist, [0, 0.175, 0, 0, 0, 0])


def test_the_lock_button_switches_the_dominant_axis():
    spec = TeleopSpec(lock_button=2)
    pressed = (PUSH[0], (False, False, True))
    _, commands = play(spec, [REST, PUSH] + [pressed] * 40)
    assert commands[1].twist[1] > 0.0 and commands[-1].twist[1] == 0.0 and commands[-1].twist[0] == 0.25


def test_a_clutch_that_engages_while_deflected_begins_from_zero_and_ends_at_once():
    spec = TeleopSpec(clutch_button=1, ramp_s=0.2)
    held = (PUSH[0], (False, True, False))
    _, commands = play(spec, [REST, PUSH] + [held] * 30 + [PUSH])
    speeds = [command.twist[0] for command in commands]
    np.testing.assert_allclose(speeds[1:4], [0.0, 0.0125, 0.025])
    assert speeds[31] == 0.25 and speeds[32] == 0.0 and not commands[32].engaged
    # Engaged at rest there is nothing to join: the first deflection counts fully.
    _, commands = play(spec, [REST, ([0.0] * 6, (False, True, False)), held])
    assert commands[2].twist[0] == 0.25


def test_a_change_of_frame_stops_in_the_old_one_before_it_goes_on_in_the_new_one():
    base, tool = TeleopSpec(ramp_s=0.2), TeleopSpec(ramp_s=0.2, frame="tool")
    quarter = quat_from_rpy([0, 0, np.pi / 2])
    state, _ = play(base, [REST, PUSH], quat=quarter)
    twists = []
    for tick in range(60):
        axes = [1.0, 0, 0, 0, 0, 0]
        state, command = step(state, sample(axes, REST[1], 5.02 + 0.01 * tick), quarter, tool, GRIPPER)
        twists.append(command.twist)
    twists = np.array(twists)
    turn = int(np.argmax(twists[:, 1] > 1e-9))
    assert np.all(twists[:turn, 1] == 0.0) and np.all(np.abs(twists[turn:, 0]) < 1e-9)
    assert twists[turn - 1, 0] == pytest.approx(0.0, abs=1e-9) and twists[-1, 1] == pytest.approx(0.25)


def test_after_a_loss_the_cap_must_be_at_rest_and_the_clutch_let_go():
    spec = TeleopSpec(clutch_button=1)
    held, held_rest = (PUSH[0], (True, True, False)), (REST[0], (True, True, False))
    state, commands = play(
        spec, [held] + [held_rest] * 11 + [held] + [REST] * 20 + [held, held], MappingState.at_start(spec)
    )
    assert [command.armed for command in commands] == [False] * 13 + [True] * 22
    assert [command.engaged for command in commands] == [False] * 33 + [True] * 2
    assert commands[0].waits_for == "the cap to be at rest and button 1 to be let go"
    assert commands[11].waits_for == "button 1 to be let go" and not commands[13].waits_for
    assert not any(command.toggled for command in commands[:14]), "a button held over the loss is no press"
    _, commands = play(spec, [REST] * 10 + [PUSH] + [held_rest] * 12, state.without_device())
    # Zeros of a device that has not reported yet are no rest; a button that was pressed since was pressed on purpose.
    assert [command.engaged for command in commands] == [False] * 21 + [True] * 2


def test_hold_mode_closes_while_the_button_is_held():
    spec = TeleopSpec(gripper_mode="hold", button_debounce_s=0.05)
    grip = (REST[0], (True, False, False))
    _, commands = play(spec, [REST] + [grip] * 20 + [REST] * 20)
    assert [(index, c.width) for index, c in enumerate(commands) if c.toggled] == [(1, 0.0), (21, 0.08)]


def test_a_gesture_means_what_fits_the_recorder():
    assert choose_command(("start", "success"), recording=False) == "start"
    assert choose_command(("start", "success"), recording=True) == "success"
    assert choose_command(("discard",), recording=True) == choose_command(("discard",), recording=False) == "discard"
    assert choose_command(("failure",), recording=False) == "failure", "the recorder says why that is not possible"


def test_a_gesture_with_both_buttons_reaches_the_command_and_moves_nothing():
    gesture = ButtonGesture((0, 1), 0.5)
    spec = TeleopSpec(clutch_button=1, episode_buttons={"start": gesture, "success": gesture})
    both = (PUSH[0], (True, True, False))
    _, commands = play(spec, [REST] + [both] * 60 + [REST])
    assert [command.commands for command in commands if command.commands] == [("start", "success")]
    assert not any(command.toggled or command.engaged or np.any(command.twist) for command in commands)
