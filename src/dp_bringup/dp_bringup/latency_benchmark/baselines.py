"""Baselines that follow waypoints on straight lines: no compensation, stop and wait, drop-late splice, ensemble.

Cadence and splice are written after `eval_real_robot.py` of real-stanford/diffusion_policy: an observation every Ta
periods, actions of which only those later than `now + 0.01 s` are sent, the last one on the next step where none is.
Their path is that of its `PoseTrajectoryInterpolator`, with the cell's speed limits and workspace.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from dp_control.gripper import GripperChannel
from dp_core.chunk_ensemble import ChunkEnsemble, pose_at
from dp_core.chunk_schedule import Chunk
from dp_core.contract import Contract
from dp_core.poses import pose_distance

from dp_bringup.control_bench.waypoint_methods import LinearSlerp
from dp_bringup.latency_benchmark.methods import Actions, Array, Arrival, Command, Tally, absolute_chunk

# `action_exec_latency` of eval_real_robot.py.
EXECUTION_LATENCY_NS = 10_000_000


class Baseline:
    """What the baselines share: cadence, straight lines, the cell's gripper rule, counting.

    Args:
        contract: of the cell.
        steps: Ta.
    """

    def __init__(self, contract: Contract, steps: int) -> None:
        self.tally = Tally()
        self._contract, self._steps = contract, steps
        self._period_ns = contract.control.period_ns
        self._gripper = GripperChannel(contract.gripper)
        self._path: LinearSlerp | None = None
        self._plan: Chunk | None = None
        self._begin_ns = self._due_ns = 0

    def begin(self, t_ns: int) -> None:
        """The first cycle starts now."""
        self._begin_ns = self._due_ns = t_ns

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """The newest one at the start of each cycle of Ta periods; at once where inference took longer."""
        if busy or t_ns < self._due_ns:
            return None
        self._due_ns += self._steps * self._contract.action.period_ns
        return newest_ns

    def context(self, observed_ns: int) -> tuple[Actions | None, int]:
        """The policy knows nothing of the plan in execution."""
        return None, 0

    def command(self, t_ns: int, pose: Array, width: float) -> Command:
        """The place on the path now, and the gripper where its command changes."""
        if self._path is None:
            self._path = LinearSlerp(pose, self._contract.limits, self._period_ns)
            self._gripper.start(width)
        place = self._path.command(t_ns)
        if self._plan is None:
            return Command(place)
        self.tally.hold_periods += t_ns > int(self._plan.stamps_ns[-1])
        grip = int(np.searchsorted(self._plan.stamps_ns, t_ns, side="right")) - 1
        changed = grip >= 0 and self._gripper.follow(float(self._plan.widths[grip]))
        return Command(place, self._gripper.width if changed else None)

    def finish(self, t_ns: int) -> None:
        """Nothing is left to count."""

    def _follow(self, sent: Chunk, plan: Chunk, t_ns: int) -> None:
        """Send waypoints; the seam is from where the path is to where the plan says that it should be."""
        if self._path is None:
            raise RuntimeError("a chunk arrived before the first control period")
        if self._plan is not None:
            metres, radians = pose_distance(self._path.command(t_ns), pose_at(plan, t_ns))
            self.tally.seams.append((float(metres), float(radians)))
        limits = self._contract.limits
        poses = sent.poses.copy()
        poses[:, :3] = np.clip(poses[:, :3], limits.workspace_min_m, limits.workspace_max_m)
        self._path.take(replace(sent, poses=poses), t_ns)
        self._plan = plan


class Uncompensated(Baseline):
    """No compensation: a chunk begins with its first action when it arrives, as if it had taken no time."""

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Begin with action 0."""
        # A waypoint must be later than the end of the present control period to be scheduled.
        chunk = absolute_chunk(arrival, self._contract, self._steps, t_ns + 2 * self._period_ns)
        self._follow(chunk, chunk, t_ns)


class StopAndWait(Uncompensated):
    """Synchronous: Ta actions, and only then an observation for the next ones; the arm stands still meanwhile."""

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """The first one after the end of the plan."""
        over = self._plan is None or newest_ns >= int(self._plan.stamps_ns[-1])
        return newest_ns if over and not busy else None

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Begin with action 0 and end after Ta."""
        super().take(replace(arrival, actions=arrival.actions[: self._steps]), t_ns)


class DropLateSplice(Baseline):
    """Absolute times; actions whose time has passed are dropped."""

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Send what is still to come; of a chunk that is all late the last action, on the next step."""
        chunk = absolute_chunk(arrival, self._contract, self._steps)
        new = chunk.stamps_ns > t_ns + EXECUTION_LATENCY_NS
        self.tally.late += int(np.count_nonzero(~new))
        stamps = chunk.stamps_ns[new]
        if not new.any():
            new[-1] = True
            period_ns = self._contract.action.period_ns
            steps = -(-(t_ns - self._begin_ns) // period_ns)
            stamps = np.array([self._begin_ns + steps * period_ns], dtype=np.int64)
        sent = replace(chunk, stamps_ns=stamps, poses=chunk.poses[new], widths=chunk.widths[new])
        self._follow(sent, chunk if len(stamps) > 1 else sent, t_ns)


class Ensembled(Baseline):
    """Temporal ensembling of ACT on SE(3) and absolute time; the policy is asked again as soon as it is free."""

    def __init__(self, contract: Contract, steps: int) -> None:
        super().__init__(contract, steps)
        self._ensemble = ChunkEnsemble()
        self._observed_ns = -1

    def next_observation(self, newest_ns: int, t_ns: int, busy: bool) -> int | None:
        """Every new observation, one inference at a time."""
        if busy or newest_ns <= self._observed_ns:
            return None
        self._observed_ns = newest_ns
        return newest_ns

    def take(self, arrival: Arrival, t_ns: int) -> None:
        """Send the mean of all chunks at the times of the new one that are still to come."""
        chunk = absolute_chunk(arrival, self._contract, self._steps)
        self.tally.late += int(np.count_nonzero(chunk.stamps_ns <= t_ns + EXECUTION_LATENCY_NS))
        self._ensemble.add(chunk, t_ns)
        mean = [self._ensemble.at(int(stamp)) for stamp in chunk.stamps_ns]
        poses = np.array([point[0] for point in mean if point is not None])
        plan = replace(chunk, poses=poses)
        new = plan.stamps_ns > t_ns + EXECUTION_LATENCY_NS
        if not new.any():
            return
        sent = replace(plan, stamps_ns=plan.stamps_ns[new], poses=poses[new], widths=plan.widths[new])
        self._follow(sent, plan, t_ns)
