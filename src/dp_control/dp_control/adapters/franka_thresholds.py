"""Contact thresholds of a Franka robot, set once through franka_ros2's parameter service (read at v3.4.0).

The robot takes them only while it is idle, that is before a controller is active: until they are set the robot is
not driven, so that it never moves with other thresholds than the contract says.
"""

from __future__ import annotations

from typing import Any

from dp_core.robot_spec import RobotSpec
from rclpy.node import Node

from dp_control.optional_interfaces import interfaces

# Looks (see LOOK_S of the adapter) between two attempts.
RETRY_LOOKS = 20


class CollisionThresholds:
    """Sets the thresholds as soon as the robot is idle. ``step`` in the executor's thread, ``problem`` in any."""

    def __init__(self, node: Node, robot: RobotSpec, prefix: str) -> None:
        self._node = node
        self._client: Any = None
        #: Why the thresholds are not as the contract says, or empty.
        self.problem = ""
        if not robot.collision_torque_Nm:
            return
        service = interfaces("franka_msgs.srv", "robot.collision_torque_Nm").SetForceTorqueCollisionBehavior
        torque, force = list(robot.collision_torque_Nm), list(robot.collision_force_N)
        # Above the upper threshold the robot stops itself; the lower one only reports contact.
        self._request = service.Request(
            lower_torque_thresholds_nominal=torque,
            upper_torque_thresholds_nominal=torque,
            lower_force_thresholds_nominal=force,
            upper_force_thresholds_nominal=force,
        )
        self._name = f"{prefix}service_server/set_force_torque_collision_behavior"
        self._client = node.create_client(service, self._name)
        self._answer: Any = None
        self._wait = 0
        self.problem = f"collision thresholds are not set yet: {self._name} does not answer"

    def step(self, idle: bool) -> None:
        """Ask when the robot is idle; look at the answer."""
        if not self.problem:
            return
        self._wait = max(self._wait - 1, 0)
        if self._answer is not None and self._answer.done():
            response = self._answer.result()
            self._answer = None
            self.problem = "" if response.success else f"collision thresholds refused: {response.error}"
        elif self._answer is not None and self._wait == 0:
            self._client.remove_pending_request(self._answer)
            self._answer = None
        elif self._answer is None and self._wait == 0 and self._client.service_is_ready():
            self._ask(idle)

    def _ask(self, idle: bool) -> None:
        if not idle:
            self.problem = "collision thresholds are not set: the robot takes them when no controller is active"
            return
        self._answer = self._client.call_async(self._request)
        self._wait = RETRY_LOOKS

    def close(self) -> None:
        """Destroy the client."""
        if self._client is not None:
            self._node.destroy_client(self._client)
