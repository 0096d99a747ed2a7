"""Cyclic garbage collection at moments when a real-time loop has time to spare."""

from __future__ import annotations

import gc
import time

_SECOND_NS = 1_000_000_000
# Python's own collector comes after so many new objects and may then take milliseconds, in the middle of a cycle.
_YOUNG_EVERY_NS = _SECOND_NS
_FULL_EVERY_NS = 30 * _SECOND_NS
# A collection that finds no room for this many intervals is made anyway: one late cycle rather than growing memory.
_PATIENCE = 10
_MARGIN = 3


class IdleCollector:
    """Collects in the part of a period that the loop would sleep; for processes whose automatic collector is off.

    Most objects end by reference counting. What is left are cycles, few in a loop written with care: a young
    collection each second and a full one each half minute, made when they are expected to fit three times.
    """

    def __init__(self) -> None:
        now_ns = time.monotonic_ns()
        self._last_ns = [now_ns, now_ns]
        self._cost_ns = [0, 0]
        self.collections = 0

    def use(self, idle_ns: int) -> None:
        """Collect if it is time to and ``idle_ns`` of free time, which begins now, is enough."""
        now_ns = time.monotonic_ns()
        for place, (every_ns, generation) in enumerate(((_FULL_EVERY_NS, 2), (_YOUNG_EVERY_NS, 1))):
            waited_ns = now_ns - self._last_ns[place]
            if waited_ns < every_ns:
                continue
            if idle_ns < _MARGIN * self._cost_ns[place] and waited_ns < _PATIENCE * every_ns:
                continue
            gc.collect(generation)
            end_ns = time.monotonic_ns()
            self._cost_ns[place] = end_ns - now_ns
            self._last_ns = [end_ns, end_ns] if place == 0 else [self._last_ns[0], end_ns]
            self.collections += 1
            return
