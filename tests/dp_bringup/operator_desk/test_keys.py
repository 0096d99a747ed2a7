import pytest
from dp_bringup.operator_desk.keys import COMMANDS, HELP, Keyboard, hint
from dp_bringup.operator_desk.terminal import split_keys
from dp_recorder.operator_flow import COMMANDS as KNOWN

from dp_msgs.msg import EpisodeState

IDLE, RECORDING = EpisodeState.IDLE, EpisodeState.RECORDING


def test_every_command_of_the_recorder_has_a_key_and_no_key_asks_for_another():
    assert set(COMMANDS.values()) == set(KNOWN)


@pytest.mark.parametrize(
    ("key", "wish"),
    [("s", "start"), (" ", "start"), ("Y", "success"), ("n", "failure"), ("u", "stop"), ("d", "discard"),
     ("r", "redo"), ("p", "pause"), ("g", "go_on"), ("\x1b[C", "next"), ("\x1b[D", "previous"), ("t", "teleop"),
     ("o", "reset_scene"), ("z", ""), ("\x1b", ""), ("q", "quit")],
)  # fmt: skip
def test_keys(key, wish):
    assert Keyboard().press(key, IDLE) == wish


@pytest.mark.parametrize("state", [EpisodeState.COUNTDOWN, RECORDING, EpisodeState.CLOSING])
def test_quitting_is_asked_twice_while_an_episode_is_open(state):
    keyboard = Keyboard()
    assert keyboard.press("q", state) == "" and keyboard.asks_to_quit
    assert keyboard.press("y", state) == "success" and not keyboard.asks_to_quit, "any other key goes on"
    assert keyboard.press("q", state) == ""
    assert keyboard.press("q", state) == "quit"


def test_help_comes_and_goes_and_names_every_key():
    keyboard = Keyboard()
    assert keyboard.press("?", RECORDING) == "" and keyboard.shows_help
    assert keyboard.press("y", RECORDING) == "success" and keyboard.shows_help, "keys work while it is shown"
    keyboard.press("?", RECORDING)
    assert not keyboard.shows_help
    keys = {key for entry, _ in HELP for key in entry.replace("space", " ").split(", ")}
    shown = {key for key in COMMANDS if len(key) == 1 and key not in ",. "}
    assert shown <= keys and {"t", "o", "?", "q"} <= keys


@pytest.mark.parametrize("state", range(6))
def test_hints_fit_eighty_columns(state):
    assert 0 < len(hint(state)) <= 80


def test_keys_that_were_read_at_once_are_told_apart():
    assert split_keys("sy\x1b[Cq") == ["s", "y", "\x1b[C", "q"]
    assert split_keys("\x1b") == ["\x1b"]
