"""Images of a store: in memory if they fit, else read by whole chunks that stay in memory for a while."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_dataset.store import StoreError
from torch import Tensor

#: Images are read once into memory if they need less than this share of what is free.
MEMORY_SHARE = 0.6
#: Bytes of decoded chunks, all cameras together, among which windows are shuffled when images stay on disk. Twice as
#: much is kept, so that a chunk is read about once per epoch. Fixed: the order must not depend on the machine.
SHUFFLED_BYTES = 512 * 2**20
#: Frames that the figures of the channels are taken from.
STATISTICS_FRAMES = 2000


class ChunkedImages:
    """Images on disk, read by chunks; the last chunks are kept. Several threads may read at once.

    Args:
        array: zarr array (N, H, W, 3) uint8, chunked along its first axis.
        kept_bytes: decoded chunks kept in memory; at least two are.

    Attributes:
        shape: (N, H, W, 3).
        chunk_rows: images per chunk.
        chunks_read: chunks decoded so far.
    """

    def __init__(self, array: Any, kept_bytes: int = 2 * SHUFFLED_BYTES) -> None:
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.chunk_rows = int(array.chunks[0])
        self.chunks_read = 0
        self._array = array
        self._kept = max(2, kept_bytes // self.chunk_bytes)
        self._chunks: OrderedDict[int, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def chunk_bytes(self) -> int:
        """Bytes of one decoded chunk."""
        return self.chunk_rows * int(np.prod(self.shape[1:]))

    def gather(self, frames: np.ndarray) -> Tensor:
        """Images (..., H, W, 3) uint8 of the frames (...).

        Raises:
            StoreError: a chunk is damaged.
        """
        flat = frames.reshape(-1)
        images = torch.empty((len(flat), *self.shape[1:]), dtype=torch.uint8)
        chunks = flat // self.chunk_rows
        for chunk in np.unique(chunks):
            places = np.flatnonzero(chunks == chunk)
            inside = torch.from_numpy(flat[places] - chunk * self.chunk_rows)
            images[torch.from_numpy(places)] = self._chunk(int(chunk)).index_select(0, inside)
        return images.view(*frames.shape, *self.shape[1:])

    def _chunk(self, chunk: int) -> Tensor:
        with self._lock:
            if chunk in self._chunks:
                self._chunks.move_to_end(chunk)
                return self._chunks[chunk]
        start = chunk * self.chunk_rows
        # decoded outside the lock, so that threads decode side by side; rarely two decode the same chunk
        try:
            decoded = torch.from_numpy(np.asarray(self._array[start : start + self.chunk_rows]))
        except (OSError, ValueError, RuntimeError) as error:
            rows = f"{start} to {start + self.chunk_rows - 1}"
            raise StoreError(f"images {rows} of {self._array.store_path} cannot be read: {error}") from None
        with self._lock:
            self.chunks_read += 1
            self._chunks[chunk] = decoded
            while len(self._chunks) > self._kept:
                self._chunks.popitem(last=False)
        return decoded


#: Images of one camera: a tensor in memory or chunks on disk.
Images = Tensor | ChunkedImages


def load_images(arrays: Mapping[str, Any], agree: Callable[[bool], bool] = bool) -> dict[str, Images]:
    """Images of each camera, in memory if all fit into the free share, once for every process here.

    Args:
        arrays: zarr arrays (N, H, W, 3) uint8 by camera.
        agree: from whether they fit here to whether they fit everywhere, for processes that train together: windows
            are shuffled otherwise if images stay on disk.
    """
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun and accelerate
    needed = processes * sum(int(np.prod(array.shape)) for array in arrays.values())
    if not agree(needed <= available_memory() * MEMORY_SHARE):
        kept = 2 * SHUFFLED_BYTES // max(1, len(arrays))
        return {name: ChunkedImages(array, kept) for name, array in arrays.items()}
    return {name: torch.from_numpy(np.asarray(array[:])) for name, array in arrays.items()}


def gather_images(images: Images, frames: np.ndarray) -> Tensor:
    """Images (..., H, W, 3) uint8 of the frames (...)."""
    if isinstance(images, ChunkedImages):
        return images.gather(frames)
    # several times as fast as indexing, which copies single bytes
    return images.index_select(0, torch.from_numpy(frames.reshape(-1))).view(*frames.shape, *images.shape[1:])


def shuffle_windows(windows: np.ndarray, images: Iterable[Images], rng: np.random.Generator) -> np.ndarray:
    """Windows in random order; with images on disk within groups of chunks drawn at random, chunk by chunk otherwise.

    Args:
        windows: (N,) int64 step numbers.
        images: of the cameras.
        rng: draws the order.
    """
    chunked = [source for source in images if isinstance(source, ChunkedImages)]
    if not chunked:
        return rng.permutation(windows)
    rows = max(source.chunk_rows for source in chunked)
    bytes_at_once = sum(source.chunk_bytes * rows // source.chunk_rows for source in chunked)
    at_once = max(1, SHUFFLED_BYTES // bytes_at_once)
    chunks = windows // rows
    order = rng.permutation(np.unique(chunks))
    groups = [order[start : start + at_once] for start in range(0, len(order), at_once)]
    return np.concatenate([rng.permutation(windows[np.isin(chunks, group)]) for group in groups])


def channel_statistics(images: Images, frames: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and spread of red, green and blue in [0, 1], over some frames spread evenly over those given."""
    chosen = frames[np.linspace(0, len(frames) - 1, min(len(frames), STATISTICS_FRAMES)).astype(np.int64)]
    counts = np.zeros((3, 256))
    for part in np.array_split(chosen, -(-len(chosen) // 64)):
        pixels = gather_images(images, part).numpy().reshape(-1, 3)
        counts += [np.bincount(pixels[:, channel], minlength=256) for channel in range(3)]
    levels, weights = np.arange(256) / 255, counts / counts.sum(axis=1, keepdims=True)
    mean = weights @ levels
    spread = np.sqrt(np.maximum(weights @ levels**2 - mean**2, 0.0))
    return mean.tolist(), spread.tolist()


def available_memory() -> int:
    """Bytes that can be taken without swapping, within the limit of the container."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    memory = _lines("/proc/meminfo")  # counts the page cache, which gives way
    for line in memory:
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limit and used and limit[0].isdigit():
        free = min(free, int(limit[0]) - int(used[0]))
    return free


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").splitlines()
    except OSError:
        return []
