"""Pacing of a worker loop: on the monotonic clock in real time, on /clock in simulation.

A loop asks :meth:`Pacer.wait` for its next tick and gets the ROS time of that tick. Real time: absolute schedule on
the monotonic clock, so errors do not add up. Simulation: ticks are the multiples of the period on /clock, so the loop
runs exactly as fast as the simulator, in lock step or not.
"""

from __future__ import annotations

import threading
import time

from rclpy.node import Node
from rosgraph_msgs.msg import Clock

from dp_ros import qos
from dp_ros.messages import stamp_to_ns


def uses_sim_time(node: Node) -> bool:
    """True when the node's ``use_sim_time`` parameter is set."""
    return bool(node.get_parameter("use_sim_time").value)


class Pacer:
    """Gives the ticks of one loop. ``wait`` is called by one thread only; ``close`` by any.

    Args:
        node: for its clock and, in simulation, a subscription to /clock.
        period_ns: time between ticks.
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
        self._next_monotonic_ns = time.monotonic_ns() + period_ns
        self.overruns = 0
        self._simulated = uses_sim_time(node)
        if self._simulated:
            node.create_subscription(Clock, "/clock", self._on_clock, qos.CLOCK)

    def _on_clock(self, message: Clock) -> None:
        with self._condition:
            self._sim_ns = stamp_to_ns(message.clock)
            self._condition.notify_all()

    def close(self) -> None:
        """Wake the loop up for good: :meth:`wait` returns None from now on."""
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
                        if self._last_tick is not None and tick > self._last_tick + 1:
                            self.overruns += 1
                        self._last_tick = tick
                        return self._sim_ns
                self._condition.wait(timeout=0.5)
        return None

    def _wait_real(self) -> int | None:
        with self._condition:
            remaining_ns = self._next_monotonic_ns - time.monotonic_ns()
            while remaining_ns > 0 and not self._closed:
                self._condition.wait(timeout=remaining_ns * 1e-9)
                remaining_ns = self._next_monotonic_ns - time.monotonic_ns()
            if self._closed:
                return None
        self._next_monotonic_ns += self._period_ns
        if remaining_ns < -self._period_ns:
            # Late by more than a period: skip the missed ticks, never run them in a burst.
            self.overruns += 1
            missed = -remaining_ns // self._period_ns
            self._next_monotonic_ns += missed * self._period_ns
        return int(self._node.get_clock().now().nanoseconds)
