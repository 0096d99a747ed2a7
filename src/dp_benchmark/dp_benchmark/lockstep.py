"""Plays a group of Push-T episodes side by side, so that the policy plans for all of them in one batch.

A group is always played the same way, whoever plays it and whatever else runs: its noise comes from one generator,
and its batches contain nobody else's episodes (the sums inside a batched matrix product depend on the batch size, and
contacts turn the last bit into another episode).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_policy.checkpoint import LoadedPolicy
from numpy.typing import NDArray

from dp_benchmark.pusht_environment import CAMERA, PushTEnvironment
from dp_benchmark.videos import EpisodeVideo


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        seed: of the start.
        success: the environment called it solved.
        max_coverage: highest coverage of the goal at any step, 0 to 1.
        final_coverage: coverage after the last step.
        steps: environment steps, 0.1 s each.
        initial_state: (5) agent x, y, block x, y in pixels, angle in rad.
    """

    seed: int
    success: bool
    max_coverage: float
    final_coverage: float
    steps: int
    initial_state: tuple[float, ...]

    def row(self) -> dict[str, Any]:
        """Plain data; ``EpisodeResult(**row)`` reads it back."""
        return asdict(self)


class _Episode:
    """An environment with its observation history and score."""

    def __init__(self, loaded: LoadedPolicy, seed: int, max_steps: int, video: Path | None) -> None:
        observation = loaded.config.observation
        self._names, self._with_images = observation.state, bool(observation.cameras)
        size = (observation.image_height, observation.image_width) if self._with_images else (96, 96)
        self._environment = PushTEnvironment(*size)
        self._seed, self._max_steps = seed, max_steps
        self._initial = self._environment.reset(seed)
        self._history = observation.history
        self._coverages: list[float] = []
        self._success = False
        self._video = EpisodeVideo(video) if video else None
        self._vectors: deque[NDArray[np.float32]] = deque(maxlen=self._history)
        self._images: deque[NDArray[np.uint8]] = deque(maxlen=self._history)
        for _ in range(self._history):
            self._observe()

    def _observe(self) -> None:
        self._vectors.append(self._environment.vectors(self._names))
        if self._with_images:
            self._images.append(self._environment.image())

    @property
    def over(self) -> bool:
        return self._success or len(self._coverages) >= self._max_steps

    def window(self) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None]:
        """Vectors (To, P) and images (To, H, W, 3), newest last."""
        return np.stack(self._vectors), np.stack(self._images) if self._with_images else None

    def execute(self, actions: NDArray[np.float32]) -> None:
        """Run a chunk's actions (Ta, 2), until the episode is over."""
        for index, action in enumerate(actions):
            outcome = self._environment.step(action)
            self._coverages.append(outcome.coverage)
            self._success = outcome.success
            if self._video:
                self._video.add(self._environment.render(), self._seed, len(self._coverages), max(self._coverages))
            if self.over:
                break
            if len(actions) - index <= self._history:  # earlier frames leave the history before the next inference
                self._observe()

    def result(self) -> EpisodeResult:
        return EpisodeResult(
            seed=self._seed,
            success=self._success,
            max_coverage=max(self._coverages),
            final_coverage=self._coverages[-1],
            steps=len(self._coverages),
            initial_state=tuple(float(value) for value in self._initial),
        )

    def close(self) -> None:
        if self._video:
            self._video.close()


@torch.inference_mode()
def play_group(
    loaded: LoadedPolicy,
    seeds: Sequence[int],
    max_steps: int,
    videos: Sequence[Path | None] = (),
    on_episode: Callable[[EpisodeResult], None] | None = None,
    device: str = "cpu",
) -> list[EpisodeResult]:
    """Play one episode for each seed in lock step.

    Args:
        loaded: the policy, on ``device``.
        seeds: of the starts; the first one also seeds the noise.
        max_steps: environment steps after which an episode ends unsolved.
        videos: where to write each episode's video, None or missing for none.
        on_episode: called with each result as its episode ends.
        device: where the policy lies.

    Returns:
        results in the order of ``seeds``.
    """
    paths = [*videos, *[None] * (len(seeds) - len(videos))]
    episodes = [_Episode(loaded, seed, max_steps, path) for seed, path in zip(seeds, paths, strict=True)]
    generator = torch.Generator().manual_seed(seeds[0])
    active = list(range(len(seeds)))
    previous: torch.Tensor | None = None
    try:
        while active:
            chunks = _plan(loaded, [episodes[i] for i in active], previous, generator, device)
            actions = chunks.cpu().numpy()
            steps = loaded.config.action.steps
            for row, i in enumerate(active):
                episodes[i].execute(actions[row, :steps])
                if episodes[i].over and on_episode:
                    on_episode(episodes[i].result())
            going_on = [row for row, i in enumerate(active) if not episodes[i].over]
            previous = chunks[going_on, steps:] if chunks.shape[1] > steps else None
            active = [active[row] for row in going_on]
        return [episode.result() for episode in episodes]
    finally:
        for episode in episodes:
            episode.close()


def _plan(
    loaded: LoadedPolicy,
    episodes: Sequence[_Episode],
    previous: torch.Tensor | None,
    generator: torch.Generator,
    device: str,
) -> torch.Tensor:
    """Chunks (B, chunk, 2) for the episodes' present observations."""
    windows = [episode.window() for episode in episodes]
    vectors = torch.from_numpy(np.stack([vectors for vectors, _ in windows])).to(device)
    images = {}
    if loaded.config.observation.cameras:
        images[CAMERA] = torch.from_numpy(np.stack([pixels for _, pixels in windows if pixels is not None])).to(device)
    features = loaded.policy.encode(images, vectors)
    return loaded.policy.plan(features, previous, 0, generator)
