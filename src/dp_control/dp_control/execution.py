"""The policy's plan in mode POLICY: which chunks are taken, and when there is no plan any more."""

from __future__ import annotations

from collections import Counter

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkRecord, ChunkSchedule, ScheduledTarget
from dp_core.contract import Contract
from dp_core.motion_limits import Motion
from dp_core.poses import pose_distance

from dp_control.signals import CLOCK_TOLERANCE_NS
from dp_control.supervision import IMPLAUSIBLE_DISTANCE_M, farthest_outside_m

# A plan that asks for more than this many times the velocity limit between two actions is not a plan but garbage.
IMPLAUSIBLE_SPEED = 10.0
# A plan that waits longer than this for an action has stamps of another clock or unit; the arm would seem to be driven.
IMPLAUSIBLE_WAIT_S = 10.0


class PlanExecution:
    """Chunks in, references out. Pure.

    Args:
        contract: latencies, limits, ages.
        counters: counts what is refused and what is late.
    """

    def __init__(self, contract: Contract, counters: Counter[str]) -> None:
        self._limits = contract.limits
        self._counters = counters
        self._lost_ns = round(1e9 * contract.safety.input_lost_s)
        self._latency_ns = round(1e9 * contract.action.latency_s)
        self._schedule = ChunkSchedule(
            action_latency_ns=self._latency_ns,
            gripper_latency_ns=round(1e9 * contract.gripper.latency_s),
            limits=contract.limits,
            period_ns=contract.control.period_ns,
        )
        # A frame may have been on its way when the mode was entered; older observations belong to another episode.
        oldest_s = max((camera.max_age_s for camera in contract.cameras.values()), default=0.25)
        self._observation_margin_ns = round(1e9 * oldest_s)
        self._entered_ns = 0
        self._ended_ns: int | None = None

    def begin(self, t_ns: int) -> None:
        """Enter mode POLICY."""
        self._entered_ns, self._ended_ns = t_ns, None

    def end(self, reason: str) -> list[ChunkRecord]:
        """Drop the plan; returns its final record, if there was one."""
        self._ended_ns = None
        record = self._schedule.clear(reason)
        return [] if record is None else [self._count(record)]

    def interrupt(self, chunks: tuple[Chunk, ...], t_ns: int, reason: str) -> list[ChunkRecord]:
        """Drop the plan and take none of these chunks, because the arm may not move now; returns all their records.

        The mode goes on, so a policy that falls silent must still be noticed: plans that are not followed count as
        its signs of life until their ends. One that is all late does not, as it would not be followed in any case.
        """
        sending_ns = t_ns + self._latency_ns
        heard = [chunk for chunk in chunks if chunk.stamps_ns[-1] > sending_ns and not self._problem(chunk, t_ns)]
        if self._schedule.record is not None:
            heard.append(self._schedule.record.chunk)
        ends = [int(chunk.stamps_ns[-1]) for chunk in heard]
        if self._ended_ns is not None:
            ends.append(self._ended_ns)
        records = self.end(reason)
        self._ended_ns = max(ends, default=None)
        return [*records, *self.refuse(chunks, t_ns, reason)]

    def refuse(self, chunks: tuple[Chunk, ...], t_ns: int, reason: str) -> list[ChunkRecord]:
        """Report chunks that are not taken at present."""
        self._counters["chunks refused"] += len(chunks)
        return [ChunkRecord(chunk, t_ns, superseded=len(chunk.stamps_ns), stop_reason=reason) for chunk in chunks]

    def take(self, chunks: tuple[Chunk, ...], t_ns: int, commanded: Motion) -> list[ChunkRecord]:
        """Merge new chunks into the plan; returns the records of those that are done with."""
        records: list[ChunkRecord] = []
        for chunk in chunks:
            problem = self._problem(chunk, t_ns)
            if problem:
                records += self.refuse((chunk,), t_ns, problem)
                continue
            record, taken = self._schedule.merge(chunk, t_ns, commanded)
            self._counters["chunks executed" if taken else "chunks refused"] += 1
            if record is not None:
                records.append(self._count(record))
        return records

    def _count(self, record: ChunkRecord) -> ChunkRecord:
        self._counters["late actions"] += record.late
        return record

    def target(self, t_ns: int) -> ScheduledTarget | None:
        """Reference of the command at ``t_ns``, asked for in the order of time; None without a plan."""
        target = self._schedule.target(t_ns)
        if target is not None and not target.exhausted:
            self._ended_ns = None
        elif target is not None and self._ended_ns is None:
            self._ended_ns = t_ns
        return target

    def lost(self, t_ns: int) -> bool:
        """True when chunks came in this mode, the last action was due long ago and no newer chunk has come."""
        return self._ended_ns is not None and t_ns - self._ended_ns > self._lost_ns

    def _problem(self, chunk: Chunk, t_ns: int) -> str:
        """Why a chunk must not be taken, or nothing."""
        if chunk.observed_ns > t_ns + CLOCK_TOLERANCE_NS:
            return f"observed {(chunk.observed_ns - t_ns) * 1e-9:.2f} s in the future: the clocks differ"
        if chunk.observed_ns < self._entered_ns - self._observation_margin_ns:
            return f"observed {(self._entered_ns - chunk.observed_ns) * 1e-9:.2f} s before this mode began"
        outside = farthest_outside_m(self._limits, chunk.poses[:, :3])
        if outside > IMPLAUSIBLE_DISTANCE_M:
            return f"an action lies {outside:.2f} m outside the workspace (limit {IMPLAUSIBLE_DISTANCE_M} m)"
        wait_s = 1e-9 * int(np.diff(chunk.stamps_ns, prepend=min(t_ns, int(chunk.stamps_ns[0]))).max())
        if wait_s > IMPLAUSIBLE_WAIT_S:
            return f"it waits {wait_s:.1f} s for an action (limit {IMPLAUSIBLE_WAIT_S} s): wrong stamps"
        return self._rival(chunk) or self._speed_problem(chunk)

    def _rival(self, chunk: Chunk) -> str:
        """Why a chunk of another policy must not be mixed into the present plan, or nothing."""
        present = self._schedule.record
        if present is None or self._ended_ns is not None or present.chunk.policy_id == chunk.policy_id:
            return ""
        return (
            f"of policy {chunk.policy_id!r} while a plan of policy {present.chunk.policy_id!r} is in execution: "
            "stop one of the two"
        )

    def _speed_problem(self, chunk: Chunk) -> str:
        """Why the steps between actions are implausible, or nothing."""
        if len(chunk.stamps_ns) < 2:
            return ""
        seconds = 1e-9 * np.diff(chunk.stamps_ns)
        metres, radians = pose_distance(chunk.poses[:-1], chunk.poses[1:])
        for speeds, limit, unit in (
            (metres / seconds, self._limits.linear_velocity_m_s, "m/s"),
            (radians / seconds, self._limits.angular_velocity_rad_s, "rad/s"),
        ):
            allowed = IMPLAUSIBLE_SPEED * limit
            if np.max(speeds) > allowed:
                return f"a step between actions asks for {np.max(speeds):.1f} {unit} (limit {allowed:.1f} {unit})"
        return ""
