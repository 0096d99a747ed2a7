"""Ctrl-C as a request to end at the next good moment, and a second one as an order to end now."""

from __future__ import annotations

import signal
import sys
from types import FrameType, TracebackType


class StopRequest:
    """Context in which SIGINT and SIGTERM only set a flag, once the work has begun to ask for it.

    Before the first question (while data load) and at a second Ctrl-C they end the work at once. A second SIGTERM
    does not: launchers send one after the Ctrl-C that their children saw too. For the main thread.
    """

    def __init__(self, notice: str) -> None:
        self._notice = notice
        self._asked_for = self._requested = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def __call__(self) -> bool:
        """Whether to end; ask between two pieces of work."""
        self._asked_for = True
        return self._requested

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._asked_for or (self._requested and number == signal.SIGINT):
            raise KeyboardInterrupt
        if not self._requested:
            self._requested = True
            print(f"\n{self._notice}", file=sys.stderr, flush=True)
