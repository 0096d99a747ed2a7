"""Grippers that are action servers: the ROS side of :class:`dp_control.grippers.goal_tracker.GoalTracker`."""

from __future__ import annotations

from typing import Any, Protocol

from rclpy.action import ActionClient
from rclpy.node import Node

from dp_control.grippers.goal_tracker import Future, GoalServer, GoalTracker

# How often the goal in flight is looked at, and how often an idle server is.
BUSY_NS = 20_000_000
IDLE_NS = 500_000_000


class ActionServer(GoalServer, Protocol):
    """A gripper's action server that also turns widths into goals."""

    def goal(self, width_m: float, speed_m_s: float, force_N: float) -> Any:
        """The goal for a width."""
        ...

    def close(self) -> None:
        """Destroy the clients."""
        ...


class ActionGripper:
    """Drives an :class:`ActionServer`. Implements :class:`dp_control.interfaces.GripperBackEnd`.

    rclpy's action clients are not safe to use beside the executor that serves them. So the control thread only
    leaves what it wants and wakes the executor up, through a guard condition, and the executor does the work.
    """

    def __init__(self, node: Node, server: ActionServer) -> None:
        self._node = node
        self._server = server
        self._tracker = GoalTracker(server)
        self._guard = node.create_guard_condition(self._work)
        self._t_ns = 0
        self._woken_ns: int | None = None

    def send(self, width_m: float, speed_m_s: float, force_N: float, t_ns: int) -> None:
        """Want this width from now on; a goal under way for another one is cancelled first."""
        self._tracker.want(self._server.goal(width_m, speed_m_s, force_N))
        self._wake(t_ns)

    def step(self, t_ns: int) -> None:
        """Have the executor look at the goal in flight."""
        pause_ns = BUSY_NS if self._tracker.busy else IDLE_NS
        if self._woken_ns is None or not 0 <= t_ns - self._woken_ns < pause_ns:
            self._wake(t_ns)

    def _wake(self, t_ns: int) -> None:
        self._t_ns = self._woken_ns = t_ns
        self._guard.trigger()

    def _work(self) -> None:
        """Runs in the executor's thread."""
        self._tracker.step(self._t_ns)

    def problem(self, t_ns: int) -> str:
        """Why the gripper does not do what it was told, or empty; some hundredths of a second old."""
        return self._tracker.problem

    def close(self) -> None:
        """Forget the goal in flight; the fingers finish it."""
        self._node.destroy_guard_condition(self._guard)
        self._server.close()


def send_goal(client: ActionClient, goal: Any) -> Future:
    """Send without asking for feedback, which nobody reads."""
    future: Future = client.send_goal_async(goal)
    return future
