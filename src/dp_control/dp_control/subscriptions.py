"""The inputs of control from their topics: callbacks check and store, the worker takes what is newest."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkError
from dp_core.contract import Contract
from dp_ros.messages import joint_sum, pose_to_array, stamp_to_ns, twist_to_array
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dp_control.input_gate import InputGate, StreamGate
from dp_control.signals import ControlInputs
from dp_msgs.msg import ActionChunk, GripperCommand, TeleopState
from dp_ros import qos

# Events beyond this many between two cycles are dropped and counted: a flood must not eat the cycle's time.
MOST_CHUNKS = 4
MOST_WIDTHS = 4
# A plan of more actions than this would take longer than a period to merge.
MOST_ACTIONS = 256


def chunk_from_message(message: ActionChunk, base_frame: str, ee_frame: str) -> Chunk:
    """Check a chunk and turn it into arrays.

    Raises:
        ChunkError: wrong frame, sizes, order or values; names what was expected.
    """
    if message.header.frame_id != base_frame or message.ee_frame != ee_frame:
        raise ChunkError(
            f"chunk {message.chunk_id} gives {message.ee_frame!r} in {message.header.frame_id!r}, "
            f"expected {ee_frame!r} in {base_frame!r}"
        )
    if len(message.stamps) > MOST_ACTIONS or len(message.poses) > MOST_ACTIONS:
        most = max(len(message.stamps), len(message.poses))
        raise ChunkError(f"chunk {message.chunk_id} has {most} actions, {MOST_ACTIONS} at most")
    return Chunk(
        chunk_id=message.chunk_id,
        observed_ns=stamp_to_ns(message.header.stamp),
        stamps_ns=np.array([stamp_to_ns(s) for s in message.stamps], dtype=np.int64),
        poses=np.array([pose_to_array(p) for p in message.poses]).reshape(-1, 7),
        widths=np.array(message.gripper_widths, dtype=float),
        committed=message.committed,
        policy_id=message.policy_id,
    )


def joint_positions(message: Any, names: tuple[str, ...]) -> np.ndarray:
    """Positions (n,) of the named joints of a sensor_msgs/JointState, in the order of ``names``; NaN where missing."""
    if tuple(message.name) == names and len(message.position) == len(names):
        return np.array(message.position)
    found = dict(zip(message.name, message.position, strict=False))
    return np.array([found.get(name, np.nan) for name in names])


class ControlSubscriptions:
    """Subscribes all inputs of a cell; see the module. ``take`` is called by the worker, the rest by the executor.

    Args:
        node: owns the subscriptions.
        contract: topics, frames, joint names.
        with_joints: control follows the joints (inverse kinematics).
        on_bad_chunk: called with a malformed chunk's message and why it is refused.
    """

    def __init__(
        self, node: Node, contract: Contract, with_joints: bool, on_bad_chunk: Callable[[ActionChunk, str], None]
    ) -> None:
        self._node, self._contract = node, contract
        self.gate = InputGate(contract, with_joints)
        #: Events that were never taken, for the diagnostics: by why.
        self.refused: Counter[str] = Counter()
        self._on_bad_chunk = on_bad_chunk
        self._lock = threading.Lock()
        self._chunks: list[Chunk] = []
        self._widths: list[float] = []
        streams = contract.streams
        subscribe = node.create_subscription
        subscribe(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        subscribe(JointState, streams["gripper"].topic, self._on_gripper_state, qos.SENSOR_IN)
        subscribe(TwistStamped, "teleop/twist", self._on_twist, qos.SENSOR_IN)
        subscribe(GripperCommand, "teleop/gripper", self._on_gripper, qos.EVENT)
        subscribe(ActionChunk, "policy/chunk", self._on_chunk, qos.EVENT)
        if contract.safety.dead_man:
            subscribe(TeleopState, "teleop/state", self._on_teleop_state, qos.SENSOR_IN)
        if self.gate.joints is not None:
            subscribe(JointState, streams["joint_states"].topic, self._on_joints, qos.SENSOR_IN)
        if self.gate.wrench is not None:
            subscribe(WrenchStamped, streams["wrench"].topic, self._on_wrench, qos.SENSOR_IN)

    def take(self, t_ns: int) -> ControlInputs:
        """The newest samples, and the events since the last call."""
        with self._lock:
            inputs = self.gate.inputs(t_ns)
            if self._chunks or self._widths:
                inputs = replace(inputs, chunks=tuple(self._chunks), widths=tuple(self._widths))
                self._chunks.clear()
                self._widths.clear()
        return inputs

    def _offer(self, gate: StreamGate, message: Any, value: np.ndarray) -> None:
        """Put a sample through its gate; say why where it is refused."""
        now_ns = int(self._node.get_clock().now().nanoseconds)
        header = message.header
        with self._lock:
            problem = gate.offer(stamp_to_ns(header.stamp), value, now_ns, header.frame_id)
        if problem:
            self._refuse(problem)

    def _refuse(self, what: str) -> None:
        self._node.get_logger().error(f"refused: {what}", throttle_duration_sec=1.0)

    def _on_pose(self, message: PoseStamped) -> None:
        self._offer(self.gate.pose, message, pose_to_array(message.pose))

    def _on_gripper_state(self, message: JointState) -> None:
        try:
            width = joint_sum(message, self._contract.streams["gripper"].joint_names)
        except ValueError as error:
            self._refuse(f"{self.gate.width.name}: {error}")
            self.gate.width.refused["joints"] += 1
            return
        self._offer(self.gate.width, message, np.array([width]))

    def _on_twist(self, message: TwistStamped) -> None:
        self._offer(self.gate.twist, message, twist_to_array(message.twist))

    def _on_teleop_state(self, message: TeleopState) -> None:
        self._offer(self.gate.dead_man, message, np.array([float(message.engaged)]))

    def _on_joints(self, message: JointState) -> None:
        if self.gate.joints is not None:
            names = self._contract.streams["joint_states"].joint_names
            self._offer(self.gate.joints, message, joint_positions(message, names))

    def _on_wrench(self, message: WrenchStamped) -> None:
        if self.gate.wrench is not None:
            f, m = message.wrench.force, message.wrench.torque
            self._offer(self.gate.wrench, message, np.array([f.x, f.y, f.z, m.x, m.y, m.z]))

    def _on_gripper(self, message: GripperCommand) -> None:
        if not np.isfinite(message.width):
            self._refuse("teleop/gripper width is not finite")
            self.refused["gripper commands malformed"] += 1
            return
        with self._lock:
            self._keep(self._widths, message.width, MOST_WIDTHS)

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            chunk = chunk_from_message(message, self._contract.base_frame, self._contract.ee_frame)
        except ChunkError as error:
            self._refuse(str(error))
            self.refused["chunks malformed"] += 1
            self._on_bad_chunk(message, str(error))
            return
        with self._lock:
            self._keep(self._chunks, chunk, MOST_CHUNKS)

    def _keep(self, queue: list[Any], event: Any, most: int) -> None:
        """Append an event; the oldest goes when there are too many."""
        queue.append(event)
        if len(queue) > most:
            queue.pop(0)
            self.refused["events dropped"] += 1
