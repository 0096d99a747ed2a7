"""What is particular to Franka robots behind franka_ros2 (read at v3.4.0): mode, errors, recovery, thresholds.

After an error franka_ros2 deactivates the robot's hardware component and with it every controller, the state
broadcaster included: so silence is a sign of an error too. See :mod:`dp_control.adapters.franka_recovery`.
"""

from __future__ import annotations

from dp_core.contract import Contract
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from dp_control.adapters.franka_recovery import FrankaRecovery
from dp_control.adapters.franka_state import GUIDING, IDLE, MOVE, USER_STOPPED, FrankaStateReader
from dp_control.adapters.franka_thresholds import CollisionThresholds
from dp_control.optional_interfaces import interfaces

LOOK_S = 0.05
# Ten looks; the stream itself comes 1,000 times a second.
STATE_MAX_AGE_S = 0.5


class FrankaAdapter:
    """Implements :class:`dp_control.interfaces.RobotAdapter`.

    A timer does all the work in the executor's thread; the control thread reads texts and leaves requests.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        prefix = f"{contract.robot.namespace}/" if contract.robot.namespace else ""
        message_type = interfaces("franka_msgs.msg", "robot.adapter franka").FrankaRobotState
        self._node = node
        self._reader = FrankaStateReader(node, message_type, f"{prefix}franka_robot_state_broadcaster/robot_state")
        self._thresholds = CollisionThresholds(node, contract.robot, prefix)
        self._recovery = FrankaRecovery(node, prefix)
        self._timer = node.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _look(self) -> None:
        t_ns = self._node.get_clock().now().nanoseconds
        self._reader.take(t_ns)
        mode = self._mode(t_ns)
        self._thresholds.step(idle=mode == IDLE)
        self._recovery.step(moving=mode == MOVE)

    def _mode(self, t_ns: int) -> int | None:
        """The present mode; None when it is not known."""
        state = self._reader.state
        return state.mode if state is not None and not self._silence(t_ns) else None

    def _silence(self, t_ns: int) -> str:
        """Why the state of the robot is not known, or empty."""
        state = self._reader.state
        if state is None:
            return f"no robot state on {self._reader.topic} yet: is the robot's driver running, its broadcaster active?"
        age_s = 1e-9 * (t_ns - state.t_ns)
        # A little of both threads' time may lie between taking and asking.
        if -STATE_MAX_AGE_S < age_s < STATE_MAX_AGE_S:
            return ""
        return f"no robot state on {self._reader.topic} for {age_s:.1f} s: an error stops it; resume recovers"

    def problem(self, t_ns: int) -> str:
        """Why the robot does not move: recovery, silence, mode and errors, thresholds; or empty."""
        state = self._reader.state
        if self._recovery.running:
            return "the robot is being recovered from an error"
        problem = self._silence(t_ns) or ("" if state is None else state.problem) or self._thresholds.problem
        if problem and self._recovery.failure:
            return f"{problem}; its recovery failed: {self._recovery.failure}"
        return problem

    @property
    def recovering(self) -> bool:
        """True while error recovery is under way."""
        return self._recovery.running

    def recover(self) -> str:
        """Begin error recovery if there is something to recover from; see :class:`RobotAdapter`.

        Returns:
            What a person has to do first, or empty; :meth:`problem` tells how it goes.
        """
        t_ns = self._node.get_clock().now().nanoseconds
        if self._recovery.running or not self.problem(t_ns):
            return ""
        mode, state = self._mode(t_ns), self._reader.state
        if state is not None and (mode in (USER_STOPPED, GUIDING) or (mode == IDLE and not state.errors)):
            return self.problem(t_ns)
        if mode == MOVE and state is not None and not state.errors:
            return self._thresholds.problem
        return self._recovery.request()

    def close(self) -> None:
        """Destroy what was made."""
        self._node.destroy_timer(self._timer)
        self._recovery.close()
        self._thresholds.close()
        self._reader.close()
