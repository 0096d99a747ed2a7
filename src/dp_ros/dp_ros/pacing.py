"""Pacing of a worker loop: on the monotonic clock in real time, on /clock in simulation.

A loop asks :meth:`Pacer.wait` for its next tick and gets the ROS time of that tick. Real time: absolute schedule on
the monotonic clock, so errors do not add up, and the stamps are those of the schedule: evenly spaced, however late the
thread woke up. Simulation: ticks are the multiples of the period on /clock, so the loop runs exactly as fast as the
simulator, in lock step or not.
"""

from __future__ import annotations

import gc
import threading
import time

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from dp_ros import qos
from dp_ros.idle_collector import IdleCollector
from dp_ros.loop_statistics import LoopStatistics
from dp_ros.messages import stamp_to_ns
from dp_ros.monotonic_sleep import MonotonicSleeper
from dp_ros.ros_time_map import RosTimeMap

# The sleep on the clock cannot be interrupted: of a longer wait only the last part is slept that way.
_UNINTERRUPTED_NS = 20_000_000


def uses_sim_time(node: Node) -> bool:
    """True when the node's ``use_sim_time`` parameter is set."""
    return bool(node.get_parameter("use_sim_time").value)


class Pacer:
    """Gives the ticks of one loop. ``wait`` is called by one thread only; ``close`` by any.

    The first ``wait`` starts the schedule, one period ahead.

    Args:
        node: for its clock and, in simulation, a subscription to /clock.
        period_ns: time between ticks.

    Attributes:
        periods: periods from the tick before to the last one: 1, or more when ticks were skipped.
        overruns: ticks that came so late that others were skipped.
        statistics: of the loop in real time; empty in simulation, where wall time says nothing.
    """

    def __init__(self, node: Node, period_ns: int) -> None:
        if period_ns <= 0:
            raise ValueError(f"period_ns {period_ns} must be positive")
        self._node = node
        self._period_ns = period_ns
        self._closed = False
        self._condition = threading.Condition()
        self._sim_ns: int | None = None
        self._last_tick: int | None = None
        self._due_ns: int | None = None
        self._sleeper = MonotonicSleeper()
        self._map = RosTimeMap()
        self._collector = IdleCollector()
        self.statistics = LoopStatistics(period_ns)
        self.periods = 1
        self.overruns = 0
        self._simulated = uses_sim_time(node)
        if self._simulated:
            node.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK)

    @property
    def clock_jumps(self) -> int:
        """How often the ROS clock was set while the loop ran in real time; the stamps jumped with it."""
        return self._map.jumps

    def _on_clock(self, message: Clock) -> None:
        with self._condition:
            self._sim_ns = stamp_to_ns(message.clock)
            self._condition.notify_all()

    def close(self) -> None:
        """End the loop: :meth:`wait` returns None from now on, one that is under way within 20 ms."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def wait(self) -> int | None:
        """Block until the next tick; returns its ROS time in nanoseconds, or None once closed."""
        return self._wait_simulated() if self._simulated else self._wait_real()

    def _wait_simulated(self) -> int | None:
        with self._condition:
            while not self._closed:
                if self._sim_ns is not None:
                    tick = self._sim_ns // self._period_ns
                    # A clock that went back (a restarted simulator) starts the ticks anew.
                    if self._last_tick is None or tick > self._last_tick or tick < self._last_tick - 1:
                        passed = 1 if self._last_tick is None else tick - self._last_tick
                        self.periods = max(passed, 1)
                        self.overruns += self.periods > 1
                        self._last_tick = tick
                        return self._sim_ns
                self._condition.wait(timeout=0.5)
        return None

    def _wait_real(self) -> int | None:
        now_ns = time.monotonic_ns()
        due_ns = now_ns if self._due_ns is None else self._due_ns
        due_ns += self._period_ns
        if not gc.isenabled():
            # Real-time set-up switched it off in this process: what is left of the period is the moment for it.
            self._collector.use(due_ns - now_ns)
        self._sleep_until(due_ns)
        if self._closed:
            return None
        began_ns = time.monotonic_ns()
        # Late by more than a period: skip the missed ticks, never run them in a burst.
        skipped = max(began_ns - due_ns, 0) // self._period_ns
        due_ns += skipped * self._period_ns
        self._due_ns = due_ns
        self.periods = 1 + skipped
        self.overruns += skipped > 0
        self.statistics.record(began_ns, due_ns, skipped)
        ros_ns = int(self._node.get_clock().now().nanoseconds)
        self._map.observe(began_ns, ros_ns, time.monotonic_ns())
        return self._map.ros_ns(due_ns)

    def _sleep_until(self, due_ns: int) -> None:
        while not self._closed:
            remaining_ns = due_ns - time.monotonic_ns()
            if remaining_ns <= _UNINTERRUPTED_NS:
                self._sleeper.sleep_until(due_ns)
                return
            with self._condition:
                if not self._closed:
                    self._condition.wait(timeout=1e-9 * (remaining_ns - _UNINTERRUPTED_NS // 2))
