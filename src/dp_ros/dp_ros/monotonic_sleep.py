"""Sleeping until an absolute time on the monotonic clock.

``time.sleep`` takes a duration: a thread that loses the interpreter lock (5 ms and more) between reading the clock and
sleeping sleeps that much too long. ``clock_nanosleep`` with TIMER_ABSTIME takes the time to wake up at, so nothing
that happens before the call makes it late. Condition.wait adds a lock hand-over to the wake-up on top.
"""

from __future__ import annotations

import ctypes
import errno
import time
from typing import Any

#: From linux/time.h and time.h; the same on every architecture of Linux.
_CLOCK_MONOTONIC = 1
_TIMER_ABSTIME = 1
_SECOND_NS = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def _find_nanosleep() -> Any:
    """``clock_nanosleep`` of the C library, or None where there is none (macOS)."""
    try:
        function = ctypes.CDLL(None).clock_nanosleep
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    function.restype = ctypes.c_int
    return function


_NANOSLEEP = _find_nanosleep()


class MonotonicSleeper:
    """Sleeps the calling thread until a time on ``time.monotonic_ns()``; one thread only uses an instance.

    The time is written into memory allocated once, so that a loop allocates nothing for its sleep.
    """

    def __init__(self) -> None:
        self._until = _Timespec()
        self._address = ctypes.addressof(self._until)

    def sleep_until(self, monotonic_ns: int) -> None:
        """Return at ``monotonic_ns`` or after it, at once when that has passed. Signals do not shorten it."""
        if _NANOSLEEP is None:
            remaining_ns = monotonic_ns - time.monotonic_ns()
            if remaining_ns > 0:
                time.sleep(remaining_ns * 1e-9)
            return
        self._until.seconds, self._until.nanoseconds = divmod(monotonic_ns, _SECOND_NS)
        while (problem := _NANOSLEEP(_CLOCK_MONOTONIC, _TIMER_ABSTIME, self._address, None)) != 0:
            if problem != errno.EINTR:
                raise OSError(problem, f"clock_nanosleep until {monotonic_ns} ns failed")
