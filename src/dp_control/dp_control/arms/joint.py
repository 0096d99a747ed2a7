"""Commands as joint positions, for the controllers of ros2_controllers. Read in their sources, branch jazzy (4.42).

JointTrajectoryController subscribes ``~/joint_trajectory``, reliable. A new trajectory replaces the old one whole; up
to its first point the controller interpolates from where it is, and it refuses a trajectory whose last point has a
velocity or lies in the past. Sent point by point it would therefore stop at each one. So each cycle sends a short
trajectory with two points: the solution carried on at its velocity for a moment longer than the next message needs to
arrive, and the end of a constant deceleration from there. While messages come, only the way to the first point is
ever executed, at speed; when they stop coming, the second point brings the arm to rest. The stamp is the cycle's
time: a message that a stalled network delivers late is refused as past, not executed.

The controller must have ``interpolate_from_desired_state: true``; otherwise it restarts from the measured, lagging
joints at each message.

The forward command controllers subscribe ``~/commands``, reliable, and hold the last value for ever: use one only
with hardware that limits velocity itself.
"""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from dp_core.contract import Contract
from dp_ros.messages import ns_to_stamp
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dp_control.arms.command_topic import CommandTopic
from dp_control.interfaces import ArmCommand, Array, JointSolution

# The first point lies this many periods ahead, and no less than this time: two lost messages, or this much jitter
# of delivery, do not let the arm run into the deceleration.
AHEAD_PERIODS = 3
AHEAD_S = 0.03
# Deceleration of the fastest joint to the second point, rad/s^2, and the shortest time for it.
STOP_DECELERATION_RAD_S2 = 5.0
STOP_S = 0.05


def plan_stop(solution: JointSolution, ahead_s: float) -> tuple[Array, Array, float]:
    """The two points of a trajectory that goes on and then stops.

    Args:
        solution: joint positions (n,) rad and velocities (n,) rad/s now.
        ahead_s: time to the first point.

    Returns:
        Positions (n,) of the first point, which is passed at ``solution.velocity``; positions (n,) of the second, at
        rest; time between them in seconds. A cubic between the two is a constant deceleration.
    """
    first = solution.position + solution.velocity * ahead_s
    stop_s = max(STOP_S, float(np.max(np.abs(solution.velocity))) / STOP_DECELERATION_RAD_S2)
    return first, first + 0.5 * solution.velocity * stop_s, stop_s


def _duration(seconds: float) -> Duration:
    sec, nanosec = divmod(round(1e9 * seconds), 1_000_000_000)
    return Duration(sec=sec, nanosec=nanosec)


def _solution(command: ArmCommand) -> JointSolution:
    if command.joints is None:
        raise ValueError("the command carries no joints: a joint back end needs inverse kinematics")
    return command.joints


class JointTrajectoryBackEnd:
    """Streams to a JointTrajectoryController. Implements :class:`dp_control.interfaces.ArmBackEnd`."""

    needs_joints = True

    def __init__(self, node: Node, contract: Contract) -> None:
        topic = contract.robot.topic or "joint_trajectory_controller/joint_trajectory"
        self._topic = CommandTopic(node, JointTrajectory, topic, "the joint trajectory controller")
        self._ahead_s = max(AHEAD_S, AHEAD_PERIODS / contract.control.rate_hz)
        self._first = JointTrajectoryPoint(time_from_start=_duration(self._ahead_s))
        self._last = JointTrajectoryPoint()
        joint_names = list(contract.streams["joint_states"].joint_names)
        self._message = JointTrajectory(joint_names=joint_names, points=[self._first, self._last])
        self._last.velocities = [0.0] * len(joint_names)

    def send(self, command: ArmCommand) -> None:
        """Publish the two points."""
        solution = _solution(command)
        first, last, stop_s = plan_stop(solution, self._ahead_s)
        self._message.header.stamp = ns_to_stamp(command.t_ns)
        self._first.positions, self._first.velocities = first.tolist(), solution.velocity.tolist()
        self._last.positions, self._last.time_from_start = last.tolist(), _duration(self._ahead_s + stop_s)
        self._topic.publish(self._message)

    def release(self) -> None:
        """Nothing to send: every trajectory ends at rest, and the controller stays at its end."""

    def problem(self, t_ns: int) -> str:
        """A second publisher, or nobody who listens."""
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Destroy the publisher."""
        self._topic.close()


class ForwardPositionBackEnd:
    """Streams to a forward position controller. Implements :class:`dp_control.interfaces.ArmBackEnd`."""

    needs_joints = True

    def __init__(self, node: Node, contract: Contract) -> None:
        topic = contract.robot.topic or "forward_position_controller/commands"
        self._topic = CommandTopic(node, Float64MultiArray, topic, "the forward position controller")
        self._message = Float64MultiArray()

    def send(self, command: ArmCommand) -> None:
        """Publish the joint positions, in the order of ``streams.joint_states.joint_names``."""
        self._message.data = _solution(command).position.tolist()
        self._topic.publish(self._message)

    def release(self) -> None:
        """Nothing to send: the controller keeps the last positions."""

    def problem(self, t_ns: int) -> str:
        """A second publisher, or nobody who listens."""
        return self._topic.problem(t_ns)

    def close(self) -> None:
        """Destroy the publisher."""
        self._topic.close()
