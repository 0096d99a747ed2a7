"""What keys amount to, at times that are given."""

import numpy as np
import pytest
from dp_teleop.devices.key_bindings import (
    AXES,
    CLUTCH_OPENS_AFTER_S,
    FADE_S,
    HELP,
    HOLD_S,
    KeyBindings,
)


def keys(data, t_s=0.0, buttons=2, clutch_button=1):
    bindings = KeyBindings(buttons, clutch_button)
    bindings.feed(data, t_s)
    return bindings


@pytest.mark.parametrize(
    ("key", "axis"),
    [
        *((b"w", (0, 1)), (b"s", (0, -1)), (b"a", (1, 1)), (b"d", (1, -1)), (b"r", (2, 1)), (b"f", (2, -1))),
        *((b"q", (5, 1)), (b"e", (5, -1)), (b"i", (4, 1)), (b"k", (4, -1)), (b"l", (3, 1)), (b"j", (3, -1))),
        *((b"W", (0, 1)), (b"\x1b[A", (0, 1)), (b"\x1b[B", (0, -1)), (b"\x1b[D", (1, 1)), (b"\x1b[C", (1, -1))),
    ],
)
def test_each_key_deflects_its_axis(key, axis):
    expected = np.zeros(6)
    expected[axis[0]] = 0.5 * axis[1]
    np.testing.assert_array_equal(keys(key).axes(0.0), expected)


def test_a_deflection_holds_and_then_fades_to_zero():
    bindings = keys(b"w", t_s=10.0)
    assert bindings.axes(10.0 + 0.99 * HOLD_S)[0] == 0.5
    assert bindings.axes(10.0 + HOLD_S + 0.5 * FADE_S)[0] == pytest.approx(0.25)
    assert bindings.axes(10.0 + HOLD_S + FADE_S + 1e-9)[0] == 0.0
    # Repeated every 40 ms, as X does, it is steady.
    for step in range(50):
        assert bindings.axes(10.0 + 0.04 * step)[0] == 0.5
        bindings.feed(b"w", 10.0 + 0.04 * step)


def test_two_axes_in_turn_and_the_opposite_key():
    bindings = keys(b"wa")
    assert bindings.axes(0.0)[0] == bindings.axes(0.0)[1] == 0.5
    bindings.feed(b"s", 0.0)
    assert bindings.axes(0.0)[0] == -0.5


def test_size_of_the_deflection_has_ends():
    bindings = keys(b"+" * 20 + b"w")
    assert bindings.axes(0.0)[0] == bindings.size == 1.0
    bindings.feed(b"-" * 20, 0.0)
    assert bindings.axes(0.0)[0] == bindings.size == 0.1


def test_space_toggles_the_clutch():
    bindings = keys(b" ")
    assert bindings.buttons(0.0) == (False, True)
    bindings.feed(b" ", 1.0)
    assert bindings.buttons(1.0) == (False, False)


def test_the_clutch_opens_when_nobody_presses_keys_any_more():
    bindings = keys(b" ")
    bindings.feed(b"w", CLUTCH_OPENS_AFTER_S)
    assert bindings.buttons(2 * CLUTCH_OPENS_AFTER_S)[1]
    assert not bindings.buttons(2 * CLUTCH_OPENS_AFTER_S + 0.01)[1]
    # Space after that closes it, it does not toggle what had opened by itself.
    bindings = keys(b" ")
    bindings.feed(b" ", CLUTCH_OPENS_AFTER_S + 0.01)
    assert bindings.buttons(CLUTCH_OPENS_AFTER_S + 0.01)[1]


def test_without_a_clutch_space_does_nothing():
    assert keys(b" ", clutch_button=-1).buttons(0.0) == (False, False)


def test_buttons_are_down_while_their_key_repeats():
    bindings = keys(b"g3", buttons=3)
    assert bindings.buttons(HOLD_S) == (True, False, True)
    assert bindings.buttons(HOLD_S + 0.01) == (False, False, False)
    assert keys(b"9", buttons=2).buttons(0.0) == (False, False)


def test_stop_ends_everything_at_once():
    bindings = keys(b" wg")
    bindings.feed(b"x", 0.0)
    assert not np.any(bindings.axes(0.0)) and not any(bindings.buttons(0.0))


def test_sequences_in_pieces_and_nonsense():
    bindings = keys(b"\x1b")
    bindings.feed(b"[", 0.0)
    bindings.feed(b"A", 0.0)
    assert bindings.axes(0.0)[0] == 0.5
    for nonsense in (b"\x1b[15~", b"\x1bOP", b"\xff\x00z", b"\x1b[" + b"1;" * 20, b"\x1b\x1b\x1b"):
        bindings.feed(nonsense, 0.0)
    bindings.feed(b"d", 0.0)
    assert bindings.axes(0.0)[1] == -0.5


def test_help_names_every_key():
    assert all(f" {key} " in HELP for key in AXES if len(key) == 1)
    bindings = keys(b"h")
    assert bindings.help_wanted
