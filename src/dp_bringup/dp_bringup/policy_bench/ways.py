"""The two ways to run a policy that are compared: as published, and by the engine as on a robot."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from dp_policy.checkpoint import LoadedPolicy
from dp_policy.engine import Engine
from dp_policy.reference import reference_policy
from numpy.typing import NDArray

Array = NDArray[np.float32]
#: Images (To, H, W, 3) uint8 of each camera, and proprioception (To, P) in physical units.
Observation = tuple[dict[str, Any], Array]


@dataclass(frozen=True)
class ChunkTime:
    """One chunk: wall time of its parts and processor time of all threads, milliseconds."""

    encode_ms: float
    denoise_ms: float
    overhead_ms: float
    cpu_ms: float

    @property
    def total_ms(self) -> float:
        """Wall time of the whole."""
        return self.encode_ms + self.denoise_ms + self.overhead_ms


class Way(ABC):
    """A policy that is ready to run.

    Attributes:
        description: what runs, and why.
    """

    description: str

    @abstractmethod
    def chunk(self, observation: Observation, seed: int) -> Array:
        """(chunk, A) actions in physical units, every frame encoded, the noise of a seed."""

    @abstractmethod
    def timed(self, observation: Observation) -> ChunkTime:
        """Draw a chunk as on a robot, and say how long it took."""


class PublishedWay(Way):
    """As in :mod:`dp_policy.reference`: every frame of the window is encoded every time."""

    description = "float32, Conv1d, every frame encoded, diffusers' loop"

    def __init__(self, loaded: LoadedPolicy) -> None:
        self._policy = reference_policy(loaded).policy
        self._generator = torch.Generator()

    def chunk(self, observation: Observation, seed: int) -> Array:
        """See :meth:`Way.chunk`."""
        self._generator.manual_seed(seed)
        return self._run(observation)[0]

    def timed(self, observation: Observation) -> ChunkTime:
        """See :meth:`Way.timed`."""
        cpu_s = time.process_time()
        _, (start, ready, encoded, planned, end) = self._run(observation)
        cpu_s = time.process_time() - cpu_s
        overhead_s = ready - start + end - planned
        return ChunkTime((encoded - ready) * 1e3, (planned - encoded) * 1e3, overhead_s * 1e3, cpu_s * 1e3)

    @torch.inference_mode()
    def _run(self, observation: Observation) -> tuple[Array, tuple[float, ...]]:
        """Actions, and the instants before and with tensors, encoded, planned and with actions, seconds."""
        instants = [time.perf_counter()]
        seen = {camera: torch.from_numpy(frames)[None] for camera, frames in observation[0].items()}
        state = torch.from_numpy(observation[1])[None]
        instants.append(time.perf_counter())
        features = self._policy.encode(seen, state)
        instants.append(time.perf_counter())
        chunk = self._policy.plan(features, None, 0, self._generator)
        instants.append(time.perf_counter())
        actions = chunk[0].numpy().copy()
        return actions, (*instants, time.perf_counter())


class EngineWay(Way):
    """As on a robot: the newest frame of each camera is encoded, the features of older ones are there already."""

    def __init__(self, loaded: LoadedPolicy, threads: int, runtime: str) -> None:
        self._engine = Engine(loaded, num_threads=threads, runtime=runtime)
        self.description = self._engine.description
        seen = loaded.config.observation
        self._features: dict[str, deque[torch.Tensor]] = {camera: deque(maxlen=seen.history) for camera in seen.cameras}
        self._history = seen.history

    def chunk(self, observation: Observation, seed: int) -> Array:
        """See :meth:`Way.chunk`."""
        self._engine.reseed(seed)
        return self._engine.infer(*observation).actions

    def timed(self, observation: Observation) -> ChunkTime:
        """See :meth:`Way.timed`."""
        images, vectors = observation
        for camera, known in self._features.items():
            while len(known) < self._history - 1:
                known.append(self._engine.encode(camera, images[camera][len(known)]))
        cpu_s, start = time.process_time(), time.perf_counter()
        for camera, known in self._features.items():
            known.append(self._engine.encode(camera, images[camera][-1]))
        encoded = time.perf_counter()
        timings = self._engine.plan(self._features, vectors).timings
        overhead_s = time.perf_counter() - encoded - timings.denoise_ms * 1e-3
        cpu_s = time.process_time() - cpu_s
        return ChunkTime((encoded - start) * 1e3, timings.denoise_ms, overhead_s * 1e3, cpu_s * 1e3)


def observations(loaded: LoadedPolicy, count: int) -> list[Observation]:
    """Made-up windows: images (To, H, W, 3) uint8 of coloured patches, and proprioception over its trained range."""
    seen = loaded.config.observation
    normaliser = loaded.policy.normaliser.proprioception
    windows = []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        size = (seen.image_height, seen.image_width)
        images = {camera: _patches(generator, seen.history, size) for camera in seen.cameras}
        state = generator.uniform(-1.0, 1.0, (seen.history, seen.proprioception_dim)).astype(np.float32)
        windows.append((images, np.asarray(normaliser.restore(torch.from_numpy(state)).numpy())))
    return windows


def _patches(generator: np.random.Generator, frames: int, size: tuple[int, int]) -> Any:
    patch = max(1, min(size) // 12)
    rows, columns = (-(-side // patch) for side in size)
    coarse = generator.integers(0, 256, (frames, rows, columns, 3), dtype=np.uint8)
    fine = coarse.repeat(patch, axis=1).repeat(patch, axis=2)
    return np.ascontiguousarray(fine[:, : size[0], : size[1]])
