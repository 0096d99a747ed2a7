"""Ways to go on executing while the next chunk is being made: ours, through the real control core, and the baselines.

A method is asked each control period, in this order: :meth:`LatencyMethod.take` where a chunk has arrived,
:meth:`LatencyMethod.command`, and from its begin on :meth:`LatencyMethod.next_observation`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from dp_control.core import ControlCore
from dp_control.modes import Mode
from dp_control.signals import ControlInputs, ControlOutput, Stamped
from dp_core.actions import decode_action
from dp_core.chunk_schedule import Chunk
from dp_core.contract import Contract
from dp_policy.plan_memory import PlanMemory
from dp_policy_node.inference_schedule import InferenceSchedule
from numpy.typing import NDArray

Array = NDArray[np.float64]
Actions = NDArray[np.float32]


@dataclass(frozen=True)
class Arrival:
    """A chunk as the network made it.

    Attributes:
        number: counts up within the episode.
        observed_ns: its observation.
        actions: (Tp, 10) physical units; the first belongs to ``observed_ns``.
    """

    number: int
    observed_ns: int
    actions: Actions


@dataclass(frozen=True)
class Command:
    """What is sent in one control period; None: nothing new."""

    pose: Array | None = None
    width: float | None = None


@dataclass
class Tally:
    """What a method counts; see :class:`~dp_bringup.latency_benchmark.conditions.Outcome`."""

    late: int = 0
    hold_periods: int = 0
    seams: list[tuple[float, float]] = field(default_factory=list)
    failure: str = ""


class LatencyMethod(Protocol):
    """One episode of a method; times in ns since the reset."""

    tally: Tally

    def begin(self, t_ns: int) -> None:
        """The policy may be asked from now on."""

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """Observation on which the next inference should start now; None while one is under way (``busy``)."""

    def context(self, observed_ns: int) -> tuple[Actions | None, int]:
        """What the policy is told of the plan in execution: its actions from then on, and how many will have run."""

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """A chunk has arrived."""

    def command(self, t_ns: int, pose: Array, width: float) -> Command:
        """The command of this control period, given the measured pose7 and width."""

    def finish(self, t_ns: int) -> None:
        """The episode is over."""


def absolute_chunk(arrival: Arrival, contract: Contract, committed: int, first_ns: int | None = None) -> Chunk:
    """A chunk with the times of its actions, from ``first_ns`` on (default: the observation's time)."""
    poses, widths = decode_action(arrival.actions)
    first_ns = arrival.observed_ns if first_ns is None else first_ns
    stamps = first_ns + contract.action.period_ns * np.arange(len(poses), dtype=np.int64)
    widths = np.clip(widths, contract.gripper.min_width_m, contract.gripper.max_width_m)
    return Chunk(arrival.number, arrival.observed_ns, stamps, poses, widths, committed, "latency")


class Compensated:
    """Ours: schedule by the measured budget, plan continued, absolute-time merge with limits by the control core.

    Args:
        contract: of the cell.
        steps: Ta.
        first_age_ns: age of a chunk that is assumed before one was measured.
    """

    def __init__(self, contract: Contract, steps: int, first_age_ns: int) -> None:
        self.tally = Tally()
        self._contract, self._steps = contract, steps
        self._core = ControlCore(contract)
        slowest_hz = min(contract.cameras[name].rate_hz for name in contract.observation.cameras)
        period_ns, latency_ns = contract.action.period_ns, round(1e9 * contract.action.latency_s)
        self._schedule = InferenceSchedule(period_ns, steps, round(1e9 / slowest_hz), first_age_ns, latency_ns)
        self._memory = PlanMemory(period_ns)
        self._arrived: tuple[Chunk, ...] = ()
        self._newest = 0
        self._seen_plan = self._reported = False
        self._mode: int | None = int(Mode.POLICY)

    def begin(self, t_ns: int) -> None:
        """Control must be in mode POLICY by now."""
        if self._core.mode != Mode.POLICY:
            raise RuntimeError(f"control is in mode {self._core.mode.name} when the policy begins, expected POLICY")
        self._schedule.start()

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """As the inference node."""
        return newest_ns if not busy and self._schedule.due(newest_ns) else None

    def context(self, observed_ns: int) -> tuple[Actions | None, int]:
        """The plan in execution; the actions that will have run are those of the measured budget."""
        remaining = self._memory.remaining(observed_ns)
        return remaining, 0 if remaining is None else min(self._schedule.n_late, len(remaining))

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Note its age and hand it to control."""
        self._schedule.published(arrival.observed_ns, t_ns)
        self._memory.remember(arrival.observed_ns, arrival.actions)
        self._newest = arrival.number
        self._arrived = (absolute_chunk(arrival, self._contract, self._steps),)

    def command(self, t_ns: int, pose: Array, width: float) -> Command:
        """One cycle of control."""
        output = self._step(t_ns, pose, width, self._mode)
        self._mode = None
        if self._seen_plan:
            self.tally.hold_periods += not output.input_alive
            if output.mode != Mode.POLICY and not self.tally.failure:
                self.tally.failure = f"control left POLICY for {output.mode.name}: {output.text}"
        return Command(output.pose, output.width if output.gripper_changed else None)

    def finish(self, t_ns: int) -> None:
        """End the plan, so that the last chunk is reported as well."""
        period_ns = self._contract.control.period_ns
        output = self._core.step(ControlInputs(mode=int(Mode.HOLD)), t_ns + period_ns)
        self._count(output)

    def _step(self, t_ns: int, pose: Array, width: float, mode: int | None) -> ControlOutput:
        chunks, self._arrived = self._arrived, ()
        inputs = ControlInputs(
            measured_pose=Stamped(t_ns, pose), measured_width=width, chunks=chunks, mode=mode, twist=None
        )
        output = self._core.step(inputs, t_ns)
        self._seen_plan = self._seen_plan or bool(chunks)
        self._count(output)
        return output

    def _count(self, output: ControlOutput) -> None:
        for record in output.reports:
            self.tally.late += record.late
            if record.stop_reason and record.chunk.chunk_id >= self._newest:
                # Refused or ended before its time: as in the inference node, nothing goes on from it.
                self._memory.clear()
                self._schedule.drop()
            if self._reported:  # the first one joins no plan
                self.tally.seams.append((record.seam_position_m, record.seam_rotation_rad))
            self._reported = True


def make_method(name: str, contract: Contract, steps: int, first_age_ns: int) -> Any:
    """One episode of a method of :data:`~dp_bringup.latency_benchmark.conditions.METHODS`."""
    from dp_bringup.latency_benchmark.baselines import DropLateSplice, Ensembled, StopAndWait, Uncompensated
    from dp_bringup.latency_benchmark.weighted_queue import WeightedQueue

    if name in ("ours", "guided"):
        return Compensated(contract, steps, first_age_ns)
    baselines: dict[str, Any] = {
        "none": Uncompensated,
        "wait": StopAndWait,
        "splice": DropLateSplice,
        "weighted": WeightedQueue,
        "ensemble": Ensembled,
    }
    return baselines[name](contract, steps)
