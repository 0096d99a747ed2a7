"""Keys while a bag is played: space, right arrow, q. Without a terminal there are none."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any

from dp_recorder.bag_tools.playback import NEXT, PAUSE, QUIT

from dp_bringup.operator_desk.terminal import split_keys

_MEANINGS = {" ": PAUSE, "\x1b[C": NEXT, "\x1bOC": NEXT, "q": QUIT}


class PlayKeys:
    """Reads single keys; use as a context manager, which leaves the terminal as it was.

    Attributes:
        usable: Whether there is a terminal to read from.
    """

    def __init__(self) -> None:
        self.usable = sys.stdin.isatty()
        self._settings: list[Any] | None = None

    def __enter__(self) -> PlayKeys:
        if self.usable:
            self._settings = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)  # Ctrl-C stays a signal
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    def read(self) -> list[str]:
        """What is asked for since the last call; never waits."""
        if not self.usable or not select.select([sys.stdin], [], [], 0.0)[0]:
            return []
        text = os.read(sys.stdin.fileno(), 256).decode(errors="replace")
        if not text:
            self.usable = False
        return [_MEANINGS[key] for key in split_keys(text) if key in _MEANINGS]
