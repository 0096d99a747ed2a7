"""Ctrl-C as a request to end at the next good moment, and a second one as an order to end now."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType, TracebackType

#: A launcher passes a Ctrl-C on to children that have had it from the terminal; within this time it is the same one.
ECHO_S = 1.0


class StopRequest:
    """Context in which SIGINT and SIGTERM only set a flag, once the work has begun to ask for it.

    Before the first question (while data load) and at a second Ctrl-C they end the work at once. A second SIGTERM
    does not: launchers send one after the Ctrl-C that their children saw too. For the main thread.

    Args:
        notice: printed at the first signal, unless empty.
    """

    def __init__(self, notice: str) -> None:
        self._notice = notice
        self._asked_for = self._requested = False
        self._requested_s = 0.0
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
        now_s = time.monotonic()
        again = self._requested and number == signal.SIGINT and now_s - self._requested_s > ECHO_S
        if again or not self._asked_for:
            raise KeyboardInterrupt
        if not self._requested:
            self._requested, self._requested_s = True, now_s
            if self._notice:
                print(f"\n{self._notice}", file=sys.stderr, flush=True)
