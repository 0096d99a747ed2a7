"""Runs a loaded policy: fixed threads, warm-up, timings of every call, a robust estimate of the latency."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from dp_policy.checkpoint import LoadedPolicy
from dp_policy.policy import ObservationError
from dp_policy.runtime.artefact import stored_runtime
from dp_policy.runtime.selection import select_runtime


@dataclass(frozen=True)
class Timings:
    """Wall time of one inference, milliseconds; nothing is encoded where the frames were."""

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

    Attributes:
        description: which runtime was chosen, and why.

    Args:
        loaded: of :func:`dp_policy.checkpoint.load_checkpoint`.
        num_threads: torch threads of this process (one is the steadiest on shared cores).
        seed: of the noise; each call draws the next numbers.
        warmup_runs: inferences on blank observations at construction, left out of the latency estimate.
        runtime: ``auto`` takes the fastest way to run the networks here that agrees with the plain one, ``int8`` admits
            8-bit weights too, ``reference`` is the plain one, see :mod:`dp_policy.runtime.selection`. The choice of an
            export is taken as it is where it fits.
        continuity: how chunks go on from the plan in execution, see :mod:`dp_policy.continuity`; None: as the policy is
            set.

    Raises:
        ConfigurationError: an unknown runtime, or a continuity that this policy cannot do.
        CheckpointError: the policy's folder is an export of another policy, or a damaged one.
    """

    def __init__(
        self,
        loaded: LoadedPolicy,
        num_threads: int = 1,
        seed: int = 0,
        warmup_runs: int = 3,
        runtime: str = "auto",
        continuity: str | None = None,
    ) -> None:
        if torch.get_num_threads() != num_threads:
            # Not otherwise: it reaches into the whole process, where another engine may be at work.
            torch.set_num_threads(num_threads)
        self.loaded = loaded
        self.latency = LatencyEstimate()
        if continuity is not None:  # before the runtime is chosen: it makes a view of the policy as it is set
            loaded.policy.continuity = continuity
        selection = select_runtime(loaded.policy, runtime, stored_runtime(loaded))
        self.description = selection.description
        self._policy = selection.policy
        self._generator = torch.Generator().manual_seed(seed)
        images, proprioception = self.blank_observation()
        plan = np.zeros((loaded.config.action.chunk, loaded.config.action.dim), np.float32)
        for _ in range(warmup_runs):
            self._infer(images, proprioception, plan, 0)
        self.latency.add(self._infer(images, proprioception, plan, 0).timings.total_ms * 1e-3)
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

    @torch.inference_mode()
    def encode(self, camera: str, image: np.ndarray) -> Tensor:
        """Features (F_c,) of one frame of a camera, for :meth:`plan` as often as the frame is seen.

        Args:
            camera: its name.
            image: (H, W, 3) uint8 rgb.

        Raises:
            ObservationError: the policy has no such camera, or the shape is not the trained one.
        """
        wanted = self.loaded.config.observation
        if camera not in wanted.cameras:
            raise ObservationError(
                f"the policy has no camera {camera!r}; it has: {', '.join(wanted.cameras) or 'none'}"
            )
        shape = (wanted.image_height, wanted.image_width, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise ObservationError(f"images of {camera!r} must be uint8 {shape}, got {image.dtype} {image.shape}")
        return self._policy.encode_images(camera, torch.from_numpy(np.ascontiguousarray(image))[None])[0]

    def plan(
        self,
        image_features: Mapping[str, Sequence[Tensor]],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None = None,
        n_late: int = 0,
    ) -> Inference:
        """One chunk from frames that are encoded already.

        Args:
            image_features: per camera To features of :meth:`encode`, newest last.
            proprioception: (To, P) physical units.
            previous_plan: (L, A) what is left of the chunk in execution from this observation's time on, physical
                units, as :class:`dp_policy.plan_memory.PlanMemory` gives it; None at the start.
            n_late: its leading actions that will have run before the new chunk arrives.
        """
        result = self._plan(image_features, proprioception, previous_plan, n_late)
        self.latency.add(result.timings.total_ms * 1e-3)
        return result

    def infer(
        self,
        images: Mapping[str, np.ndarray],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None = None,
        n_late: int = 0,
    ) -> Inference:
        """One chunk from an observation window none of whose frames is encoded.

        Args:
            images: per camera (To, H, W, 3) uint8 rgb, newest last.
            proprioception: see :meth:`plan`.
            previous_plan: see :meth:`plan`.
            n_late: see :meth:`plan`.

        Raises:
            ObservationError: a camera is missing or a shape is not the trained one.
        """
        result = self._infer(images, proprioception, previous_plan, n_late)
        self.latency.add(result.timings.total_ms * 1e-3)
        return result

    def _infer(
        self,
        images: Mapping[str, np.ndarray],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None,
        n_late: int,
    ) -> Inference:
        wanted = self.loaded.config.observation
        for camera in wanted.cameras:
            if len(images.get(camera, ())) != wanted.history:
                raise ObservationError(
                    f"the policy needs {wanted.history} frames of camera {camera!r}; "
                    f"given: {', '.join(f'{len(frames)} of {name}' for name, frames in images.items()) or 'none'}"
                )
        start = time.perf_counter()
        features = {camera: [self.encode(camera, frame) for frame in images[camera]] for camera in wanted.cameras}
        encode_ms = (time.perf_counter() - start) * 1e3
        planned = self._plan(features, proprioception, previous_plan, n_late)
        return replace(planned, timings=replace(planned.timings, encode_ms=encode_ms))

    @torch.inference_mode()
    def _plan(
        self,
        image_features: Mapping[str, Sequence[Tensor]],
        proprioception: np.ndarray,
        previous_plan: np.ndarray | None,
        n_late: int,
    ) -> Inference:
        start = time.perf_counter()
        shape = self.loaded.config.observation
        state = torch.from_numpy(np.asarray(proprioception, np.float32))[None]
        if tuple(state.shape[1:]) != (shape.history, shape.proprioception_dim):
            raise ObservationError(
                f"proprioception must be ({shape.history}, {shape.proprioception_dim}), got {tuple(state.shape[1:])}"
            )
        windows = {camera: torch.stack(list(image_features[camera]))[None] for camera in shape.cameras}
        previous = None if previous_plan is None else torch.from_numpy(np.asarray(previous_plan, np.float32))[None]
        features = self._policy.join_features(windows, state)
        prepared = time.perf_counter()
        chunk = self._policy.plan(features, previous, n_late, self._generator)
        planned = time.perf_counter()
        actions = chunk[0].numpy().copy()
        overhead_ms = (prepared - start + time.perf_counter() - planned) * 1e3
        return Inference(
            actions, Timings(encode_ms=0.0, denoise_ms=(planned - prepared) * 1e3, overhead_ms=overhead_ms)
        )
