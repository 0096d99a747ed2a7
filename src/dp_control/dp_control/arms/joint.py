"""Commands as joint positions, for the controllers of ros2_controllers. Read in their sources, branch jazzy (4.42).

JointTrajectoryController subscribes ``~/joint_trajectory``, reliable; see :mod:`dp_control.arms.trajectory_stream`.
Set ``interpolate_from_desired_state: true``, else it starts from the measured, lagging joints, and give it a clock
that agrees with ours to a few milliseconds, for the stamps count.

The forward command controllers subscribe ``~/commands``, reliable, drop what is not finite and hold the last value for
ever: use one only with hardware that limits velocity itself.
"""

from __future__ import annotations

from builtin_interfaces.msg import Duration
from dp_core.contract import Contract
from dp_ros.messages import ns_to_stamp
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dp_control.arms.command_topic import CommandTopic
from dp_control.arms.trajectory_stream import TrajectoryPoint, TrajectoryStream
from dp_control.interfaces import ArmCommand, JointSolution


def _point_message(point: TrajectoryPoint) -> JointTrajectoryPoint:
    sec, nanosec = divmod(round(1e9 * point.time_s), 1_000_000_000)
    return JointTrajectoryPoint(
        positions=point.position.tolist(),
        velocities=point.velocity.tolist(),
        time_from_start=Duration(sec=sec, nanosec=nanosec),
    )


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
        self._stream = TrajectoryStream(1.0 / contract.control.rate_hz)
        self._message = JointTrajectory(joint_names=list(contract.streams["joint_states"].joint_names))

    def send(self, command: ArmCommand) -> None:
        """Publish the trajectory of this cycle."""
        points = self._stream.points(command.t_ns, _solution(command))
        self._message.header.stamp = ns_to_stamp(command.t_ns)
        self._message.points = [_point_message(point) for point in points]
        self._topic.publish(self._message)

    def release(self) -> None:
        """Nothing to send: every trajectory ends at rest, and the controller stays at its end."""
        self._stream.restart()

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
