"""The cell around control in a fault episode: arm, sensors, operator, policy, clocks and network on a virtual clock."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from dp_control.core import ControlOutput
from dp_control.modes import Mode
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.fault_arms import FollowingArm
from dp_bringup.fault_cells import random_start
from dp_bringup.fault_scripts import Fault, Script
from dp_bringup.fault_streams import FaultyNetwork, ReferencePath, Sample
from dp_bringup.measured_motion import AllowedRegion

Array = NDArray[np.float64]

EPOCH_NS = 1_000_000_000_000
OPERATOR_RATE_HZ = 60.0


@dataclass(frozen=True)
class Request:
    """A mode, or a resume, that somebody asks for."""

    mode: int | None = None
    resume: bool = False


class Operator:
    """A person at the SpaceMouse: rests, deflects, lets go; and asks for modes as the script and the state suggest."""

    def __init__(self, rng: np.random.Generator, contract: Contract, script: Script) -> None:
        self._rng, self._contract, self._script = rng, contract, script
        self._twist = np.zeros(6)
        self._next_s = 0.0
        self._present = rng.random() < 0.9
        self._patience_s = rng.uniform(0.1, 0.6)
        self._upset_s: float | None = None
        self._planned = [(script.mode_s, Request(script.mode))]
        self._planned += [(t, Request(mode)) for t, mode in script.switches]
        for fault in script.faults:
            if fault.kind == "stop_request":
                again = Request(resume=True) if fault.size < 0.5 else Request(script.mode)
                self._planned += [(fault.start_s, Request(int(Mode.STOPPED))), (fault.end_s + 0.1, again)]
            elif fault.kind == "invalid_request":
                self._planned.append((fault.start_s, Request(int(rng.choice([4, 5, 77, 255])))))
            elif fault.kind == "restless_requests":
                times = np.arange(fault.start_s, fault.end_s, 0.03)
                self._planned += [(float(t), Request(int(rng.integers(5)))) for t in times]
        self._planned.sort(key=lambda planned: planned[0])

    def request(self, now_s: float, mode: int) -> Request | None:
        """What the operator asks for at this moment, if anything."""
        if self._planned and self._planned[0][0] <= now_s:
            return self._planned.pop(0)[1]
        if mode != Mode.FAULT:
            self._upset_s = None
        elif self._upset_s is None:
            self._upset_s = now_s
        elif now_s - self._upset_s > self._patience_s:
            # A person has seen the fault: goes on by way of a stop, or by resuming.
            self._upset_s = now_s
            if self._rng.random() < 0.5:
                self._planned.insert(0, (now_s + 0.05, Request(self._script.mode)))
                return Request(int(Mode.STOPPED))
            self._planned.insert(0, (now_s + 0.4, Request(self._script.mode)))
            return Request(resume=True)
        return None

    def twist(self, now_s: float, mode: int, faults: tuple[Fault, ...]) -> Array | None:
        """The wanted twist (6,), or None from a SpaceMouse that nobody plugged in."""
        takeover = any(fault.kind == "takeover" for fault in faults)
        if not self._present and not takeover:
            return None
        if mode != Mode.TELEOP and not takeover:
            self._next_s = now_s + self._rng.uniform(0.03, 0.12)
            self._twist = np.zeros(6)
        elif now_s >= self._next_s:
            self._next_s = now_s + self._rng.uniform(0.1, 0.7)
            limits = self._contract.limits
            size = self._rng.choice([0.0, 0.3, 1.0, 3.0])
            scale = np.repeat([limits.linear_velocity_m_s, limits.angular_velocity_rad_s], 3)
            self._twist = size * scale * self._rng.normal(scale=0.7, size=6)
        return self._twist


class FaultWorld:
    """Everything but control. Deterministic from ``rng``.

    Args:
        rng: of the episode.
        contract: of the cell.
        script: what goes wrong.
    """

    def __init__(self, rng: np.random.Generator, contract: Contract, script: Script) -> None:
        self._rng, self._contract, self._script = rng, contract, script
        self.start = random_start(rng, contract)
        self.arm = FollowingArm(self.start, int(rng.integers(0, 4)), float(rng.uniform(0.005, 0.08)))
        self.operator = Operator(rng, contract, script)
        self.network = FaultyNetwork(rng)
        self.path = ReferencePath(rng, self.start, script.mode_s + 0.2, contract.limits.linear_velocity_m_s)
        self.counts: Counter[str] = Counter()
        self.offset_ns = 0
        self._period_s = 1.0 / contract.control.rate_hz
        self._action_ns = contract.action.period_ns
        self._push = rng.normal(size=3) * rng.uniform(0.05, 0.4)
        self._begun: set[Fault] = set()
        self._due: dict[str, float] = {}
        self._actions = int(rng.integers(3, 17))
        self._committed = int(rng.integers(1, self._actions + 1))
        self._delay_s = float(rng.uniform(0.02, 0.25))
        self._plans_always = rng.random() < 0.15
        self._chunk_id = 0
        self._widths: list[float] = []

    def ros_ns(self, now_s: float) -> int:
        """The ROS clock."""
        return EPOCH_NS + round(1e9 * now_s) + self.offset_ns

    def advance(self, now_s: float, faults: tuple[Fault, ...], command: Array | None, mode: int) -> None:
        """One control period of the cell: the arm moves, sensors and people send."""
        for fault in faults:
            if fault not in self._begun:
                self._begun.add(fault)
                self._begin(fault)
        kinds = {fault.kind for fault in faults}
        self.arm.step(command, self._period_s, "arm_blocked" in kinds, self._push if "arm_pushed" in kinds else None)
        self._sense(now_s, faults)
        if self._is_due("twist", now_s, OPERATOR_RATE_HZ):
            twist = self.operator.twist(now_s, mode, faults)
            if twist is not None:
                self._send("twist", now_s, twist, faults)
            self._send("engaged", now_s, np.ones(1), faults)
            if mode == Mode.TELEOP and self._rng.random() < 0.02:
                self._widths.append(float(self._rng.uniform(-0.05, 0.15)))
        self._plan(now_s, faults, mode)

    def take_widths(self) -> tuple[float, ...]:
        """Gripper widths that the operator asked for since the last call."""
        widths, self._widths = tuple(self._widths), []
        return widths

    def _begin(self, fault: Fault) -> None:
        self.counts[fault.kind] += 1
        if fault.kind == "arm_jump":
            self.arm.displace(self._rng.normal(size=3) * 0.1 * fault.size)
        elif fault.kind in ("clock_forward", "clock_back"):
            step_ns = round(1e9 * 0.01 * 1000.0**fault.size)
            self.offset_ns += step_ns if fault.kind == "clock_forward" else -step_ns

    def _is_due(self, stream: str, now_s: float, rate_hz: float) -> bool:
        due = self._due.get(stream, 0.0)
        if now_s + 1e-9 < due:
            return False
        self._due[stream] = max(due + 1.0 / rate_hz, now_s - 1.0 / rate_hz)
        return True

    def _send(self, stream: str, now_s: float, values: Array, faults: tuple[Fault, ...]) -> None:
        self.network.send(Sample(stream, self.ros_ns(now_s), self._contract.base_frame, values.copy()), now_s, faults)

    def _sense(self, now_s: float, faults: tuple[Fault, ...]) -> None:
        streams = self._contract.streams
        if not self._is_due("pose", now_s, streams["ee_pose"].rate_hz):
            return
        self._send("pose", now_s, self.arm.pose, faults)
        self._send("joints", now_s, self.arm.pose, faults)
        self._send("gripper", now_s, np.array([0.06]), faults)
        safety = self._contract.safety
        if safety.force_limit_N is not None or safety.torque_limit_Nm is not None:
            self._send("wrench", now_s, 0.5 * self._rng.normal(size=6), faults)

    def _plan(self, now_s: float, faults: tuple[Fault, ...], mode: int) -> None:
        if mode != Mode.POLICY and not self._plans_always:
            return
        if not self._is_due("chunk", now_s, 1e9 / (self._committed * self._action_ns)):
            return
        observed_ns = self.ros_ns(now_s)
        steps = np.arange(self._actions)
        stamps = observed_ns + steps * self._action_ns
        poses = self.path.poses(np.asarray(now_s + 1e-9 * self._action_ns * steps, dtype=np.float64))
        widths = 0.08 * (0.5 + 0.5 * np.sin(3.0 * (now_s + 0.1 * steps)))
        self._chunk_id += 1
        sample = Sample(
            "chunk", observed_ns, self._contract.base_frame, poses, stamps.astype(np.int64), widths, self._chunk_id
        )
        self.network.send(sample, now_s + self._delay_s, faults)

    def along(self) -> Array | None:
        """Direction of a plan that only advances, when nothing in this episode may turn the command back; else None."""
        harmless = {
            "chunk_silent", "chunk_late", "chunk_duplicate", "chunk_reversed", "chunk_sign_flip", "chunk_frame",
            "chunk_unsorted", "chunk_sizes", "clock_back", "loop_stall", "network_stall",
        }  # fmt: skip
        alone = self._script.mode == Mode.POLICY and not self._script.switches and not self._plans_always
        kinds = {fault.kind for fault in self._script.faults}
        if self.path.kind != "advance" or not alone or self._contract.safety.keep_out or not kinds <= harmless:
            return None
        if np.any(AllowedRegion(self._contract).depths(self.start[None]) > 0.0):
            return None  # the arm comes back into its region first
        return self.path.direction


def newest_sound(stamp_ns: int, newest_ns: int, now_ns: int) -> int:
    """The newer of two stamps, unless the first is from the future by more than any clock's jitter."""
    return max(stamp_ns, newest_ns) if stamp_ns <= now_ns + 100_000_000 else newest_ns


def sound_pose(values: Array) -> bool:
    """Finite with quaternions of unit norm, by our own arithmetic."""
    if not np.all(np.isfinite(values)):
        return False
    quats = values.reshape(-1, 7)[:, 3:]
    if np.any(np.abs(quats) > 2.0):  # before a square overflows
        return False
    return bool(np.all(np.abs(np.sqrt(np.sum(quats**2, axis=1)) - 1.0) < 1e-2))


def sound_plan(sample: Sample, contract: Contract) -> bool:
    """A plan of sound poses of which no step asks for more than ten times a limit of speed: control refuses those."""
    if not sound_pose(sample.values):
        return False
    poses, seconds = sample.values.reshape(-1, 7), 1e-9 * np.diff(sample.stamps_ns)
    metres = np.sqrt(np.sum(np.diff(poses[:, :3], axis=0) ** 2, axis=1))
    cosines = np.abs(np.sum(poses[1:, 3:] * poses[:-1, 3:], axis=1))
    radians = 2.0 * np.arccos(np.minimum(cosines, 1.0))
    limits = contract.limits
    fast = (metres > 10.0 * limits.linear_velocity_m_s * seconds) | (
        radians > 10.0 * limits.angular_velocity_rad_s * seconds
    )
    return not bool(fast.any())


def over_limit(wrench: Array, contract: Contract) -> bool:
    """True when a finite wrench (6,) is above a limit of the contract."""
    safety = contract.safety
    force, torque = math.hypot(*wrench[:3]), math.hypot(*wrench[3:])
    return (safety.force_limit_N is not None and force > safety.force_limit_N) or (
        safety.torque_limit_Nm is not None and torque > safety.torque_limit_Nm
    )


def hand_moves(twist: Array, contract: Contract) -> bool:
    """True when a finite twist (6,) is more than a hand at rest gives."""
    safety, (linear, angular) = contract.safety, (twist[:3], twist[3:])
    return bool(
        math.hypot(*linear) > safety.takeover_linear_m_s or math.hypot(*angular) > safety.takeover_angular_rad_s
    )


def mode_of(output: ControlOutput | None) -> int:
    """Mode of the last output; STOPPED before the first."""
    return int(Mode.STOPPED) if output is None else int(output.mode)
