"""Teleoperation node: SpaceMouse samples in, a wanted twist and gripper commands out.

Subscribes ``spacenav/joy`` (or reads spacenavd) and, for the tool frame, ``robot/ee_pose``; publishes
``teleop/twist``, ``teleop/gripper`` and ``teleop/state`` (the dead-man button). It publishes only what the device
says: when samples stop, it stops, and control brakes. It never repeats an old sample and never invents zeros; the
same reading within 5 ms is left out, to spare control the 1,000 messages a second of the spacenav node.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
from dp_core.poses import pose_problem
from dp_ros.messages import fill_twist, ns_to_stamp, pose_to_array, stamp_to_ns
from dp_ros.node_main import declare_contract, run_node, start_worker
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState, GripperCommand, TeleopState
from dp_ros import qos
from dp_teleop.devices import DeviceLostError, SpacenavdDevice
from dp_teleop.mapping import MappingState, SpaceMouseSample, is_repetition, sample_problem, step


class TeleopNode(Node):
    """ROS shell around :mod:`dp_teleop.mapping`; see the module."""

    def __init__(self) -> None:
        super().__init__("teleop")
        self._contract = declare_contract(self)
        self._spec = self._contract.teleop
        self._lock = threading.Lock()
        self._state = MappingState()
        self._taken: SpaceMouseSample | None = None
        self._tool_quat: np.ndarray | None = None
        self._mode: int | None = None
        self._closed = threading.Event()
        self.failure = ""
        self._thread: threading.Thread | None = None
        self._twists = self.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
        self._grippers = self.create_publisher(GripperCommand, "teleop/gripper", qos.STATE)
        self._engagements = self.create_publisher(TeleopState, "teleop/state", qos.COMMAND_OUT)
        self._twist, self._engagement = TwistStamped(), TeleopState()
        self._twist.header.frame_id = self._engagement.header.frame_id = self._contract.base_frame
        streams = self._contract.streams
        self.create_subscription(CommandState, streams["command"].topic, self._on_command, qos.SENSOR_IN)
        if self._spec.frame == "tool":
            self.create_subscription(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        if self._spec.device == "topic":
            self.create_subscription(Joy, "spacenav/joy", self._on_joy, qos.SENSOR_IN)
        else:
            self._thread = start_worker(self, "spacemouse", self._read_device)

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_to_array(message.pose)
        self._tool_quat = pose[3:] if pose_problem(pose) is None else None

    def _on_command(self, message: CommandState) -> None:
        """Start each teleoperation with the toggle in the state that the gripper is really in."""
        if message.mode == CommandState.TELEOP and self._mode != CommandState.TELEOP:
            gripper = self._contract.gripper
            half_open = 0.5 * (gripper.min_width_m + gripper.max_width_m)
            with self._lock:
                self._state = replace(self._state, gripper_closed=message.commanded_width < half_open)
        self._mode = message.mode

    def _on_joy(self, message: Joy) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        sample = SpaceMouseSample(stamp, np.array(message.axes, dtype=float), tuple(b > 0 for b in message.buttons))
        if not is_repetition(self._taken, sample):
            self._taken = sample
            self._take(sample)

    def _read_device(self) -> None:
        """Thread: read spacenavd at 100 Hz; on loss say so, publish nothing, and look for it again."""
        buttons = 1 + max(self._spec.gripper_button, self._spec.clutch_button, 1)
        while not self._closed.is_set():
            try:
                device = SpacenavdDevice(lambda: int(self.get_clock().now().nanoseconds), buttons=buttons)
            except DeviceLostError as error:
                self.get_logger().error(str(error), throttle_duration_sec=5.0)
                self._closed.wait(1.0)
                continue
            try:
                while not self._closed.is_set():
                    self._take(device.read(timeout_s=0.01))
            except DeviceLostError as error:
                self.get_logger().error(f"{error}; the arm stops until it is back")
            finally:
                device.close()

    def _take(self, sample: SpaceMouseSample) -> None:
        problem = sample_problem(sample, self._spec)
        if problem is not None:
            self.get_logger().error(f"SpaceMouse sample {problem}: ignored", throttle_duration_sec=2.0)
            return
        if self._spec.frame == "tool" and self._tool_quat is None:
            self.get_logger().warning("no measured pose yet, which frame: tool needs", throttle_duration_sec=2.0)
        with self._lock:
            self._state, command = step(self._state, sample, self._tool_quat, self._spec, self._contract.gripper)
        stamp = ns_to_stamp(sample.t_ns)
        # Before the twist: control must know that the button is held when it sees the motion.
        self._engagement.header.stamp, self._engagement.engaged = stamp, command.engaged
        self._engagements.publish(self._engagement)
        self._twist.header.stamp = stamp
        fill_twist(self._twist.twist, command.twist)
        self._twists.publish(self._twist)
        if command.toggled:
            message = GripperCommand(width=command.width)
            message.header.stamp = stamp
            message.speed, message.force = self._contract.gripper.speed_m_s, self._contract.gripper.force_N
            self._grippers.publish(message)

    def close(self) -> None:
        """Stop the device thread."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)


def main() -> None:
    """Entry point of the executable ``teleop_node``."""
    sys.exit(run_node(TeleopNode))


if __name__ == "__main__":
    main()
