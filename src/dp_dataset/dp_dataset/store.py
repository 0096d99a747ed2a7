"""The training store: a zarr v3 group of all instants of all episodes, one after the other.

Arrays: ``data/image/<camera>`` (N, H, W, 3) uint8 RGB, ``data/proprioception`` and ``data/action`` (N, 10) float32,
``data/stamp_ns`` (N,) int64, ``data/valid`` (N,) bool, ``meta/episode_ends`` (E,) int64 (exclusive). The group's
attributes carry contract, statistics and where each episode came from. The same episodes give the same bytes.
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from dp_core.contract import Contract
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from dp_dataset.aligned import AlignedEpisode
from dp_dataset.statistics import DimensionStatistics, compute_statistics

# Raised whenever the content of a store for the same bags changes, so that nothing stale is reused.
BUILDER_VERSION = 1
CHUNK_ROWS = 64
_ZSTD_LEVEL = 3
_SMALL_CHUNK_ROWS = 4096


class StoreError(ValueError):
    """A store is missing, incomplete or does not hold what is asked for."""


@dataclass(frozen=True)
class EpisodeEntry:
    """Where an episode of the store came from.

    Attributes:
        id: Name of the episode.
        bag: Name of the bag's folder.
        sha256: Of the bag's MCAP file.
        outcome: success, failure or unlabelled.
        task: What was asked for.
        steps: Instants in the store.
        valid_steps: Those that may be learnt from.
        verdict: The recorder's: good, suspect or bad.
        operator: Who drove.
        seed: Seed of the scene, if it had one.
    """

    id: str
    bag: str
    sha256: str
    outcome: str
    task: str
    steps: int
    valid_steps: int
    verdict: str = ""
    operator: str = ""
    seed: int | None = None


class EpisodeStore:
    """A finished store, read only. Arrays are zarr arrays, or numpy arrays when held in memory.

    Attributes:
        path: Folder of the store.
        contract: Contract of the cell that recorded it.
        contract_hash: Its hash.
        rate_hz: Instants per second.
        statistics: ``proprioception`` and ``action``, over valid rows.
        episodes: Where each episode came from.
        episode_ends: ``(E,) int64``, exclusive end row of each episode.
        images: Camera name to ``(N, H, W, 3) uint8``.
        proprioception: ``(N, 10) float32``, always in memory.
        action: ``(N, 10) float32``, always in memory.
        stamp_ns: ``(N,) int64``, always in memory.
        valid: ``(N,) bool``, always in memory.
    """

    def __init__(self, path: Path, in_memory: bool = False) -> None:
        """Open a store; see ``open_store``."""
        self.path = Path(path)
        try:
            group = zarr.open_group(str(self.path), mode="r", zarr_format=3)
            attributes = cast(dict[str, Any], dict(group.attrs))
            self.contract = Contract.from_dict(attributes["contract"])
        except (FileNotFoundError, KeyError) as error:
            raise StoreError(f"{self.path} is not a finished dataset store: {error}") from error
        self.contract_hash = str(attributes["contract_hash"])
        self.rate_hz = float(attributes["rate_hz"])
        self.builder_version = int(attributes["builder_version"])
        self.statistics = {
            name: DimensionStatistics.from_dict(content) for name, content in attributes["statistics"].items()
        }
        self.episodes = tuple(EpisodeEntry(**entry) for entry in attributes["episodes"])
        self.episode_ends = _load(group, "meta/episode_ends")
        self.proprioception = _load(group, "data/proprioception")
        self.action = _load(group, "data/action")
        self.stamp_ns = _load(group, "data/stamp_ns")
        self.valid = _load(group, "data/valid")
        self.images: dict[str, Any] = {}
        for camera in self.contract.observation.cameras:
            array = group[f"data/image/{camera}"]
            self.images[camera] = np.asarray(array[:]) if in_memory else array  # type: ignore[index]

    def __len__(self) -> int:
        """Number of instants."""
        return len(self.stamp_ns)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Camera names in the order of the contract."""
        return tuple(self.images)

    def episode_slice(self, index: int) -> slice:
        """Rows of an episode."""
        return slice(int(self.episode_ends[index - 1]) if index else 0, int(self.episode_ends[index]))

    def read_episode(self, index: int) -> AlignedEpisode:
        """All arrays of one episode, in memory."""
        rows = self.episode_slice(index)
        return AlignedEpisode(
            images={camera: np.asarray(array[rows]) for camera, array in self.images.items()},
            proprioception=self.proprioception[rows],
            action=self.action[rows],
            stamp_ns=self.stamp_ns[rows],
            valid=self.valid[rows],
        )


def open_store(path: Path | str, in_memory: bool = False) -> EpisodeStore:
    """Open a finished store.

    Args:
        path: Folder of the store, ``<name>.zarr``.
        in_memory: Read the images into memory at once; fastest to draw batches from.

    Raises:
        StoreError: If there is no finished store at the path.
    """
    return EpisodeStore(Path(path), in_memory)


def _load(group: zarr.Group, name: str) -> NDArray[Any]:
    return np.asarray(group[name][:])  # type: ignore[index]


class _RowWriter:
    """Appends rows to a growing array, one whole chunk at a time, so that no chunk is written twice."""

    def __init__(self, group: zarr.Group, name: str, row_shape: tuple[int, ...], dtype: Any, chunk_rows: int) -> None:
        self._chunk_rows = chunk_rows
        self._pending = np.zeros((0, *row_shape), dtype)
        self._written = 0
        self._array = group.create_array(
            name,
            shape=(0, *row_shape),
            chunks=(chunk_rows, *row_shape),
            dtype=dtype,
            compressors=[ZstdCodec(level=_ZSTD_LEVEL)],
            fill_value=0,
        )

    def append(self, rows: NDArray[Any]) -> None:
        self._pending = np.concatenate([self._pending, rows.astype(self._pending.dtype, copy=False)])
        whole = len(self._pending) // self._chunk_rows * self._chunk_rows
        self._write(whole)

    def finish(self) -> None:
        self._write(len(self._pending))

    def _write(self, count: int) -> None:
        if not count:
            return
        end = self._written + count
        self._array.resize((end, *self._pending.shape[1:]))
        self._array[self._written : end] = self._pending[:count]
        self._written, self._pending = end, self._pending[count:]


class StoreWriter:
    """Writes a store beside its final place and moves it there in one step when it is finished.

    Memory is bounded by one chunk of each array.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        """Start a store for episodes of one contract; an older store at ``path`` stays until ``finish``."""
        self._path = Path(path)
        self._part = self._path.with_name(f".{self._path.name}.part")
        self._contract = contract
        shutil.rmtree(self._part, ignore_errors=True)
        self._part.parent.mkdir(parents=True, exist_ok=True)
        self._group = zarr.open_group(str(self._part), mode="w", zarr_format=3)
        spec = contract.observation
        frame = (spec.image_height, spec.image_width, 3)
        self._images = {
            camera: _RowWriter(self._group, f"data/image/{camera}", frame, np.uint8, CHUNK_ROWS)
            for camera in spec.cameras
        }
        self._rows: dict[str, list[NDArray[Any]]] = {"proprioception": [], "action": [], "stamp_ns": [], "valid": []}
        self._entries: list[EpisodeEntry] = []
        self._ends: list[int] = []

    def append(self, episode: AlignedEpisode, entry: EpisodeEntry) -> None:
        """Add an episode after those before it.

        Raises:
            StoreError: If it has no instants or other cameras than the contract observes.
        """
        if not len(episode):
            raise StoreError(f"episode {entry.id} has no instants")
        if set(episode.images) != set(self._images):
            raise StoreError(
                f"episode {entry.id} has cameras {', '.join(episode.images)}, expected {', '.join(self._images)}"
            )
        for camera, writer in self._images.items():
            writer.append(episode.images[camera])
        for name, arrays in self._rows.items():
            arrays.append(getattr(episode, name))
        self._entries.append(entry)
        self._ends.append(len(episode) + (self._ends[-1] if self._ends else 0))

    def finish(self) -> Mapping[str, DimensionStatistics]:
        """Write statistics and attributes and move the store to its place.

        Returns:
            Statistics of proprioception and action.

        Raises:
            StoreError: If no episode was added.
        """
        if not self._entries:
            raise StoreError(f"no episode was added to {self._path}")
        for writer in self._images.values():
            writer.finish()
        rows = {name: np.concatenate(arrays) for name, arrays in self._rows.items()}
        for name, values in rows.items():
            writer = _RowWriter(self._group, f"data/{name}", values.shape[1:], values.dtype, _SMALL_CHUNK_ROWS)
            writer.append(values)
            writer.finish()
        ends = _RowWriter(self._group, "meta/episode_ends", (), np.int64, _SMALL_CHUNK_ROWS)
        ends.append(np.asarray(self._ends, np.int64))
        ends.finish()
        statistics = {name: compute_statistics(rows[name], rows["valid"]) for name in ("proprioception", "action")}
        self._group.attrs.update(self._attributes(statistics))
        self._replace()
        return statistics

    def abandon(self) -> None:
        """Remove what was written; an older store stays."""
        shutil.rmtree(self._part, ignore_errors=True)

    def _attributes(self, statistics: Mapping[str, DimensionStatistics]) -> dict[str, Any]:
        return {
            "contract": self._contract.to_dict(),
            "contract_hash": self._contract.hash,
            "rate_hz": self._contract.action.rate_hz,
            "statistics": {name: values.to_dict() for name, values in statistics.items()},
            "episodes": [asdict(entry) for entry in self._entries],
            "builder_version": BUILDER_VERSION,
        }

    def _replace(self) -> None:
        """Swap the finished store in. The old one is only removed once the new one is in place."""
        old = self._path.with_name(f".{self._path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if self._path.exists():
            self._path.rename(old)
        self._part.rename(self._path)
        shutil.rmtree(old, ignore_errors=True)
