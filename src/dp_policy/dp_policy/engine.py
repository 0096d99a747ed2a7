"""Runs a loaded policy: fixed threads, warm-up, timings of every call, a robust estimate of the latency."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dp_policy.checkpoint import LoadedPolicy


@dataclass(frozen=True)
class Timings:
    """Wall time of one inference, milliseconds."""

    encode_ms: float
    denoise_ms: float
    overhead_ms: float

    @property
    def total_ms(self) -> float:
        """Whole call."""
        return self.encode_ms + self.denoise_ms + self.overhead_ms


@dataclass(frozen=True)
class Inference:
    """One chunk.

    Attributes:
        actions: (chunk, A) float32, physical units; the first belongs to the observation's time.
        timings: of this call.
    """

    actions: np.ndarray
    timings: Timings


class LatencyEstimate:
    """High quantile of the last durations; a single outlier does not move it, a lasting change soon does."""

    def __init__(self, window: int = 50, quantile: float = 0.9) -> None:
        self._durations_s: deque[float] = deque(maxlen=window)
        self._quantile = quantile

    def add(self, duration_s: float) -> None:
        """Record one duration, seconds."""
        self._durations_s.append(duration_s)

    @property
    def value_s(self) -> float:
        """The estimate, seconds; 0 before the first duration."""
        return float(np.quantile(self._durations_s, self._quantile)) if self._durations_s else 0.0


class Engine:
    """A policy on one processor; not thread-safe: one thread calls it.

    Args:
        loaded: of :func:`dp_policy.checkpoint.load_checkpoint`.
        num_threads: torch threads of this process (one is the steadiest on shared cores).
        seed: of the noise; each call draws the next numbers.
        warmup_runs: inferences on blank observations at construction, left out of the latency estimate.
    """

    def __init__(self, loaded: LoadedPolicy, num_threads: int = 1, seed: int = 0, warmup_runs: int = 3) -> None:
        torch.set_num_threads(num_threads)
        self.loaded = loaded
        self.latency = LatencyEstimate()
        self._policy = loaded.policy
        self._generator = torch.Generator().manual_seed(seed)
        images, proprioception = self.blank_observation()
        plan = np.zeros((loaded.config.action.chunk, loaded.config.action.dim), np.float32)
        for _ in range(warmup_runs):
            self._run(images, proprioception, plan, 0)
        self.latency.add(self._run(images, proprioception, plan, 0).timings.total_ms * 1e-3)
        self.reseed(seed)

    @property
    def latency_s(self) -> float:
        """Robust estimate of the duration of :meth:`infer`, seconds."""
        return self.latency.value_s

    def reseed(self, seed: int) -> None:
        """Restart the noise, so that a run can be repeated."""
        self._generator.manual_seed(seed)

    def blank_observation(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Black images and zero proprioception in the policy's shapes."""
        shape = self.loaded.config.observation
        images = {
            camera: np.zeros((shape.history, shape.image_height, shape.image_width, 3), np.uint8)
            for camera in shape.cameras
        }
        return images, np.zeros((shape.history, shape.proprioception_dim), np.float32)

    def infer(
        self,
        images: Mapping[str, np.ndarray],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None = None,
        n_late: int = 0,
    ) -> Inference:
        """One chunk from one observation window.

        Args:
            images: per camera (To, H, W, 3) uint8 rgb, newest last.
            proprioception: (To, P) physical units.
            previous_plan: (L, A) what is left of the chunk in execution from this observation's time on, physical
                units, as :class:`dp_policy.plan_memory.PlanMemory` gives it; None at the start.
            n_late: its leading actions that will have run before the new chunk arrives.

        Raises:
            ObservationError: a camera is missing or a shape is not the trained one.
        """
        result = self._run(images, proprioception, previous_plan, n_late)
        self.latency.add(result.timings.total_ms * 1e-3)
        return result

    @torch.inference_mode()
    def _run(
        self,
        images: Mapping[str, np.ndarray],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None,
        n_late: int,
    ) -> Inference:
        start = time.perf_counter()
        cameras = self.loaded.config.observation.cameras
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(images[name]))[None] for name in cameras if name in images
        }
        state = torch.from_numpy(np.asarray(proprioception, np.float32))[None]
        previous = None if previous_plan is None else torch.from_numpy(np.asarray(previous_plan, np.float32))[None]
        prepared = time.perf_counter()
        features = self._policy.encode(tensors, state)
        encoded = time.perf_counter()
        chunk = self._policy.plan(features, previous, n_late, self._generator)
        planned = time.perf_counter()
        actions = chunk[0].numpy().copy()
        end = time.perf_counter()
        timings = Timings(
            encode_ms=(encoded - prepared) * 1e3,
            denoise_ms=(planned - encoded) * 1e3,
            overhead_ms=(prepared - start + end - planned) * 1e3,
        )
        return Inference(actions, timings)
