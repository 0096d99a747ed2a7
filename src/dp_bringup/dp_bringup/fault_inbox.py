"""The way of each message into control in a fault episode, and an account of our own of what was sound."""

from __future__ import annotations

import numpy as np
from dp_control.core import ControlInputs
from dp_control.input_gate import InputGate
from dp_control.subscriptions import chunk_from_message
from dp_core.chunk_schedule import Chunk, ChunkError
from dp_core.contract import Contract
from dp_ros.messages import array_to_pose, ns_to_stamp

from dp_bringup.fault_streams import Sample
from dp_bringup.fault_world import FaultWorld, Request, hand_moves, newest_sound, over_limit, sound_plan, sound_pose
from dp_msgs.msg import ActionChunk

NEVER_NS = int(np.iinfo(np.int64).min)


class Inbox:
    """The way of a message into control, as in the node, and beside it an account of our own of what was sound."""

    def __init__(self, contract: Contract, with_joints: bool) -> None:
        self._contract = contract
        self._gate = InputGate(contract, with_joints)
        self._chunks: list[Chunk] = []
        self.measured_ns = self.twist_ns = self.plan_end_ns = NEVER_NS
        self.contact_s = 0.0
        self.hand = False
        self._wrench_ns = self._contact_from_ns = NEVER_NS
        self._engaged_ns, self._engaged = NEVER_NS, False

    def take(self, sample: Sample, now_ns: int) -> None:
        """One message arrives."""
        self._account(sample, now_ns)
        gate, values = self._gate, sample.values
        if sample.stream == "chunk":
            self._take_chunk(sample)
        elif sample.stream == "pose":
            gate.pose.offer(sample.t_ns, values, now_ns, sample.frame)
        elif sample.stream == "twist":
            gate.twist.offer(sample.t_ns, values, now_ns, sample.frame)
        elif sample.stream == "engaged":
            gate.dead_man.offer(sample.t_ns, values, now_ns)
        elif sample.stream == "gripper":
            gate.width.offer(sample.t_ns, values, now_ns)
        elif sample.stream == "joints" and gate.joints is not None:
            gate.joints.offer(sample.t_ns, values, now_ns)
        elif sample.stream == "wrench" and gate.wrench is not None:
            gate.wrench.offer(sample.t_ns, values, now_ns)

    def _take_chunk(self, sample: Sample) -> None:
        message = ActionChunk(chunk_id=sample.chunk_id, ee_frame=self._contract.ee_frame, committed=1, policy_id="x")
        message.header.frame_id, message.header.stamp = sample.frame, ns_to_stamp(sample.t_ns)
        message.stamps = [ns_to_stamp(int(t)) for t in sample.stamps_ns]
        message.poses = [array_to_pose(pose) for pose in sample.values]
        message.gripper_widths = sample.widths.tolist()
        try:
            self._chunks.append(chunk_from_message(message, self._contract.base_frame, self._contract.ee_frame))
        except ChunkError:
            return

    def _account(self, sample: Sample, now_ns: int) -> None:
        """Newest sound samples by our own judgement."""
        if sample.stream == "pose":
            if sample.frame == self._contract.base_frame and sound_pose(sample.values):
                self.measured_ns = newest_sound(sample.t_ns, self.measured_ns, now_ns)
        elif sample.stream == "twist":
            if sample.frame == self._contract.base_frame and np.all(np.isfinite(sample.values)):
                if self.twist_ns < sample.t_ns <= now_ns + 100_000_000:
                    self.hand = hand_moves(sample.values, self._contract)
                self.twist_ns = newest_sound(sample.t_ns, self.twist_ns, now_ns)
        elif sample.stream == "chunk":
            if sample.frame == self._contract.base_frame and sound_plan(sample, self._contract):
                self.plan_end_ns = max(self.plan_end_ns, int(sample.stamps_ns[-1]))
        elif sample.stream == "engaged":
            if self._engaged_ns < sample.t_ns <= now_ns + 100_000_000:
                self._engaged_ns, self._engaged = sample.t_ns, bool(sample.values[0] > 0.5)
        elif sample.stream == "wrench" and np.all(np.isfinite(sample.values)):
            if self._wrench_ns > now_ns + 100_000_000:  # the clock was set back: what was known is of another time
                self._wrench_ns, self._contact_from_ns, self.contact_s = NEVER_NS, NEVER_NS, 0.0
            if self._wrench_ns < sample.t_ns <= now_ns + 100_000_000:
                self._wrench_ns = sample.t_ns
                over = over_limit(sample.values, self._contract)
                if not over or self._contact_from_ns == NEVER_NS:
                    self._contact_from_ns = sample.t_ns if over else NEVER_NS
                self.contact_s = 1e-9 * (sample.t_ns - self._contact_from_ns) if over else 0.0

    def held(self, now_ns: int) -> bool:
        """The dead-man button is held, as far as a sound sample of late says so."""
        age_s = 1e-9 * (now_ns - self._engaged_ns) if self._engaged_ns != NEVER_NS else np.inf
        return self._engaged and age_s <= self._contract.control.input_max_age_s

    def inputs(self, now_ns: int, request: Request | None, world: FaultWorld, kinds: set[str]) -> ControlInputs:
        """Inputs of one cycle."""
        state = self._gate.inputs(now_ns)
        chunks, self._chunks = tuple(self._chunks), []
        return ControlInputs(
            measured_pose=state.measured_pose,
            measured_width=state.measured_width,
            twist=state.twist,
            chunks=chunks,
            widths=world.take_widths(),
            mode=None if request is None else request.mode,
            joints=state.joints,
            wrench=state.wrench,
            dead_man=state.dead_man,
            resume=request is not None and request.resume,
            robot_problem="reflex" if "robot_problem" in kinds else "",
            gripper_problem="refused" if "gripper_problem" in kinds else "",
            stream_problems=state.stream_problems,
        )
