"""What the node publishes. Messages are reused: one caller at a time."""

from __future__ import annotations

from dp_core.contract import Contract
from dp_ros.messages import fill_twist, ns_to_stamp
from geometry_msgs.msg import TwistStamped
from rclpy.node import Node

from dp_msgs.msg import GripperCommand, OperatorCommand, TeleopState
from dp_ros import qos
from dp_teleop.mapping import TeleopCommand
from dp_teleop.sample import SpaceMouseSample


class TeleopOutputs:
    """Publishers of the node.

    Args:
        node: publishes.
        contract: gives the frame, and speed and force of the gripper.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        self._gripper = contract.gripper
        self._twists = node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
        self._grippers = node.create_publisher(GripperCommand, "teleop/gripper", qos.STATE)
        self._states = node.create_publisher(TeleopState, "teleop/state", qos.COMMAND_OUT)
        self._requests = node.create_publisher(OperatorCommand, "recorder/operator_command", qos.EVENT)
        self._twist, self._state = TwistStamped(), TeleopState()
        self._twist.header.frame_id = self._state.header.frame_id = contract.base_frame

    def publish(self, sample: SpaceMouseSample, device: str, command: TeleopCommand) -> None:
        """What one sample asks for. A twist that is not meant, for the device is not armed yet, is left out."""
        stamp = ns_to_stamp(sample.t_ns)
        # Before the twist: control must know that the button is held when it sees the motion.
        state = self._state
        state.header.stamp, state.engaged = stamp, command.engaged
        state.connected, state.device, state.buttons = True, device, list(sample.buttons)
        state.speed_factor = float(command.speed_factor)
        self._states.publish(state)
        if command.armed:
            self._twist.header.stamp = stamp
            fill_twist(self._twist.twist, command.twist)
            self._twists.publish(self._twist)
        if command.toggled:
            message = GripperCommand(width=command.width)
            message.header.stamp = stamp
            message.speed, message.force = self._gripper.speed_m_s, self._gripper.force_N
            self._grippers.publish(message)

    def lost(self, t_ns: int, device: str, speed_factor: float) -> None:
        """There is no device: nothing is engaged, and there is no twist, for none is known."""
        state = self._state
        state.header.stamp, state.engaged = ns_to_stamp(t_ns), False
        state.connected, state.device, state.buttons = False, device, []
        state.speed_factor = float(speed_factor)
        self._states.publish(state)

    def ask_recorder(self, t_ns: int, command: str) -> None:
        """Pass on what a gesture asks of the recorder."""
        message = OperatorCommand(command=command)
        message.header.stamp = ns_to_stamp(t_ns)
        self._requests.publish(message)
