"""Control node: the only publisher of motion commands.

Subscribes the measured pose and width, ``teleop/twist``, ``teleop/gripper`` and ``policy/chunk``; publishes
``robot/target_pose``, ``gripper/command``, ``control/command_state`` (each cycle) and ``control/chunk_report``;
serves ``control/set_mode``, which answers when the mode is reached. Callbacks validate and store; one worker thread
runs :class:`dp_control.core.ControlCore` at the contract's control rate.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkError, ChunkRecord
from dp_core.poses import pose_problem
from dp_ros.messages import fill_pose, joint_sum, ns_to_stamp, pose_to_array, stamp_to_ns, twist_to_array
from dp_ros.node_main import declare_contract, run_node, start_worker
from dp_ros.pacing import Pacer
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import JointState

from dp_control.core import ControlCore, ControlInputs, ControlOutput, Stamped
from dp_control.modes import RUNNING
from dp_msgs.msg import ActionChunk, ChunkReport, CommandState, GripperCommand
from dp_msgs.srv import SetMode
from dp_ros import qos


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
    return Chunk(
        chunk_id=message.chunk_id,
        observed_ns=stamp_to_ns(message.header.stamp),
        stamps_ns=np.array([stamp_to_ns(s) for s in message.stamps], dtype=np.int64),
        poses=np.array([pose_to_array(p) for p in message.poses]).reshape(-1, 7),
        widths=np.array(message.gripper_widths, dtype=float),
        committed=message.committed,
        policy_id=message.policy_id,
    )


class ControlNode(Node):
    """ROS shell around :class:`ControlCore`; see the module."""

    def __init__(self) -> None:
        super().__init__("control")
        self._contract = declare_contract(self)
        self.failure = ""
        self._core = ControlCore(self._contract)
        self._lock = threading.Lock()
        self._measured: Stamped | None = None
        self._measured_width: float | None = None
        self._twist: Stamped | None = None
        self._chunks: list[Chunk] = []
        self._widths: list[float] = []
        self._requests: list[tuple[int, Future]] = []
        self._waiting: list[tuple[int, Future]] = []
        self._make_publishers()
        self._make_subscriptions()
        # Its own group: a request that waits for its mode must not keep /clock and the robot's state out.
        group = ReentrantCallbackGroup()
        self.create_service(SetMode, "control/set_mode", self._on_set_mode, callback_group=group)
        self._pacer = Pacer(self, self._contract.control.period_ns)
        self._thread = start_worker(self, "control", self._run)

    def _make_publishers(self) -> None:
        self._targets = self.create_publisher(PoseStamped, "robot/target_pose", qos.COMMAND_OUT)
        self._grippers = self.create_publisher(GripperCommand, "gripper/command", qos.STATE)
        self._states = self.create_publisher(CommandState, self._contract.streams["command"].topic, qos.STATE)
        self._reports = self.create_publisher(ChunkReport, "control/chunk_report", qos.EVENT)
        self._target, self._state = PoseStamped(), CommandState()
        for message in (self._target, self._state):
            message.header.frame_id = self._contract.base_frame

    def _make_subscriptions(self) -> None:
        streams = self._contract.streams
        self.create_subscription(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        self.create_subscription(JointState, streams["gripper"].topic, self._on_gripper_state, qos.SENSOR_IN)
        self.create_subscription(TwistStamped, "teleop/twist", self._on_twist, qos.SENSOR_IN)
        self.create_subscription(GripperCommand, "teleop/gripper", self._on_gripper, qos.EVENT)
        self.create_subscription(ActionChunk, "policy/chunk", self._on_chunk, qos.EVENT)

    def _refuse(self, what: str) -> None:
        self.get_logger().error(f"refused: {what}", throttle_duration_sec=1.0)

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_to_array(message.pose)
        problem = pose_problem(pose)
        if problem is None and message.header.frame_id != self._contract.base_frame:
            problem = f"is in frame {message.header.frame_id!r}, expected {self._contract.base_frame!r}"
        if problem is not None:
            self._refuse(f"{self._contract.streams['ee_pose'].topic} {problem}")
            return
        latency_ns = round(1e9 * self._contract.streams["ee_pose"].latency_s)
        with self._lock:
            self._measured = Stamped(stamp_to_ns(message.header.stamp) - latency_ns, pose)

    def _on_gripper_state(self, message: JointState) -> None:
        try:
            width = joint_sum(message, self._contract.streams["gripper"].joint_names)
        except ValueError as error:
            self._refuse(f"{self._contract.streams['gripper'].topic}: {error}")
            return
        if np.isfinite(width):
            with self._lock:
                self._measured_width = width

    def _on_twist(self, message: TwistStamped) -> None:
        twist = twist_to_array(message.twist)
        if not np.all(np.isfinite(twist)) or message.header.frame_id != self._contract.base_frame:
            self._refuse(f"teleop/twist is not finite or not in {self._contract.base_frame!r}")
            return
        with self._lock:
            self._twist = Stamped(stamp_to_ns(message.header.stamp), twist)

    def _on_gripper(self, message: GripperCommand) -> None:
        if not np.isfinite(message.width):
            self._refuse("teleop/gripper width is not finite")
            return
        with self._lock:
            self._widths.append(message.width)

    def _on_chunk(self, message: ActionChunk) -> None:
        try:
            chunk = chunk_from_message(message, self._contract.base_frame, self._contract.ee_frame)
        except ChunkError as error:
            self._refuse(str(error))
            report = ChunkReport(chunk_id=message.chunk_id, policy_id=message.policy_id, stop_reason=str(error))
            report.header.stamp = self.get_clock().now().to_msg()
            self._reports.publish(report)
            return
        with self._lock:
            self._chunks.append(chunk)

    async def _on_set_mode(self, request: SetMode.Request, response: SetMode.Response) -> SetMode.Response:
        """Hand the request to the worker and answer when the mode is reached or refused."""
        future: Future = Future()
        with self._lock:
            self._requests.append((request.mode, future))
        problem = await future
        response.success, response.mode, response.message = not problem, int(self._core.mode), str(problem or "")
        return response

    def _run(self) -> None:
        """Worker: one control cycle for each tick."""
        while (t_ns := self._pacer.wait()) is not None:
            with self._lock:
                request = self._requests.pop(0) if self._requests else None
                inputs = ControlInputs(
                    self._measured,
                    self._measured_width,
                    self._twist,
                    tuple(self._chunks),
                    tuple(self._widths),
                    None if request is None else request[0],
                )
                self._chunks.clear()
                self._widths.clear()
            output = self._core.step(inputs, t_ns)
            self._publish(output, t_ns)
            self._answer(request, output)

    def _answer(self, request: tuple[int, Future] | None, output: ControlOutput) -> None:
        """Tell who asked for a mode how it went; a refused request leaves the one before it waiting."""
        answered = False
        if request is not None and output.refused:
            self._refuse(output.refused)
            request[1].set_result(output.refused)
            answered = True
        elif request is not None:
            for _, future in self._waiting:
                future.set_result("replaced by a newer request")
            self._waiting = [request]
        elif self._waiting and output.refused:
            self._refuse(output.refused)
            self._waiting.pop()[1].set_result(output.refused)
            answered = True
        if self._waiting and output.mode == self._waiting[0][0] and self._core.pending is None:
            self.get_logger().info(f"mode {output.mode.name}")
            self._waiting.pop()[1].set_result("")
            answered = True
        if answered and self.executor is not None:
            # The suspended service callback goes on at the executor's next event: be that event.
            self.executor.wake()

    def _publish(self, output: ControlOutput, t_ns: int) -> None:
        stamp = ns_to_stamp(t_ns)
        if output.pose is not None:
            self._target.header.stamp = stamp
            fill_pose(self._target.pose, output.pose)
            self._targets.publish(self._target)
        if output.gripper_changed and output.mode in RUNNING:
            gripper = GripperCommand(width=output.width)
            gripper.header.stamp = stamp
            gripper.speed, gripper.force = self._contract.gripper.speed_m_s, self._contract.gripper.force_N
            self._grippers.publish(gripper)
        # The state goes last: a simulator in lock step takes it as the end of the cycle.
        state = self._state
        state.header.stamp = stamp
        state.mode = int(output.mode)
        if output.commanded_pose is not None:
            fill_pose(state.commanded_pose, output.commanded_pose)
        state.commanded_width = output.width
        state.active_limits = list(output.active_limits)
        state.input_alive, state.text = output.input_alive, output.text
        self._states.publish(state)
        for record in output.reports:
            self._reports.publish(report_message(record, t_ns))

    def close(self) -> None:
        """Stop the worker."""
        self._pacer.close()
        self._thread.join(timeout=2.0)


def report_message(record: ChunkRecord, t_ns: int) -> ChunkReport:
    """ChunkReport of a finished chunk."""
    message: Any = ChunkReport(chunk_id=record.chunk.chunk_id, policy_id=record.chunk.policy_id)
    message.header.stamp = ns_to_stamp(t_ns)
    message.observed = ns_to_stamp(record.chunk.observed_ns)
    message.received = ns_to_stamp(record.received_ns)
    message.first_executed = ns_to_stamp(record.first_executed_ns)
    message.actions = len(record.chunk.stamps_ns)
    for name in ("late", "executed", "superseded", "blended", "seam_position_m", "seam_rotation_rad", "stop_reason"):
        setattr(message, name, getattr(record, name))
    return message


def main() -> None:
    """Entry point of the executable ``control_node``."""
    sys.exit(run_node(ControlNode))


if __name__ == "__main__":
    main()
