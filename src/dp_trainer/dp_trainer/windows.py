"""Training windows: which frames and actions belong together, and batches of them.

The window of step ``k`` holds the frames ``k - (To - 1) .. k`` and the actions ``k - past .. k - past + Tp - 1``:
this is the one place where observation history and chunk are lined up. Before the start of an episode the first frame
and action are repeated, past its end the last action is; repeated actions have a lower loss weight.
"""

from __future__ import annotations

import numpy as np
import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import Batch
from torch import Tensor

from dp_trainer.image_source import gather_images, shuffle_windows
from dp_trainer.training_data import (
    TrainingData,
    TrainingDataError,
    fitting_statistics,
    load_training_data,
    resolve_config,
)


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
            images = [self.data.images[camera] for camera in self._cameras]
            self._order = shuffle_windows(self.windows, images, np.random.default_rng((self._seed, epoch)))
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
            images={camera: gather_images(self.data.images[camera], frames) for camera in self._cameras},
            proprioception=self.data.proprioception[torch.from_numpy(frames)],
            actions=torch.nan_to_num(self.data.actions[torch.from_numpy(targets)]),
            weights=torch.from_numpy(weights.astype(np.float32)),
        )


__all__ = [
    "TrainingData",
    "TrainingDataError",
    "WindowSampler",
    "fitting_statistics",
    "load_training_data",
    "resolve_config",
    "split_episodes",
]
