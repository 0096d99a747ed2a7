"""Training windows: which frames and actions belong together, and batches of them.

The window of step ``k`` holds the frames ``k - (To - 1) .. k`` and the actions ``k - past .. k - past + Tp - 1``:
this is the one place where observation history and chunk are lined up. Before the start of an episode the first frame
and action are repeated, past its end the last action is; repeated actions have a lower loss weight.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_dataset.replay_buffer import ReplayBufferError, is_replay_buffer, read_pusht
from dp_dataset.store import StoreError, open_store
from dp_policy.config import ObservationConfig, PolicyConfig
from dp_policy.policy import Batch
from torch import Tensor

#: Images are read once into memory if they need less than this share of what is free.
MEMORY_SHARE = 0.6


class TrainingDataError(ValueError):
    """A training store is missing, lacks an array, holds non-finite numbers or does not fit the policy."""


@dataclass(frozen=True)
class TrainingData:
    """One training store, numbers in memory.

    Attributes:
        images: per camera (N, H, W, 3) uint8, a tensor in memory or a zarr array on disk.
        proprioception: (N, P) float32, physical units.
        actions: (N, A) float32, physical units.
        valid: (N,) bool; an invalid step is never an observation and never a target.
        episode_ends: (E,) int64, one past the last step of each episode.
        statistics: per-column figures ``{proprioception: {min, max, mean, std}, action: {...}}``.
        contract: of the cell, plain mapping.
        rate_hz: steps per second.
        source: path of the store.
    """

    images: Mapping[str, Any]
    proprioception: Tensor
    actions: Tensor
    valid: np.ndarray
    episode_ends: np.ndarray
    statistics: Mapping[str, Mapping[str, list[float]]]
    contract: Mapping[str, Any]
    rate_hz: float
    source: str

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, pixels; (0, 0) without cameras."""
        return next((tuple(array.shape[1:3]) for array in self.images.values()), (0, 0))  # type: ignore[return-value]


def load_training_data(path: str | Path, observation: ObservationConfig | None = None) -> TrainingData:
    """Open a store of ours or a Push-T replay buffer and read it into memory if it fits.

    Args:
        path: folder of the store.
        observation: what the policy sees: whether images are needed, and which vectors of a replay buffer.

    Raises:
        TrainingDataError: no finished store there, an array is missing, or a number is not finite.
    """
    observation = observation or ObservationConfig()
    if is_replay_buffer(path):
        return _load_replay_buffer(path, observation)
    try:
        store = open_store(path)
    except (StoreError, KeyError) as error:
        raise TrainingDataError(f"no training store at {path}: {error}") from None
    if not len(store):
        raise TrainingDataError(f"{path} holds no episodes")
    valid = store.valid.astype(bool)
    for key in ("proprioception", "action"):
        bad = ~np.isfinite(getattr(store, key)).all(axis=1) & valid
        if bad.any():
            raise TrainingDataError(f"{path}: data/{key} is not finite at step {int(np.argmax(bad))}")
    return TrainingData(
        images=_load_images(store.images) if observation.images else {},
        proprioception=torch.from_numpy(store.proprioception.astype(np.float32)),
        actions=torch.from_numpy(store.action.astype(np.float32)),
        valid=valid,
        episode_ends=store.episode_ends.astype(np.int64),
        statistics={name: figures.to_dict() for name, figures in store.statistics.items()},
        contract=store.contract.to_dict(),
        rate_hz=store.rate_hz,
        source=str(path),
    )


def _load_replay_buffer(path: str | Path, observation: ObservationConfig) -> TrainingData:
    try:
        buffer = read_pusht(path, with_images=observation.images)
        proprioception = buffer.proprioception(observation.state)
    except ReplayBufferError as error:
        raise TrainingDataError(str(error)) from None
    for key, array in (("state", proprioception), ("action", buffer.action)):
        bad = ~np.isfinite(array).all(axis=1)
        if bad.any():
            raise TrainingDataError(f"{path}: data/{key} is not finite at step {int(np.argmax(bad))}")
    return TrainingData(
        images={name: torch.from_numpy(pixels) for name, pixels in buffer.images.items()},
        proprioception=torch.from_numpy(proprioception),
        actions=torch.from_numpy(buffer.action),
        valid=np.ones(len(buffer.action), bool),
        episode_ends=buffer.episode_ends,
        statistics={name: figures.to_dict() for name, figures in buffer.statistics(observation.state).items()},
        contract={},
        rate_hz=buffer.rate_hz,
        source=str(path),
    )


def _load_images(arrays: Mapping[str, Any]) -> dict[str, Any]:
    needed = sum(int(np.prod(array.shape)) for array in arrays.values())
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > free * MEMORY_SHARE:
        return dict(arrays)
    return {name: torch.from_numpy(np.asarray(array)) for name, array in arrays.items()}


def resolve_config(config: PolicyConfig, data: TrainingData) -> PolicyConfig:
    """Fill in what the policy file left open (cameras, image size) and check the rest against the store.

    Raises:
        TrainingDataError: a camera, image size or vector size differs; the text names both sides.
    """
    wanted = config.observation
    cameras = (wanted.cameras or tuple(data.images)) if wanted.images else ()
    for camera in cameras:
        if camera not in data.images:
            raise TrainingDataError(
                f"{data.source} has no camera {camera!r}; it has: {', '.join(data.images) or 'none'}"
            )
    height, width = data.image_size if cameras else (0, 0)
    for name, size, stored in (("height", wanted.image_height, height), ("width", wanted.image_width, width)):
        if size and size != stored:
            raise TrainingDataError(f"observation.image_{name} = {size} but the images of {data.source} have {stored}")
    for name, dim, array in (
        ("observation.proprioception_dim", wanted.proprioception_dim, data.proprioception),
        ("action.dim", config.action.dim, data.actions),
    ):
        if dim != array.shape[1]:
            raise TrainingDataError(f"{name} = {dim} but {data.source} has {array.shape[1]}")
    return config.with_observation(tuple(cameras), height, width)


def split_episodes(count: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out episode numbers; at least one is held out if ``fraction`` asks for any and two exist."""
    held_out = min(count - 1, max(1, round(count * fraction))) if fraction > 0 else 0
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


class WindowSampler:
    """Batches of windows from some episodes of a store.

    A batch depends only on seed and step number, so a resumed run sees what the first one would have seen.

    Args:
        data: the store.
        config: resolved policy configuration.
        episodes: numbers of the episodes to draw from.
        seed: of the order.

    Raises:
        TrainingDataError: the episodes hold no window with a valid observation.
    """

    def __init__(self, data: TrainingData, config: PolicyConfig, episodes: np.ndarray, seed: int) -> None:
        self.data = data
        self._cameras = config.observation.cameras
        self._history, self._horizon, self._past = config.observation.history, config.action.horizon, config.action.past
        self._padded_weight = config.training.padded_step_weight
        self._seed = seed
        starts = np.concatenate(([0], data.episode_ends[:-1]))
        self._start_of = np.repeat(starts, data.episode_ends - starts)
        self._end_of = np.repeat(data.episode_ends, data.episode_ends - starts)
        steps = [np.arange(starts[e], data.episode_ends[e]) for e in episodes]
        candidates = np.concatenate(steps) if steps else np.empty(0, np.int64)
        usable = data.valid[self._frame_index(candidates)].all(axis=1) if len(candidates) else np.empty(0, bool)
        self.windows = candidates[usable]
        if not len(self.windows):
            raise TrainingDataError(f"{data.source}: no valid observation in {len(episodes)} episodes")
        self._epoch, self._order = -1, self.windows

    def indices(self, step: int, batch_size: int) -> np.ndarray:
        """Window numbers (batch_size,) of one step: shuffled epochs, one after the other."""
        places = step * batch_size + np.arange(batch_size)
        epochs, offsets = places // len(self.windows), places % len(self.windows)
        chosen = np.empty(batch_size, np.int64)
        for epoch in np.unique(epochs):
            mask = epochs == epoch
            chosen[mask] = self._shuffled(int(epoch))[offsets[mask]]
        return chosen

    def _shuffled(self, epoch: int) -> np.ndarray:
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, epoch)).permutation(self.windows)
        return self._order

    def _frame_index(self, windows: np.ndarray) -> np.ndarray:
        frames = windows[:, None] + np.arange(1 - self._history, 1)
        return np.maximum(frames, self._start_of[windows][:, None])

    def _targets(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Steps of the actions (B, Tp), those beyond the episode taken from its ends, and where that is so."""
        wanted = windows[:, None] + np.arange(-self._past, self._horizon - self._past)
        targets = np.clip(wanted, self._start_of[windows][:, None], self._end_of[windows][:, None] - 1)
        return targets, targets != wanted

    def actions(self, windows: np.ndarray) -> Tensor:
        """Action sequences (B, Tp, A) of the given steps, physical units, without the images."""
        return torch.nan_to_num(self.data.actions[torch.from_numpy(self._targets(windows)[0])])

    def batch(self, windows: np.ndarray) -> Batch:
        """Gather the windows (B,) of the given steps."""
        frames = self._frame_index(windows)
        targets, padded = self._targets(windows)
        weights = np.where(padded, self._padded_weight, 1.0) * self.data.valid[targets]
        return Batch(
            images={camera: _gather(self.data.images[camera], frames) for camera in self._cameras},
            proprioception=self.data.proprioception[torch.from_numpy(frames)],
            actions=torch.nan_to_num(self.data.actions[torch.from_numpy(targets)]),
            weights=torch.from_numpy(weights.astype(np.float32)),
        )


def _gather(array: Any, frames: np.ndarray) -> Tensor:
    if isinstance(array, Tensor):
        return array[torch.from_numpy(frames)]
    unique, inverse = np.unique(frames, return_inverse=True)
    return torch.from_numpy(np.asarray(array.oindex[unique]))[torch.from_numpy(inverse.reshape(frames.shape))]
