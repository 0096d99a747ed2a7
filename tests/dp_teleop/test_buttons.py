"""Debouncing, chords and gestures; expected events worked by hand."""

import itertools

import pytest
from dp_core.teleop_spec import ButtonGesture, TeleopSpec
from dp_teleop.buttons import ButtonState, step_buttons
from hypothesis import given, settings
from hypothesis import strategies as st

TWO = {
    "start": ButtonGesture((0, 1), 0.5),
    "success": ButtonGesture((0, 1), 0.5),
    "failure": ButtonGesture((0, 1), 1.5),
    "discard": ButtonGesture((0, 1), 3.0),
}
COMPACT = TeleopSpec(clutch_button=1, episode_buttons=TWO)
GRIPPER, CLUTCH = 0, 1


def play(spec, presses, end_s, period_s=0.01, buttons=2, state=None):
    """Events of a hand at 100 Hz; ``presses``: (button, from_s, to_s)."""
    state, events = state or ButtonState(), []
    for tick in range(round(end_s / period_s) + 1):
        t_s = round(tick * period_s, 6)
        raw = tuple(any(b == number and a <= t_s < e for number, a, e in presses) for b in range(buttons))
        # A clock starts anywhere.
        state, event = step_buttons(state, raw, 7_000_000_000 + round(1e9 * t_s), spec)
        events.append((t_s, event))
    return events


def commands(events):
    return [(t_s, event.commands) for t_s, event in events if event.commands]


def when(events, kind, button):
    return [t_s for t_s, event in events if button in getattr(event, kind)]


@pytest.mark.parametrize(
    ("held_s", "asked", "at_s"),
    [
        (0.4, None, None),
        (0.7, ("start", "success"), 0.74),
        (2.0, ("failure",), 2.04),
        (5.0, ("discard",), 3.04),  # the longest one does not wait for the end
    ],
)
def test_a_chord_asks_by_its_length_and_moves_neither_gripper_nor_clutch(held_s, asked, at_s):
    # The second button comes 40 ms after the first; from then on the time counts.
    events = play(COMPACT, [(CLUTCH, 0.0, 0.04 + held_s), (GRIPPER, 0.04, 0.2 + held_s)], 6.0)
    assert commands(events) == ([] if asked is None else [(pytest.approx(at_s), asked)])
    for button in (GRIPPER, CLUTCH):
        assert not when(events, "pressed", button) and not when(events, "held", button)


def test_with_the_clutch_held_the_gripper_acts_at_once_and_long_presses_are_no_chord():
    events = play(COMPACT, [(CLUTCH, 0.0, 5.0), (GRIPPER, 1.0, 4.9)], 5.2)
    assert when(events, "pressed", CLUTCH) == [0.1], "it waits for a partner"
    assert when(events, "pressed", GRIPPER) == [1.0] and not commands(events)
    held = when(events, "held", CLUTCH)
    assert held[0] == 0.1 and held[-1] == 4.99 and len(held) == 490, "engaged throughout"


def test_a_gripper_pressed_alone_waits_for_the_partner_and_a_late_partner_is_no_chord():
    events = play(COMPACT, [(GRIPPER, 0.0, 2.0), (CLUTCH, 0.12, 2.0)], 2.2)
    assert when(events, "pressed", GRIPPER) == [0.1] and when(events, "pressed", CLUTCH) == [0.12]
    assert not commands(events)


def test_a_tap_shorter_than_the_window_is_a_press():
    spec = TeleopSpec(clutch_button=1, episode_buttons=TWO, button_debounce_s=0.0)
    events = play(spec, [(GRIPPER, 0.5, 0.54)], 1.0)
    assert when(events, "pressed", GRIPPER) == [0.54]


def test_without_gestures_nothing_waits():
    events = play(TeleopSpec(clutch_button=1), [(GRIPPER, 0.5, 0.7), (CLUTCH, 0.5, 0.9)], 1.0)
    assert when(events, "pressed", GRIPPER) == when(events, "pressed", CLUTCH) == [0.5]


def test_a_button_of_a_chord_means_nothing_until_it_is_let_go():
    events = play(COMPACT, [(CLUTCH, 0.0, 3.0), (GRIPPER, 0.0, 0.3), (CLUTCH, 3.5, 4.0)], 4.2)
    assert when(events, "held", CLUTCH)[0] == 3.6


def test_free_buttons_have_gestures_of_their_own():
    spec = TeleopSpec(episode_buttons={"start": ButtonGesture((3,)), "redo": ButtonGesture((3,), 1.0)})
    events = play(spec, [(3, 0.0, 0.3), (3, 1.0, 3.0)], 3.2, buttons=4)
    assert commands(events) == [(0.3, ("start",)), (2.0, ("redo",))]
    alone = TeleopSpec(episode_buttons={"stop": ButtonGesture((2,))})
    assert commands(play(alone, [(2, 0.4, 0.9)], 1.0, buttons=3)) == [(0.4, ("stop",))]


def test_buttons_that_are_down_after_a_loss_mean_nothing_until_they_are_let_go():
    events = play(
        TeleopSpec(clutch_button=1), [(0, 0, 1), (1, 0, 1), (1, 1.5, 2)], 2.0, state=ButtonState(swallow=True)
    )
    assert not when(events, "pressed", GRIPPER) and when(events, "held", CLUTCH)[0] == 1.5


def test_a_button_that_the_driver_finds_later_disturbs_no_other():
    state, events = step_buttons(ButtonState(), (False, True), 10**9, TeleopSpec(clutch_button=1))
    assert CLUTCH in events.held
    state, events = step_buttons(state, (False, True, False, True), 2 * 10**8 + 10**9, TeleopSpec(clutch_button=1))
    assert CLUTCH in events.held and not events.pressed


def test_a_clock_that_jumps_while_a_chord_is_held_asks_nothing():
    state, asked = ButtonState(), []
    for second in (1.0, 1.01, 9.0, 9.01):
        state, events = step_buttons(state, (True, True), round(1e9 * second), COMPACT)
        asked += events.commands
    for second in (9.2, 9.4):
        state, events = step_buttons(state, (False, False), round(1e9 * second), COMPACT)
        asked += events.commands
    assert not asked


@settings(max_examples=150, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 1)), max_size=40),
    debounce_ms=st.integers(0, 200),
)
def test_presses_and_releases_alternate_and_keep_their_distance(changes, debounce_ms):
    """Whatever a contact does: no two presses within the debouncing time, and no chord that moves the gripper."""
    spec = TeleopSpec(clutch_button=1, episode_buttons=TWO, button_debounce_s=1e-3 * debounce_ms)
    state, t_ms, raw, seen = ButtonState(), 0, [False, False], []
    for gap_ms, button in changes:
        for _ in range(0, gap_ms, 10):
            t_ms += 10
            state, events = step_buttons(state, tuple(raw), t_ms * 10**6, spec)
            seen.append((t_ms, events))
        raw[button] = not raw[button]
    presses = [t for t, events in seen if GRIPPER in events.pressed]
    assert all(b - a >= debounce_ms for a, b in itertools.pairwise(presses))
    for _, events in seen:
        assert not (events.commands and GRIPPER in events.held), "a chord and the gripper at once"
