"""Receding-horizon chunks of timed actions on one absolute timeline.

Action i of a chunk belongs to the absolute time ``stamps_ns[i]``. An action of time t is sent at
``t - action_latency``; one whose time to be sent has passed is *late*: never executed, and counted. Between actions
the path is a spline (:mod:`dp_core.pose_spline`); at a seam position, velocity and acceleration go on and ease into
the new chunk (:mod:`dp_core.seam`); at the end of the plan it comes to rest on the last action
(:mod:`dp_core.chunk_path`). So the reference is twice continuously differentiable from the first chunk to the last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dp_core.chunk_path import ChunkPath
from dp_core.limits import MotionLimits
from dp_core.motion_limits import Motion
from dp_core.pose_spline import PathPoint
from dp_core.rotations import norm

Array = NDArray[np.float64]

# Pace of seams and of braking when no limits are given: that of a calm arm.
CALM = MotionLimits(0.6, 2.0, 6.0, 20.0, (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))


class ChunkError(ValueError):
    """A chunk that must not be executed; the message says why."""


@dataclass(frozen=True)
class Chunk:
    """A plan of Tp timed actions.

    Attributes:
        chunk_id: counts up within a run.
        observed_ns: t_obs.
        stamps_ns: (Tp,) int64, strictly increasing, when each action belongs in the world.
        poses: (Tp, 7) base-frame poses.
        widths: (Tp,) gripper widths in metres.
        committed: leading actions meant to be executed before the next chunk.
        policy_id: checkpoint hash.
    """

    chunk_id: int
    observed_ns: int
    stamps_ns: NDArray[np.int64]
    poses: Array
    widths: Array
    committed: int
    policy_id: str = ""

    def __post_init__(self) -> None:
        """Refuse what a robot must not execute."""
        n = len(self.stamps_ns)
        if n == 0 or self.poses.shape != (n, 7) or self.widths.shape != (n,):
            raise ChunkError(
                f"chunk {self.chunk_id}: {n} stamps, poses {self.poses.shape}, widths {self.widths.shape}; "
                "expected one pose7 and one width for each stamp, one at least"
            )
        if not (np.all(np.isfinite(self.poses)) and np.all(np.isfinite(self.widths))):
            raise ChunkError(f"chunk {self.chunk_id}: a pose or width is not finite")
        if np.any(np.diff(self.stamps_ns) <= 0):
            raise ChunkError(f"chunk {self.chunk_id}: stamps are not strictly increasing")
        norms = np.linalg.norm(self.poses[:, 3:], axis=1)
        if np.any(np.abs(norms - 1.0) > 1e-2):
            raise ChunkError(f"chunk {self.chunk_id}: a quaternion has norm {norms[np.argmax(np.abs(norms - 1))]:.3f}")


@dataclass(frozen=True)
class ChunkRecord:
    """What became of a chunk; late + executed + superseded actions are all of them once it has ended."""

    chunk: Chunk
    received_ns: int
    late: int = 0
    executed: int = 0
    superseded: int = 0
    blended: int = 0
    first_executed_ns: int = 0
    seam_position_m: float = 0.0
    seam_rotation_rad: float = 0.0
    stop_reason: str = ""


@dataclass(frozen=True)
class ScheduledTarget:
    """Where the command should be.

    Attributes:
        pose: (7,) base frame.
        twist: (6,) its velocity, base frame.
        acceleration: (6,) its acceleration, base frame.
        width: gripper, metres; None while no action of the first chunk is due.
        ended: the plan is over and its end is at rest on the last action.
        exhausted: the time of the last action has passed and no newer chunk has come.
        path_ns: time of the place on the plan; never goes back, never ahead of the present.
    """

    pose: Array
    twist: Array
    acceleration: Array
    width: float | None
    ended: bool
    exhausted: bool = False
    path_ns: int = 0


class ChunkSchedule:
    """Holds the chunk in execution and evaluates the path at any time.

    Args:
        action_latency_ns: the pose of time t is sent this much earlier.
        gripper_latency_ns: the gripper width of time t is sent this much earlier.
        blend_ns: shortest time over which a seam's difference fades; a large one takes longer.
        limits: pace of seams and of braking; the limiter enforces them.
        period_ns: control period: how much older than the present the command is that a first chunk goes on from.
    """

    def __init__(
        self,
        action_latency_ns: int = 0,
        gripper_latency_ns: int = 0,
        blend_ns: int = 300_000_000,
        limits: MotionLimits = CALM,
        period_ns: int = 0,
    ) -> None:
        if action_latency_ns < 0 or gripper_latency_ns < 0 or blend_ns <= 0 or period_ns < 0:
            raise ValueError("latencies and period_ns must be >= 0 and blend_ns > 0, in nanoseconds")
        self._latency_ns = action_latency_ns
        self._gripper_latency_ns = gripper_latency_ns
        self._blend_ns = blend_ns
        self._limits = limits
        self._period_ns = period_ns
        self._record: ChunkRecord | None = None
        self._path: ChunkPath | None = None
        self._latest_ns = 0
        self._width: float | None = None

    @property
    def record(self) -> ChunkRecord | None:
        """The chunk in execution, or None."""
        return self._record

    def clear(self, reason: str = "") -> ChunkRecord | None:
        """Forget the chunk; returns its final record."""
        record, self._record, self._path, self._width = self._final(), None, None, None
        return replace(record, stop_reason=reason) if record is not None else None

    def merge(self, chunk: Chunk, now_ns: int, commanded: Motion) -> tuple[ChunkRecord | None, bool]:
        """Take over a new chunk.

        Args:
            chunk: the new plan.
            now_ns: present time.
            commanded: motion commanded last; without a chunk in execution the path continues from here.

        Returns:
            The final record of the chunk it replaces (or of the new one when it is refused), and whether the new one
            was taken. An older chunk than the present one, or one all late, is refused.
        """
        sending_ns = now_ns + self._latency_ns
        if self._path is not None:
            sending_ns = max(sending_ns, self._latest_ns)
        late = int(np.searchsorted(chunk.stamps_ns, sending_ns, side="right"))
        refused = self._refusal(chunk, late)
        if refused:
            unused = len(chunk.stamps_ns) - late
            return ChunkRecord(chunk, now_ns, late=late, superseded=unused, stop_reason=refused), False
        # Compare both paths at the same instant: the last command alone is one period old, which at speed looks
        # like a jump.
        if self._path is None:
            seam_ns, before = sending_ns - self._period_ns, _point(commanded)
        else:
            seam_ns, before = sending_ns, self._path.at(sending_ns)
            self._count(sending_ns, now_ns)
        old = self._final()
        blend_s = 1e-9 * self._blend_ns
        path = ChunkPath(chunk.stamps_ns, chunk.poses, seam_ns, before, blend_s, self._limits, self._path)
        faded_ns = seam_ns + round(1e9 * path.seam.duration_s)
        self._record = ChunkRecord(
            chunk,
            now_ns,
            late=late,
            blended=int(np.searchsorted(chunk.stamps_ns, faded_ns, side="right")) - late,
            seam_position_m=norm(path.seam.position),
            seam_rotation_rad=norm(path.seam.rotation),
        )
        self._path, self._latest_ns = path, sending_ns
        return old, True

    def target(self, now_ns: int) -> ScheduledTarget | None:
        """Path at ``now_ns`` (shifted by the action latency); None without a chunk. Counts executed actions.

        A time before that of an earlier call gives the place of the earlier call: the path never goes back.
        """
        if self._record is None or self._path is None:
            return None
        chunk = self._record.chunk
        t_ns = self._latest_ns = max(self._latest_ns, now_ns + self._latency_ns)
        path_ns = self._count(t_ns, now_ns)
        point = self._path.at(t_ns)
        # The gripper is never averaged: the action whose interval holds its time is in force, before the first action
        # that of the plan before.
        grip = int(np.searchsorted(chunk.stamps_ns, now_ns + self._gripper_latency_ns, side="right")) - 1
        if grip >= 0:
            self._width = float(chunk.widths[grip])
        return ScheduledTarget(
            pose=np.array(point.position + point.quat),
            twist=np.array(point.linear + point.angular),
            acceleration=np.array(point.linear_rate + point.angular_rate),
            width=self._width,
            ended=t_ns >= self._path.rest_ns,
            exhausted=t_ns >= int(chunk.stamps_ns[-1]),
            path_ns=path_ns,
        )

    def _refusal(self, chunk: Chunk, late: int) -> str:
        if self._record is not None and chunk.observed_ns <= self._record.chunk.observed_ns:
            return f"older than chunk {self._record.chunk.chunk_id} in execution"
        return f"all {late} actions are late" if late == len(chunk.stamps_ns) else ""

    def _count(self, t_ns: int, now_ns: int) -> int:
        """Count the actions passed by the path's time at ``t_ns``, which is returned."""
        record, path = self._record, self._path
        if record is None or path is None:
            return t_ns
        path_ns = path.path_ns(t_ns)
        passed = int(np.searchsorted(record.chunk.stamps_ns, path_ns, side="right"))
        executed = max(record.executed, passed - record.late)
        if executed != record.executed:
            self._record = replace(record, executed=executed, first_executed_ns=record.first_executed_ns or now_ns)
        return path_ns

    def _final(self) -> ChunkRecord | None:
        if self._record is None:
            return None
        record = self._record
        return replace(record, superseded=len(record.chunk.stamps_ns) - record.late - record.executed)


def _point(motion: Motion) -> PathPoint:
    p, v, a = motion.pose.tolist(), motion.twist.tolist(), motion.acceleration.tolist()
    return PathPoint(
        (p[0], p[1], p[2]),
        (p[3], p[4], p[5], p[6]),
        (v[0], v[1], v[2]),
        (v[3], v[4], v[5]),
        (a[0], a[1], a[2]),
        (a[3], a[4], a[5]),
    )
