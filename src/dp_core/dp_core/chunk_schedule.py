"""Receding-horizon chunks of timed actions on one absolute timeline.

Action i of a chunk belongs to the absolute time ``stamps_ns[i]``. An action of time t is sent at
``t - action_latency``; one whose time to be sent has passed is *late*: never executed, and counted. At a seam the
path continues from where the last command was and eases into the new chunk, so that the command never jumps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dp_core import poses

Array = NDArray[np.float64]


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
    """What became of a chunk; counts of actions."""

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

    ``pose`` (7,) and its ``twist`` (6,) in the base frame, ``width`` (m); ``ended``: past the last action.
    """

    pose: Array
    twist: Array
    width: float
    ended: bool


class ChunkSchedule:
    """Holds the chunk in execution and evaluates the path at any time.

    Args:
        action_latency_ns: the pose of time t is sent this much earlier.
        gripper_latency_ns: the gripper width of time t is sent this much earlier.
        blend_ns: time over which the seam's offset fades.
    """

    def __init__(self, action_latency_ns: int = 0, gripper_latency_ns: int = 0, blend_ns: int = 300_000_000) -> None:
        if action_latency_ns < 0 or gripper_latency_ns < 0 or blend_ns <= 0:
            raise ValueError("latencies must be >= 0 and blend_ns > 0, in nanoseconds")
        self._latency_ns = action_latency_ns
        self._gripper_latency_ns = gripper_latency_ns
        self._blend_ns = blend_ns
        self._record: ChunkRecord | None = None
        self._merged_ns = 0
        self._offset_position = np.zeros(3)
        self._offset_rotvec = np.zeros(3)

    @property
    def record(self) -> ChunkRecord | None:
        """The chunk in execution, or None."""
        return self._record

    def clear(self, reason: str = "") -> ChunkRecord | None:
        """Forget the chunk; returns its final record."""
        record, self._record = self._record, None
        return replace(record, stop_reason=reason) if record is not None else None

    def merge(self, chunk: Chunk, now_ns: int, commanded: Array) -> tuple[ChunkRecord | None, bool]:
        """Take over a new chunk.

        Args:
            chunk: the new plan.
            now_ns: present time.
            commanded: pose7 commanded last; the path continues from here.

        Returns:
            The final record of the chunk it replaces (or of the new one when it is refused), and whether the new one
            was taken. An older chunk than the present one, or one all late, is refused.
        """
        sending_ns = now_ns + self._latency_ns
        late = int(np.searchsorted(chunk.stamps_ns, sending_ns, side="right"))
        refused = ""
        if self._record is not None and chunk.observed_ns <= self._record.chunk.observed_ns:
            refused = f"older than chunk {self._record.chunk.chunk_id} in execution"
        elif late == len(chunk.stamps_ns):
            refused = f"all {late} actions are late"
        if refused:
            return ChunkRecord(chunk, now_ns, late=late, stop_reason=refused), False
        # Compare both paths at the same instant: the last command alone is one period old, which at speed looks
        # like a jump.
        before = commanded if self._record is None else self._blended(self._record.chunk, sending_ns)
        old = self._finish_old(sending_ns)
        path = _path(chunk, sending_ns)
        self._offset_position = before[:3] - path[:3]
        self._offset_rotvec = poses.rotvec_from_quat(poses.quat_multiply(before[3:], poses.quat_inverse(path[3:])))
        seam_m = float(np.linalg.norm(self._offset_position))
        seam_rad = float(np.linalg.norm(self._offset_rotvec))
        blended = int(np.searchsorted(chunk.stamps_ns, sending_ns + self._blend_ns, side="right")) - late
        self._merged_ns = sending_ns
        self._record = ChunkRecord(
            chunk, now_ns, late=late, blended=blended, seam_position_m=seam_m, seam_rotation_rad=seam_rad
        )
        return old, True

    def _finish_old(self, sending_ns: int) -> ChunkRecord | None:
        if self._record is None:
            return None
        stamps = self._record.chunk.stamps_ns
        return replace(self._record, superseded=int(len(stamps) - np.searchsorted(stamps, sending_ns, side="right")))

    def target(self, now_ns: int) -> ScheduledTarget | None:
        """Path at ``now_ns`` (shifted by the action latency); None without a chunk. Counts executed actions."""
        if self._record is None:
            return None
        t = now_ns + self._latency_ns
        chunk = self._record.chunk
        passed = int(np.searchsorted(chunk.stamps_ns, t, side="right"))
        executed = max(0, passed - self._record.late)
        if executed != self._record.executed:
            first = self._record.first_executed_ns or now_ns
            self._record = replace(self._record, executed=executed, first_executed_ns=first)
        ended = t >= int(chunk.stamps_ns[-1])
        pose = self._blended(chunk, t)
        step_ns = 1_000_000
        twist = np.zeros(6) if ended else _difference(pose, self._blended(chunk, t + step_ns), 1e-9 * step_ns)
        # The gripper is never averaged: the action whose interval holds its time is in force.
        grip = int(np.searchsorted(chunk.stamps_ns, now_ns + self._gripper_latency_ns, side="right")) - 1
        width = float(chunk.widths[max(grip, 0)])
        return ScheduledTarget(pose, twist, width, ended)

    def _blended(self, chunk: Chunk, t_ns: int) -> Array:
        path = _path(chunk, t_ns)
        u = (t_ns - self._merged_ns) / self._blend_ns
        if u >= 1.0:
            return path
        u = max(u, 0.0)
        fade = 1.0 - u * u * u * (10.0 - 15.0 * u + 6.0 * u * u)  # minimum-jerk fade: no velocity or acceleration step
        pose = path.copy()
        pose[:3] += fade * self._offset_position
        pose[3:] = poses.quat_multiply(poses.quat_from_rotvec(fade * self._offset_rotvec), path[3:])
        return pose


def _path(chunk: Chunk, t_ns: int) -> Array:
    """Pose7 of the chunk at ``t_ns``: linear + slerp between actions, held before the first and after the last."""
    stamps = chunk.stamps_ns
    if t_ns <= stamps[0]:
        return np.array(chunk.poses[0])
    if t_ns >= stamps[-1]:
        return np.array(chunk.poses[-1])
    i = int(np.searchsorted(stamps, t_ns, side="right")) - 1
    u = (t_ns - int(stamps[i])) / int(stamps[i + 1] - stamps[i])
    return poses.interpolate_pose(chunk.poses[i], chunk.poses[i + 1], np.float64(u))


def _difference(a: Array, b: Array, dt_s: float) -> Array:
    rotation = poses.rotvec_from_quat(poses.quat_multiply(b[3:], poses.quat_inverse(a[3:])))
    return np.concatenate([b[:3] - a[:3], rotation]) / dt_s
