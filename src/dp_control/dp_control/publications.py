"""What control tells: its state in each cycle, what became of chunks, and diagnostics."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dp_core.chunk_schedule import ChunkRecord
from dp_core.contract import Contract
from dp_ros.loop_diagnostics import LoopReporter
from dp_ros.messages import fill_pose, fill_twist, ns_to_stamp
from dp_ros.pacing import Pacer
from rclpy.node import Node

from dp_control.input_gate import InputGate, StreamGate
from dp_control.modes import Mode
from dp_control.signals import ControlInputs, ControlOutput
from dp_msgs.msg import ActionChunk, ChunkReport, CommandState
from dp_ros import qos


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


class StatePublisher:
    """Publishes the state of each cycle and the reports. Called by the worker; ``refuse_chunk`` by the executor.

    Args:
        node: owns the publishers.
        contract: topic and frame.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        self._states = node.create_publisher(CommandState, contract.streams["command"].topic, qos.STATE)
        self._reports = node.create_publisher(ChunkReport, "control/chunk_report", qos.EVENT)
        self._state = CommandState()
        self._state.header.frame_id = contract.base_frame

    def publish(self, output: ControlOutput, t_ns: int) -> None:
        """Send what one cycle decided."""
        state = self._state
        state.header.stamp = ns_to_stamp(t_ns)
        state.mode = int(output.mode)
        if output.commanded_pose is not None:
            fill_pose(state.commanded_pose, output.commanded_pose)
        fill_twist(state.commanded_twist, output.twist)
        # Nothing is sent to the joints unless the pose is.
        joints = output.joints if output.pose is not None else None
        state.commanded_joints = array("d", [] if joints is None else joints.position.tolist())
        state.commanded_width = output.width
        state.active_limits = list(output.active_limits)
        state.input_alive, state.text = output.input_alive, output.text
        state.intervention = output.intervention
        self._states.publish(state)
        for record in output.reports:
            self._reports.publish(report_message(record, t_ns))

    def refuse_chunk(self, message: ActionChunk, reason: str, t_ns: int) -> None:
        """Report a chunk that could not even be read."""
        report = ChunkReport(chunk_id=message.chunk_id, policy_id=message.policy_id, stop_reason=reason)
        report.header.stamp = ns_to_stamp(t_ns)
        self._reports.publish(report)


class ControlDiagnostics:
    """Publishes ``/diagnostics``: mode, inputs, chunks, loop.

    Args:
        node: owns the publisher.
        contract: name of the cell, ages.
        gate: of the inputs.
        pacer: of the loop.
    """

    def __init__(self, node: Node, contract: Contract, gate: InputGate, pacer: Pacer) -> None:
        self._node, self._gate, self._pacer = node, gate, pacer
        self._name = contract.name
        self._minimum_rate = contract.safety.minimum_rate
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._reporter = LoopReporter("control: loop")

    def refused_real_time(self, refused: list[str]) -> None:
        """Note what real-time set-up this machine did not permit."""
        self._reporter = LoopReporter("control: loop", refused)

    def publish(self, output: ControlOutput, inputs: ControlInputs, refused: Mapping[str, int]) -> None:
        """Send the present state; called by the executor about once a second.

        Args:
            output: of the last cycle.
            inputs: of the last cycle.
            refused: chunks and gripper commands that could not be read, and events that a flood has pushed out.
        """
        now_ns = int(self._node.get_clock().now().nanoseconds)
        message = DiagnosticArray(status=[self._mode_status(output, inputs, refused)])
        message.status += [self._stream_status(gate, now_ns) for gate in self._gate.streams]
        loop = self._reporter.status(self._pacer.statistics.snapshot())
        loop.hardware_id = self._name
        loop.values.append(KeyValue(key="clock_jumps", value=str(self._pacer.clock_jumps)))
        message.status.append(loop)
        message.header.stamp = ns_to_stamp(now_ns)
        self._publisher.publish(message)

    def _mode_status(
        self, output: ControlOutput, inputs: ControlInputs, refused: Mapping[str, int]
    ) -> DiagnosticStatus:
        level = DiagnosticStatus.OK if not output.text else DiagnosticStatus.WARN
        if output.mode == Mode.FAULT:
            level = DiagnosticStatus.ERROR
        values: dict[str, Any] = {
            "mode": output.mode.name,
            "intervention": output.intervention,
            "active_limits": " ".join(output.active_limits),
            "robot": inputs.robot_problem or "ok",
            "arm": inputs.arm_problem or "ok",
            "gripper": inputs.gripper_problem or "ok",
            **dict(output.counters),
            "events dropped": 0,
            **dict(refused),
        }
        text = f"{output.mode.name}: {output.text}" if output.text else output.mode.name
        return _status("control: mode", self._name, level, text, values)

    def _stream_status(self, gate: StreamGate, now_ns: int) -> DiagnosticStatus:
        values: dict[str, Any] = {"accepted": gate.accepted, "rate_hz": f"{gate.rate_hz():.1f}"}
        if gate.expected_hz is not None:
            values["expected_hz"] = f"{gate.expected_hz:g}"
        newest = gate.newest
        if newest is not None:
            values["age_s"] = f"{1e-9 * (now_ns - newest.t_ns):.3f}"
        refused = dict(gate.refused)
        values |= {f"refused: {reason}": count for reason, count in refused.items()}
        problem = gate.rate_problem(self._minimum_rate)
        level = DiagnosticStatus.WARN if problem else DiagnosticStatus.OK
        text = problem or ("nothing has come" if newest is None else "ok")
        return _status(f"control: {gate.name}", self._name, level, text, values)


def _status(name: str, hardware: str, level: bytes, message: str, values: dict[str, Any]) -> DiagnosticStatus:
    status = DiagnosticStatus(name=name, hardware_id=hardware, level=level, message=message)
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status
