"""When the terminal rings, so that the operator need not look at it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dp_msgs.msg import EpisodeState

COUNT, START, STOP, WARNING = 1, 2, 3, 4
SPACING_S = 0.18


@dataclass
class Bells:
    """Turns states into numbers of rings: one for each second counted down, 2 start, 3 end, 4 something is wrong."""

    _state: int = EpisodeState.IDLE
    _second: int = 0
    _warned: frozenset[str] = frozenset()

    def hear(self, state: int, countdown_s: float, warnings: Sequence[str]) -> int:
        """How often to ring for what is new in this state of the recorder.

        Args:
            state: Constants of EpisodeState.
            countdown_s: Left of the count-down, s.
            warnings: What is wrong now.
        """
        before, self._state = self._state, state
        # A warning whose figures change is the same warning.
        kinds = frozenset(text.split(":")[0] for text in warnings)
        fresh, self._warned = kinds - self._warned, kinds
        second, self._second = self._second, math.ceil(countdown_s) if state == EpisodeState.COUNTDOWN else 0
        if state == EpisodeState.RECORDING and before != state:
            return START
        if before == EpisodeState.RECORDING and state != before:
            return WARNING if state == EpisodeState.FAILED else STOP
        if state == EpisodeState.FAILED and before != state:
            return WARNING
        if state == EpisodeState.RECORDING and fresh:
            return WARNING
        if before == EpisodeState.COUNTDOWN and state == EpisodeState.IDLE:
            return WARNING  # refused or cancelled: nothing is being recorded
        return COUNT if self._second and self._second != second else 0


@dataclass
class Ringer:
    """Spreads rings over time, so that they can be counted."""

    _left: int = 0
    _next_s: float = 0.0

    def ring(self, count: int) -> None:
        """Ring ``count`` times; what was still to come is given up."""
        if count:
            self._left = count

    def due(self, now_s: float) -> bool:
        """Whether to ring at this moment (monotonic time, s)."""
        if not self._left or now_s < self._next_s:
            return False
        self._left -= 1
        self._next_s = now_s + SPACING_S
        return True
