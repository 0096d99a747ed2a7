"""Processor time of one cycle of control: the core alone, and with inverse kinematics, on recorded motion."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from dp_control.core import ControlCore
from dp_control.kinematics import QpKinematics
from dp_control.modes import Mode
from dp_control.signals import ControlInputs, Stamped
from dp_core.chunk_schedule import Chunk
from dp_core.contract import Contract, load_contract
from dp_core.poses import quat_normalise

from dp_bringup.control_bench.recorded_motion import RecordedMotion
from dp_bringup.control_bench.simulated_arms import ARMS
from dp_bringup.control_bench.waypoint_chunks import ChunkPlan, Delivery, deliver, end_of_execution_s
from dp_bringup.errors import CommandError

#: Virtual time at which the motion begins; before it the mode is entered.
_START_NS = 1_000_000_000
_ENTRY_CYCLES = 20


class TimedKinematics:
    """Inverse kinematics that notes the processor time of each solve; otherwise the one that it wraps."""

    def __init__(self, kinematics: QpKinematics) -> None:
        self._kinematics = kinematics
        self.solve_s: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kinematics, name)

    def solve(self, pose: Any, period_s: float) -> Any:
        """Solve, timed."""
        began = time.thread_time()
        solution = self._kinematics.solve(pose, period_s)
        self.solve_s.append(time.thread_time() - began)
        return solution


def timing_rows(motions: Sequence[RecordedMotion], rate_hz: int, plan: ChunkPlan) -> list[dict[str, Any]]:
    """Microseconds per cycle of the control core in mode POLICY, without and with inverse kinematics.

    Args:
        motions: given to the core as chunks.
        rate_hz: of control.
        plan: how the chunks come.
    """
    rows = []
    for name, cell in (("control core", "soft arm"), ("control core with inverse kinematics", "stiff arm")):
        contract = load_contract(ARMS[cell])
        contract = dataclasses.replace(contract, control=dataclasses.replace(contract.control, rate_hz=float(rate_hz)))
        kinematics = TimedKinematics(QpKinematics.from_contract(contract)) if cell == "stiff arm" else None
        cycles_s: list[float] = []
        for motion in motions:
            core: Any = ControlCore(contract, kinematics)  # type: ignore[arg-type]
            cycles_s += _time_cycles(core, contract, motion, plan, kinematics is not None)
        rows.append(_row(name, cycles_s))
        if kinematics is not None:
            rows.append(_row("inverse kinematics alone", kinematics.solve_s))
    return rows


def _time_cycles(
    core: ControlCore, contract: Contract, motion: RecordedMotion, plan: ChunkPlan, with_joints: bool
) -> list[float]:
    """Processor time of each cycle of one motion, s, the arm being where it was commanded."""
    period_ns = contract.control.period_ns
    deliveries = deliver(motion, plan)
    end_ns = round(1e9 * end_of_execution_s(deliveries, plan))
    pose, joints = motion.poses[0].copy(), np.array(motion.start_joints)
    pose[3:] = quat_normalise(pose[3:])
    taken, spent = 0, []
    for number in range(-_ENTRY_CYCLES, end_ns // period_ns):
        t_ns = _START_NS + number * period_ns
        arrived = [d for d in deliveries[taken:] if d.arrival_s <= 1e-9 * (t_ns - _START_NS)]
        taken += len(arrived)
        inputs = ControlInputs(
            measured_pose=Stamped(t_ns, pose),
            measured_width=motion.width_at(0.0),
            joints=Stamped(t_ns, joints) if with_joints else None,
            chunks=tuple(_moved(delivery) for delivery in arrived),
            mode=int(Mode.POLICY) if number == -_ENTRY_CYCLES else None,
        )
        began = time.thread_time()
        output = core.step(inputs, t_ns)
        if number >= 0:
            spent.append(time.thread_time() - began)
        if output.mode != Mode.POLICY and number >= 0:
            raise CommandError(
                f"control left mode POLICY {1e-9 * (t_ns - _START_NS):.2f} s into a motion: {output.text}"
            )
        if output.commanded_pose is not None:
            pose = output.commanded_pose
        if output.joints is not None:
            joints = output.joints.position
    return spent


def _moved(delivery: Delivery) -> Chunk:
    """The chunk on the virtual clock."""
    chunk = delivery.chunk
    return dataclasses.replace(chunk, observed_ns=chunk.observed_ns + _START_NS, stamps_ns=chunk.stamps_ns + _START_NS)


def _row(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    median, high = np.percentile(np.array(seconds) * 1e6, (50.0, 99.0))
    return {"part": "timing", "what": name, "p50_us": float(median), "p99_us": float(high), "calls": len(seconds)}
