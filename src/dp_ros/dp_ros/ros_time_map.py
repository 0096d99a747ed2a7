"""From the monotonic clock, on which loops are paced, to the ROS clock, in which everything is stamped."""

from __future__ import annotations

#: A difference above this is a jump of the ROS clock (somebody set it); a smaller one is drift.
JUMP_NS = 5_000_000
#: A reading of both clocks that took longer than this is too inexact to correct drift with.
_SHARP_NS = 50_000
#: Share of the difference taken over by one observation, and most of it per nanosecond of monotonic time. NTP slews a
#: clock by 0.5 per thousand at most.
_GAIN = 1 / 64
_SLEW = 1e-3


class RosTimeMap:
    """``ros = monotonic + offset`` with an offset that follows drift slowly and jumps at once.

    The difference of two times mapped one after another is therefore that of the schedule, to a thousandth, however
    late their thread woke up; yet a clock that was set shows in the very next one.
    """

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self._observed_ns = 0
        self.jumps = 0

    def observe(self, before_ns: int, ros_ns: int, after_ns: int) -> None:
        """Take in a reading of the ROS clock made between two of the monotonic clock."""
        middle_ns = (before_ns + after_ns) // 2
        offset_ns = ros_ns - middle_ns
        if self._offset_ns is None:
            self._offset_ns = offset_ns
        else:
            difference = offset_ns - self._offset_ns
            width = after_ns - before_ns
            if abs(difference) > JUMP_NS + width:
                self._offset_ns = offset_ns
                self.jumps += 1
            elif width <= _SHARP_NS:
                most = _SLEW * (middle_ns - self._observed_ns)
                self._offset_ns += round(max(-most, min(most, _GAIN * difference)))
        self._observed_ns = middle_ns

    def ros_ns(self, monotonic_ns: int) -> int:
        """ROS time at a monotonic time.

        Raises:
            RuntimeError: before the first :meth:`observe`.
        """
        if self._offset_ns is None:
            raise RuntimeError("observe both clocks before asking for ROS time")
        return monotonic_ns + self._offset_ns
