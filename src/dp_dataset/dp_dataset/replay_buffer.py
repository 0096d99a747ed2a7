"""Reader of real-stanford replay buffers (zarr v2): the human Push-T demonstrations of arXiv 2303.04137.

Arrays: ``data/state`` (N, 5) agent x, y, block x, y, angle; ``data/keypoint`` (N, 9, 2); ``data/img`` (N, 96, 96, 3)
float32 in 0..255; ``data/action`` (N, 2) target of the agent; ``meta/episode_ends`` (E,). Positions in pixels of the
512x512 table, origin at the upper left, 10 Hz.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dp_dataset.pusht import block_vertices
from dp_dataset.replay_arrays import ReplayBufferError, open_array, read_array, read_rows
from dp_dataset.statistics import DimensionStatistics, compute_statistics

ARRAYS = ("state", "keypoint", "action")
PUSHT_CAMERA = "image"
PUSHT_RATE_HZ = 10.0


@dataclass(frozen=True)
class ReplayBuffer:
    """A replay buffer in memory.

    Attributes:
        path: where it was read.
        images: camera name to (N, H, W, 3) uint8; empty if not asked for.
        vectors: named vectors (N, D) float32: ``agent_position`` (2), ``keypoints`` (18: x, y of nine points on the
            block), ``vertices`` (16: its corners in gym-pusht's order), ``block_pose`` (4: x, y, cos, sin).
        action: (N, 2) float32, where the agent is told to go.
        episode_ends: (E,) int64, exclusive.
        rate_hz: steps per second.
    """

    path: Path
    images: Mapping[str, NDArray[np.uint8]]
    vectors: Mapping[str, NDArray[np.float32]]
    action: NDArray[np.float32]
    episode_ends: NDArray[np.int64]
    rate_hz: float

    def statistics(self, names: tuple[str, ...]) -> dict[str, DimensionStatistics]:
        """Statistics of the action and of the named vectors side by side (``proprioception``)."""
        everywhere = np.ones(len(self.action), bool)
        return {
            "proprioception": compute_statistics(self.proprioception(names), everywhere),
            "action": compute_statistics(self.action, everywhere),
        }

    def proprioception(self, names: tuple[str, ...]) -> NDArray[np.float32]:
        """The named vectors side by side, (N, P).

        Raises:
            ReplayBufferError: there is no such vector.
        """
        for name in names:
            if name not in self.vectors:
                raise ReplayBufferError(f"{self.path} has no vector {name!r}; it has: {', '.join(self.vectors)}")
        columns = [self.vectors[name] for name in names]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(self.action), 0), np.float32)


def is_replay_buffer(path: Path | str) -> bool:
    """Whether a folder looks like a replay buffer rather than one of our stores."""
    return (Path(path) / "meta" / "episode_ends").is_dir() and (Path(path) / "data" / "action" / ".zarray").is_file()


def read_pusht(path: Path | str, with_images: bool = True) -> ReplayBuffer:
    """Read the Push-T demonstrations.

    Args:
        path: folder ``pusht_cchi_v7_replay.zarr``; it is only read.
        with_images: read the images too (0.7 GB).

    Raises:
        ReplayBufferError: an array or a part of it is missing or damaged, has another shape or a number that is not
            finite, or the episode ends do not fit.
    """
    path = Path(path)
    if not is_replay_buffer(path):
        raise ReplayBufferError(f"{path} is not a replay buffer: data/action and meta/episode_ends are missing")
    state, keypoint, action = (read_array(path, f"data/{name}") for name in ARRAYS)
    ends = np.asarray(read_array(path, "meta/episode_ends"), np.int64)
    count = len(action)
    for name, array, shape in (("state", state, (5,)), ("keypoint", keypoint, (9, 2)), ("action", action, (2,))):
        if array.shape != (count, *shape):
            raise ReplayBufferError(f"{path}: data/{name} is {array.shape}, expected {(count, *shape)}: not Push-T")
    if ends.ndim != 1 or not len(ends) or (np.diff(ends, prepend=0) <= 0).any() or ends[-1] != count:
        raise ReplayBufferError(f"{path}: meta/episode_ends must rise to the number of steps, {count}")
    for name, array in (("state", state), ("keypoint", keypoint), ("action", action)):
        _check_finite(path, name, array.reshape(count, -1), ends)
    pose = state[:, 2:].astype(np.float64)
    angle = pose[:, 2:]
    vectors = {
        "agent_position": state[:, :2],
        "keypoints": keypoint.reshape(count, 18),
        "vertices": block_vertices(pose).reshape(count, 16),
        "block_pose": np.concatenate((pose[:, :2], np.cos(angle), np.sin(angle)), axis=1),
    }
    return ReplayBuffer(
        path=path,
        images={PUSHT_CAMERA: _read_images(path, count)} if with_images else {},
        vectors={name: np.asarray(values, np.float32) for name, values in vectors.items()},
        action=np.asarray(action, np.float32),
        episode_ends=ends,
        rate_hz=PUSHT_RATE_HZ,
    )


def _check_finite(path: Path, name: str, rows: NDArray[Any], ends: NDArray[np.int64]) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        step = int(np.argmax(bad))
        column = int(np.argmax(~np.isfinite(rows[step])))
        episode = int(np.searchsorted(ends, step, side="right"))
        raise ReplayBufferError(
            f"{path}: data/{name} is not finite at step {step} "
            f"(episode {episode}, column {column}: {float(rows[step, column])})"
        )


def _read_images(path: Path, count: int) -> NDArray[np.uint8]:
    source = open_array(path, "data/img")
    if len(source.shape) != 4 or source.shape[0] != count or source.shape[3] != 3:
        raise ReplayBufferError(f"{path}: data/img is {source.shape}, expected ({count}, height, width, 3)")
    images = np.empty(source.shape, np.uint8)
    rows = int(source.chunks[0])
    for start in range(0, count, rows):  # by chunks: the floats of all images at once would take four times as much
        part = read_rows(path, "data/img", source, start, start + rows)
        if not (part.min() >= 0 and part.max() <= 255):  # also if there is a NaN
            raise ReplayBufferError(
                f"{path}: data/img has values outside 0..255 in steps {start} to {start + rows - 1}"
            )
        images[start : start + rows] = np.rint(part)
    return images
