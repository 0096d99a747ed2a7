"""Temporal ensembling of overlapping chunks on SE(3) and absolute time: the mean of what they say of an instant.

After ACT (arXiv 2304.13705): of all chunks that cover an instant, the oldest has weight 1 and each newer one
``exp(-decay)`` times that of the one before. Unlike there, rotations are averaged as rotations (Markley et al.,
"Averaging Quaternions", 2007) and the gripper, which is open or closed, is never averaged: the newest chunk decides.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp_core.chunk_schedule import Chunk
from dp_core.poses import interpolate_pose

Array = NDArray[np.float64]

# ACT's: old and new count almost alike.
DECAY = 0.01


def mean_rotation(quats: ArrayLike, weights: ArrayLike) -> Array:
    """Weighted mean of rotations: the one whose squared chordal distances to them sum up least.

    Args:
        quats: (n, 4) unit, xyzw; the sign of each does not matter.
        weights: (n,) not negative, some positive.

    Returns:
        (4,) unit quaternion, in the half space of the first one.

    Raises:
        ValueError: sizes differ, or no weight is positive.
    """
    q, w = np.asarray(quats, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if q.ndim != 2 or q.shape[1] != 4 or w.shape != q.shape[:1]:
        raise ValueError(f"{q.shape} quaternions and {w.shape} weights; expected (n, 4) and (n,)")
    if len(w) == 0 or w.min() < 0.0 or w.max() <= 0.0:
        raise ValueError("weights must not be negative, and one at least must be positive")
    # q and -q are one rotation, so the sum is over q q^T; eigh sorts its eigenvalues upwards.
    mean = np.linalg.eigh((w[:, None] * q).T @ q)[1][:, -1]
    return mean if mean @ q[0] >= 0.0 else -mean


def mean_pose(poses: ArrayLike, weights: ArrayLike) -> Array:
    """Weighted mean (7,) of poses (n, 7): positions by their mean, rotations by :func:`mean_rotation`."""
    p, w = np.asarray(poses, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    quat = mean_rotation(p[:, 3:], w)
    return np.concatenate([w @ p[:, :3] / w.sum(), quat])


class ChunkEnsemble:
    """The chunks that still cover a time to come. Pure: times come in as arguments.

    Args:
        decay: see the module; 0 weighs all alike, more favours old chunks.
        most: chunks kept.
    """

    def __init__(self, decay: float = DECAY, most: int = 32) -> None:
        if decay < 0.0 or most < 1:
            raise ValueError(f"decay {decay} must not be negative and most {most} must be positive")
        self._decay = decay
        self._chunks: deque[Chunk] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, chunk: Chunk, now_ns: int) -> None:
        """Take a chunk in, in order of observation; those that ended before ``now_ns`` are forgotten."""
        while self._chunks and int(self._chunks[0].stamps_ns[-1]) < now_ns:
            self._chunks.popleft()
        self._chunks.append(chunk)

    def at(self, t_ns: int) -> tuple[Array, float] | None:
        """Mean pose7 at an absolute time and the newest chunk's width (m) then; None where no chunk reaches."""
        covering = [chunk for chunk in self._chunks if chunk.stamps_ns[0] <= t_ns <= chunk.stamps_ns[-1]]
        if not covering:
            return None
        weights = np.exp(-self._decay * np.arange(len(covering)))
        newest = covering[-1]
        width = newest.widths[np.searchsorted(newest.stamps_ns, t_ns, side="right") - 1]
        return mean_pose([pose_at(chunk, t_ns) for chunk in covering], weights), float(width)


def pose_at(chunk: Chunk, t_ns: int) -> Array:
    """Pose7 of a chunk at an absolute time, linear + slerp between its actions; its ends outside of them."""
    stamps = chunk.stamps_ns
    after = int(np.clip(np.searchsorted(stamps, t_ns, side="right"), 1, len(stamps) - 1)) if len(stamps) > 1 else 0
    if after == 0:
        return np.array(chunk.poses[0])
    share = (t_ns - int(stamps[after - 1])) / (int(stamps[after]) - int(stamps[after - 1]))
    return interpolate_pose(chunk.poses[after - 1], chunk.poses[after], np.float64(min(max(share, 0.0), 1.0)))
