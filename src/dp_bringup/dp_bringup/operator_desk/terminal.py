"""The terminal: single keys, a screen that is redrawn in place, and always left as it was found."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Any

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"  # alternate screen, no cursor
_LEAVE = "\x1b[?25h\x1b[?1049l"
_ESCAPE = "\x1b"


class Terminal:
    """Standard input and output of this process. Use as a context manager; without a terminal it only prints lines.

    Attributes:
        is_screen: Output is a terminal: draw; else: print.
        has_keys: Input is a terminal.
    """

    def __init__(self) -> None:
        self.is_screen = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.has_keys = sys.stdin.isatty()
        self._settings: list[Any] | None = None
        self._size = (0, 0)
        self._drawn: tuple[str, ...] = ()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Terminal:
        if self.has_keys:
            self._settings = termios.tcgetattr(sys.stdin)
        for number, act in ((signal.SIGTSTP, self._sleep), (signal.SIGCONT, self._prepare)):
            self._before[number] = signal.signal(number, lambda number, frame, act=act: act())  # type: ignore[misc]
        try:
            self._prepare()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._leave()

    def _leave(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._restore()

    def _sleep(self) -> None:
        """Ctrl-Z: the shell gets its terminal as it was."""
        self._restore()
        os.kill(os.getpid(), signal.SIGSTOP)

    def _restore(self) -> None:
        if self.is_screen:
            self._write(_LEAVE)
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._settings)

    def _prepare(self) -> None:
        """Take the terminal over; again after `fg`."""
        if self.has_keys:
            tty.setcbreak(sys.stdin)  # Ctrl-C stays a signal
        if self.is_screen:
            self._write(_ENTER)
        self._drawn = ()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        size = shutil.get_terminal_size((80, 24))
        return size.columns, size.lines

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, whose width fits, in place of those before."""
        columns, rows = self.size
        shown = tuple(lines[:rows])
        if shown == self._drawn and self._size == (columns, rows):
            return
        clear = "" if self._size == (columns, rows) else "\x1b[2J"
        self._size, self._drawn = (columns, rows), shown
        # A line is cleared before it is written: behind a full one the cursor stands on its last character.
        body = "\n".join(f"\x1b[K{line}" for line in shown)
        rest = "\n\x1b[J" if len(shown) < rows else ""
        self._write(f"{clear}\x1b[H{body}{rest}")

    def print(self, line: str) -> None:
        """Print a line, where there is no screen."""
        print(line, flush=True)

    def ring(self) -> None:
        """Ring once; a log file has no bell."""
        if sys.stdout.isatty():
            self._write("\a")

    def keys(self) -> list[str]:
        """Keys pressed since the last call: characters, and escape sequences as one; never waits."""
        if not self.has_keys or not select.select([sys.stdin], [], [], 0.0)[0]:
            return []
        try:
            text = os.read(sys.stdin.fileno(), 1024).decode(errors="replace")
        except OSError:  # the terminal is gone
            self.has_keys = False
            return []
        if not text:
            self.has_keys = False
        return split_keys(text)

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that has been closed must not end the recording
            # Not by sys.stdout, which cannot be written to by a signal that comes while it is written to.
            rest = text.encode()
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]


def split_keys(text: str) -> list[str]:
    """Single keys of what was read at once; ``ESC [ letter`` is one."""
    keys = []
    while text:
        length = 3 if text.startswith(_ESCAPE + "[") and len(text) >= 3 else 1
        keys.append(text[:length])
        text = text[length:]
    return keys
