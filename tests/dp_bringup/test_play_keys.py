import os
import sys
import termios

import pytest
from dp_bringup.bag_commands.play_keys import PlayKeys
from dp_recorder.bag_tools.playback import NEXT, PAUSE, QUIT


@pytest.fixture
def typing(monkeypatch):
    """A terminal as standard input; gives what is typed into it."""
    person, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield lambda text: os.write(person, text)
    os.close(person)


def test_keys_of_a_terminal(typing):
    before = termios.tcgetattr(sys.stdin)
    with PlayKeys() as keys:
        assert keys.usable and keys.read() == []
        typing(b" \x1b[Cxq\x1b[A")
        assert keys.read() == [PAUSE, NEXT, QUIT]
        assert keys.read() == []
    assert termios.tcgetattr(sys.stdin) == before


def test_without_a_terminal_there_are_none(monkeypatch, tmp_path):
    with (tmp_path / "input").open("w+") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with PlayKeys() as keys:
            assert not keys.usable and keys.read() == []
