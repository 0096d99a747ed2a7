"""The Franka Hand through franka_ros2's gripper node (read at v3.4.0): actions ``~/grasp`` and ``~/move``.

Its node accepts every goal and runs each in a thread of its own, so only one may be in flight; a failure shows as an
aborted goal whose result says why. ``move`` goes to a width without force, and blocks for minutes when something is in
the way. ``grasp`` closes with force on whatever it meets, and succeeds when the width then is within
``width - epsilon.inner`` and ``width + epsilon.outer``. So widths in the lower half of the range are grasps, with an
outer epsilon as wide as the opening (anything between the fingers is a success, and so is nothing), and the others
are moves. A grasp again while one holds makes the hand wait and then fail: all grasps of the same force and speed
are therefore one goal. The hand must have been homed once since it was switched on (Desk, or ``~/homing``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from action_msgs.msg import GoalStatus
from dp_core.contract import Contract
from rclpy.action import ActionClient
from rclpy.node import Node

from dp_control.grippers.action import send_goal
from dp_control.grippers.goal_tracker import Future
from dp_control.optional_interfaces import interfaces

# Widths below this share of the range are grasps.
GRASP_BELOW = 0.5
GRASP_EPSILON_INNER_M = 0.005


@dataclass(frozen=True)
class FrankaGoal:
    """What the hand shall do: ``width_m`` None is a grasp of whatever is there."""

    width_m: float | None
    speed_m_s: float
    force_N: float = 0.0

    def __str__(self) -> str:
        return "grasp" if self.width_m is None else f"move to {1e3 * self.width_m:.0f} mm"


class FrankaHand:
    """See the module. Implements :class:`dp_control.grippers.action.ActionServer`."""

    def __init__(self, node: Node, contract: Contract) -> None:
        self._actions = interfaces("franka_msgs.action", "robot.gripper franka")
        self._spec = contract.gripper
        self.name = contract.robot.gripper_name or "franka_gripper"
        self._move = ActionClient(node, self._actions.Move, f"{self.name}/move")
        self._grasp = ActionClient(node, self._actions.Grasp, f"{self.name}/grasp")

    def goal(self, width_m: float, speed_m_s: float, force_N: float) -> FrankaGoal:
        """A grasp for small widths, a move for large ones."""
        low, high = self._spec.min_width_m, self._spec.max_width_m
        if width_m - low < GRASP_BELOW * (high - low):
            return FrankaGoal(None, float(speed_m_s), float(force_N))
        return FrankaGoal(float(width_m), float(speed_m_s))

    def ready(self) -> bool:
        """Both servers are there."""
        return self._move.server_is_ready() and self._grasp.server_is_ready()

    def send(self, goal: FrankaGoal) -> Future:
        """Send a move or a grasp."""
        if goal.width_m is not None:
            return send_goal(self._move, self._actions.Move.Goal(width=goal.width_m, speed=goal.speed_m_s))
        grasp = self._actions.Grasp.Goal(width=self._spec.min_width_m, speed=goal.speed_m_s, force=goal.force_N)
        grasp.epsilon.inner, grasp.epsilon.outer = GRASP_EPSILON_INNER_M, self._spec.max_width_m
        return send_goal(self._grasp, grasp)

    def judge(self, goal: FrankaGoal, status: int, result: Any) -> str:
        """Only a goal that succeeded did what it should."""
        if status == GoalStatus.STATUS_SUCCEEDED and result.success:
            return ""
        return f"failed ({result.error or 'no reason given; has the hand been homed?'})"

    def close(self) -> None:
        """Destroy the clients."""
        self._move.destroy()
        self._grasp.destroy()
