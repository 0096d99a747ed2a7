"""Training data in memory, read from a store of ours or from Push-T demonstrations, and checked against a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_dataset.replay_buffer import ReplayBufferError, is_replay_buffer, read_pusht
from dp_dataset.store import StoreError, open_store
from dp_policy.config import ObservationConfig, PolicyConfig
from dp_policy.pretrained_weights import resolve_pretrained
from torch import Tensor

from dp_trainer.image_source import Images, channel_statistics, load_images


class TrainingDataError(ValueError):
    """A training store is missing, lacks an array, holds non-finite numbers or does not fit the policy."""


@dataclass(frozen=True)
class TrainingData:
    """One training store, numbers in memory.

    Attributes:
        images: per camera (N, H, W, 3) uint8, a tensor in memory or chunks on disk.
        proprioception: (N, P) float32, physical units.
        actions: (N, A) float32, physical units.
        valid: (N,) bool; an invalid step is never an observation and never a target.
        episode_ends: (E,) int64, one past the last step of each episode.
        statistics: per-column figures ``{proprioception: {min, max, mean, std}, action: {...}}``.
        contract: of the cell, plain mapping.
        rate_hz: steps per second.
        source: path of the store.
    """

    images: Mapping[str, Images]
    proprioception: Tensor
    actions: Tensor
    valid: np.ndarray
    episode_ends: np.ndarray
    statistics: Mapping[str, Mapping[str, Any]]
    contract: Mapping[str, Any]
    rate_hz: float
    source: str

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the first camera's images, pixels; (0, 0) without cameras."""
        return next((tuple(array.shape[1:3]) for array in self.images.values()), (0, 0))  # type: ignore[return-value]


def load_training_data(
    path: str | Path, observation: ObservationConfig | None = None, agree: Callable[[bool], bool] = bool
) -> TrainingData:
    """Open a store of ours or a Push-T replay buffer and read it into memory if it fits.

    Args:
        path: folder of the store.
        observation: what the policy sees: whether images are needed, and which vectors of a replay buffer.
        agree: see :func:`dp_trainer.image_source.load_images`.

    Raises:
        TrainingDataError: no finished store there, an array is missing, damaged or of another shape, an episode has no
            steps, or a number is not finite.
    """
    observation = observation or ObservationConfig()
    data = _load_replay_buffer(path, observation) if is_replay_buffer(path) else _load_store(path, observation, agree)
    _check_episodes(data)
    _check_finite(data)
    return data


def _load_store(path: str | Path, observation: ObservationConfig, agree: Callable[[bool], bool]) -> TrainingData:
    try:
        store = open_store(path)
        images = load_images(store.images, agree) if observation.images else {}
    except StoreError as error:
        raise TrainingDataError(f"no training store at {path}: {error}") from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise TrainingDataError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    if not len(store):
        raise TrainingDataError(f"{path} holds no episodes")
    steps = len(store)
    for name, array in (("proprioception", store.proprioception), ("action", store.action)):
        if array.ndim != 2 or len(array) != steps:
            raise TrainingDataError(f"{path}: data/{name} is {array.shape}, expected ({steps}, columns)")
    for camera, frames in store.images.items():
        if len(frames.shape) != 4 or frames.shape[0] != steps or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise TrainingDataError(
                f"{path}: data/image/{camera} is {frames.dtype} {tuple(frames.shape)}, "
                f"expected uint8 ({steps}, height, width, 3)"
            )
    return TrainingData(
        images=images,
        proprioception=torch.from_numpy(store.proprioception.astype(np.float32)),
        actions=torch.from_numpy(store.action.astype(np.float32)),
        valid=store.valid.astype(bool),
        episode_ends=store.episode_ends.astype(np.int64),
        statistics={name: figures.to_dict() for name, figures in store.statistics.items()},
        contract=store.contract.to_dict(),
        rate_hz=store.rate_hz,
        source=str(path),
    )


def _load_replay_buffer(path: str | Path, observation: ObservationConfig) -> TrainingData:
    if observation.proprioception_dim and not observation.state:  # said before the images are read
        raise TrainingDataError(
            f"{path} is a replay buffer, and the policy names none of its vectors in observation.state: "
            "it is for a training store of a cell; for Push-T take one of the policies pusht/..."
        )
    try:
        buffer = read_pusht(path, with_images=observation.images)
        proprioception = buffer.proprioception(observation.state)
    except ReplayBufferError as error:
        raise TrainingDataError(str(error)) from None
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


def _check_episodes(data: TrainingData) -> None:
    ends, steps = data.episode_ends, len(data.actions)
    lengths = np.diff(ends, prepend=0)
    if (lengths <= 0).any():
        episode = int(np.argmax(lengths <= 0))
        raise TrainingDataError(f"{data.source}: episode {episode} has {int(lengths[episode])} steps")
    if not len(ends) or ends[-1] != steps or len(data.valid) != steps:
        raise TrainingDataError(
            f"{data.source}: the episodes end at step {int(ends[-1]) if len(ends) else 0}, but there are {steps} steps"
        )


def _check_finite(data: TrainingData) -> None:
    for name, values in (("proprioception", data.proprioception), ("action", data.actions)):
        bad = ~torch.isfinite(values).all(dim=1).numpy() & data.valid
        if bad.any():
            step = int(np.argmax(bad))
            column = int(np.argmax(~torch.isfinite(values[step]).numpy()))
            episode = int(np.searchsorted(data.episode_ends, step, side="right"))
            raise TrainingDataError(
                f"{data.source}: data/{name} is not finite at step {step} "
                f"(episode {episode}, column {column}: {float(values[step, column])})"
            )


def resolve_config(config: PolicyConfig, data: TrainingData) -> PolicyConfig:
    """Fill in what the policy file left open (cameras, image size, network of pretrained weights) and check the rest.

    Raises:
        TrainingDataError: a camera, image size or vector size differs; the text names both sides.
        PretrainedWeightsError: ``encoder.weights`` cannot be used.
    """
    wanted = config.observation
    cameras = (wanted.cameras or tuple(data.images)) if wanted.images else ()
    for camera in cameras:
        if camera not in data.images:
            raise TrainingDataError(
                f"{data.source} has no camera {camera!r}; it has: {', '.join(data.images) or 'none'}"
            )
    if wanted.images and not cameras:
        raise TrainingDataError(f"{data.source} has no images; set observation.images to false to do without")
    height, width = _image_size(data, tuple(cameras))
    for name, size, stored in (("height", wanted.image_height, height), ("width", wanted.image_width, width)):
        if size and cameras and size != stored:
            raise TrainingDataError(f"observation.image_{name} = {size} but the images of {data.source} have {stored}")
    for name, dim, array in (
        ("observation.proprioception_dim", wanted.proprioception_dim, data.proprioception),
        ("action.dim", config.action.dim, data.actions),
    ):
        if dim != array.shape[1]:
            raise TrainingDataError(f"{name} = {dim} but {data.source} has {array.shape[1]}")
    return resolve_pretrained(config.with_observation(tuple(cameras), height, width))


def _image_size(data: TrainingData, cameras: tuple[str, ...]) -> tuple[int, int]:
    sizes = {camera: tuple(data.images[camera].shape[1:3]) for camera in cameras}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{camera} {size[0]}x{size[1]}" for camera, size in sizes.items())
        raise TrainingDataError(f"{data.source}: the cameras of a policy must have one image size; found {found}")
    return next(iter(sizes.values()), (0, 0))  # type: ignore[return-value]


def fitting_statistics(data: TrainingData, config: PolicyConfig) -> dict[str, Mapping[str, Any]]:
    """Statistics for :meth:`dp_policy.normaliser.Normaliser.fit`; those of the images only if they are needed."""
    statistics = dict(data.statistics)
    cameras = config.observation.cameras
    if config.normaliser.images == "channels" and not config.normaliser.image_mean and cameras:
        frames = np.flatnonzero(data.valid)
        figures = [channel_statistics(data.images[camera], frames) for camera in cameras]
        statistics["images"] = {"mean": [mean for mean, _ in figures], "std": [std for _, std in figures]}
    return statistics
