"""Scores a policy on Push-T over many unseen starts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from dp_core.statistics import bootstrap_mean_interval, wilson_interval
from dp_policy.checkpoint import LoadedPolicy
from dp_policy.engine import Engine
from dp_policy.runtime.selection import Stored

from dp_benchmark.errors import BenchmarkError
from dp_benchmark.lockstep import EpisodeResult, play_group
from dp_benchmark.policies import (
    PUBLISHED,
    check_suits_pusht,
    choose_runtime,
    describe_runtime,
    evaluations_per_chunk,
    load_policy,
    parameter_count,
    run_by,
)
from dp_benchmark.processes import Tell, run_jobs
from dp_benchmark.pusht_environment import SUCCESS_COVERAGE, load_simulator

#: Seed of the first evaluation start, as in the paper's code. No start of the demonstrations was drawn this way.
FIRST_SEED = 100_000
MAX_STEPS = 300
#: Episodes that share batches. Part of what makes a result repeatable: it does not follow the number of workers.
GROUP_SIZE = 25
#: A measurement of the time per chunk ends after this many chunks or seconds, whichever is first.
TIMED_CHUNKS, TIMED_S = 50, 10.0


@dataclass(frozen=True)
class PushTScore:
    """What a policy achieved.

    Attributes:
        checkpoint: folder.
        policy_id: hash of the checkpoint.
        method: of the policy.
        sampling: what was changed for drawing chunks.
        episodes: results in the order of their seeds.
        evaluations: network evaluations per chunk (NFE).
        parameters: number of weights.
        chunk_ms: median time to plan one chunk, one thread, batch 1, milliseconds.
        wall_s: time that the episodes took.
        runtime: what ran the networks.
    """

    checkpoint: Path
    policy_id: str
    method: str
    sampling: Mapping[str, Any]
    episodes: Sequence[EpisodeResult]
    evaluations: int
    parameters: int
    chunk_ms: float
    wall_s: float
    runtime: str = "reference"

    def summary(self) -> dict[str, Any]:
        """Figures over the episodes, plain data."""
        return {
            **score_figures(self.episodes),
            "evaluations_per_chunk": self.evaluations,
            "chunk_ms_p50": self.chunk_ms,
            "parameters": self.parameters,
            "method": self.method,
            "sampling": dict(self.sampling),
            "checkpoint": str(self.checkpoint),
            "policy_id": self.policy_id,
            "wall_s": self.wall_s,
            "runtime": self.runtime,
        }


def score_figures(episodes: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Success with its Wilson interval, mean of the highest coverage and the paper's score with bootstrap intervals.

    The paper's score of an episode is its highest reward, min(coverage / 0.95, 1) (arXiv 2303.04137, its Table 1).
    """
    successes = sum(episode.success for episode in episodes)
    coverage = np.array([episode.max_coverage for episode in episodes])
    score = np.clip(coverage / SUCCESS_COVERAGE, 0.0, 1.0)
    return {
        "episodes": len(episodes),
        "successes": successes,
        "success": successes / len(episodes),
        "success_interval": list(wilson_interval(successes, len(episodes))),
        "mean_max_coverage": float(coverage.mean()),
        "mean_max_coverage_interval": list(bootstrap_mean_interval(coverage)),
        "score": float(score.mean()),
        "score_interval": list(bootstrap_mean_interval(score)),
        "mean_steps": float(np.mean([episode.steps for episode in episodes])),
    }


class EvaluationWatcher(Protocol):
    """Somebody who shows how far an evaluation is."""

    def begin(self, episodes: int) -> None:
        """Everything is checked and loaded; so many episodes will be played now."""

    def episode(self, result: EpisodeResult) -> None:
        """An episode has ended; they come in no particular order."""


def checkpoint_figures(scores: Sequence[PushTScore]) -> dict[str, Any]:
    """The paper's two figures of a training, over its last checkpoints: the best score, and the mean of all.

    The best one is chosen by the very episodes that it is reported on, which flatters it; the mean is not chosen.
    """
    rows = [score.summary() for score in scores]
    figures = {"checkpoints": len(rows), "episodes": rows[0]["episodes"]}
    for key in ("score", "success", "mean_max_coverage"):
        values = [row[key] for row in rows]
        figures[f"max_{key}"] = max(values)
        figures[f"mean_{key}"] = float(np.mean(values))
    return figures


@dataclass(frozen=True)
class _Group:
    """One job of a worker process."""

    checkpoint: Path
    sampling: Mapping[str, Any]
    seeds: Sequence[int]
    max_steps: int
    device: str
    videos: Sequence[Path | None] = field(default_factory=tuple)
    runtime: str = "reference"
    chosen: Stored | None = None


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Like the group, part of what makes sums repeatable; groups run side by side anyway."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _play(group: _Group, tell: Tell, loaded: LoadedPolicy | None = None) -> list[EpisodeResult]:
    with _one_thread():
        loaded = loaded or load_policy(group.checkpoint, group.sampling)
        loaded.policy.to(group.device)
        loaded = run_by(loaded, group.runtime, group.chosen)
        return play_group(loaded, group.seeds, group.max_steps, group.videos, tell, group.device)


def evaluate_pusht(
    checkpoint: Path,
    episodes: int = 100,
    seed: int = 0,
    workers: int = 1,
    *,
    max_steps: int = MAX_STEPS,
    sampling: Mapping[str, Any] | None = None,
    videos: int = 0,
    video_folder: Path | None = None,
    watcher: EvaluationWatcher | None = None,
    device: str = "cpu",
    runtime: str = "reference",
) -> PushTScore:
    """Play episodes from starts that nobody trained on, and score them.

    The result depends on the checkpoint, ``sampling``, ``episodes``, ``seed`` and ``max_steps``, not on ``workers``.

    Args:
        checkpoint: folder of the checkpoint.
        episodes: number of starts, at least 1.
        seed: offset into the starts: the first one is ``100000 + seed``.
        workers: processes that play groups of episodes; 1 plays in this process.
        max_steps: environment steps (0.1 s) per episode.
        sampling: changed values in the section of the method, see :func:`dp_benchmark.policies.load_policy`.
        videos: how many of the first episodes to film.
        video_folder: where to put the films.
        watcher: told how far it is.
        device: torch device of the policy.
        runtime: what runs its networks, one of :data:`dp_benchmark.policies.RUNTIMES`; elsewhere than on the
            processor only ``reference`` and ``published``.

    Raises:
        BenchmarkError: a number is out of range, a package is missing, or the policy does not fit Push-T.
        CheckpointError: the checkpoint is missing or damaged.
        ConfigurationError: ``sampling`` does not fit the method, or an unknown runtime.
    """
    check_evaluation(episodes, seed, workers, device)
    for name, value, low in (("max_steps", max_steps, 1), ("videos", videos, 0)):
        _check_least(name, value, low)
    if videos and video_folder is None:
        raise BenchmarkError("videos are asked for, but no folder for them is given")
    loaded = load_policy(checkpoint, sampling)
    check_suits_pusht(loaded.config, str(checkpoint))
    if device != "cpu" and runtime not in ("reference", PUBLISHED):
        raise BenchmarkError(
            f"runtime = {runtime!r} runs on the processor only; valid on {device}: reference, published"
        )
    with _one_thread():
        chosen = choose_runtime(loaded, runtime)
    chunk_ms = measure_chunk_ms(loaded, device, runtime)
    seeds = range(FIRST_SEED + seed, FIRST_SEED + seed + episodes)
    films = [video_folder / f"seed_{s}.mp4" if video_folder and i < videos else None for i, s in enumerate(seeds)]
    groups = [
        _Group(
            *(checkpoint, sampling or {}, part, max_steps, device),
            films[i * GROUP_SIZE : (i + 1) * GROUP_SIZE],
            runtime,
            chosen,
        )
        for i, part in enumerate(seeds[start : start + GROUP_SIZE] for start in range(0, episodes, GROUP_SIZE))
    ]
    if watcher:
        watcher.begin(episodes)
    tell = watcher.episode if watcher else _tell_nobody
    begin = time.perf_counter()
    if workers == 1 or len(groups) == 1:
        played = [_play(group, tell, loaded) for group in groups]
    else:
        played = run_jobs(_play, groups, workers, lambda _, result: tell(result))
    return PushTScore(
        checkpoint=checkpoint,
        policy_id=loaded.policy_id,
        method=loaded.config.method,
        sampling=sampling or {},
        episodes=[result for group in played for result in group],
        evaluations=evaluations_per_chunk(loaded),
        parameters=parameter_count(loaded),
        chunk_ms=chunk_ms,
        wall_s=time.perf_counter() - begin,
        runtime=describe_runtime(runtime, chosen),
    )


def _tell_nobody(result: EpisodeResult) -> None:
    """Stands in for a watcher."""


def check_evaluation(episodes: int, seed: int, workers: int, device: str) -> None:
    """What :func:`evaluate_pusht` checks of this machine and of its numbers, for use before a long training.

    Raises:
        BenchmarkError: a number is out of range, the device cannot be used, or a package is missing.
    """
    for name, value, low in (("episodes", episodes, 1), ("seed", seed, 0), ("workers", workers, 1)):
        _check_least(name, value, low)
    _check_device(device)
    load_simulator()


def _check_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise BenchmarkError(f"{name} = {value} is not valid; at least {low}")


def _check_device(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).splitlines()[0]
        raise BenchmarkError(f"device = {device!r} cannot be used: {reason}; valid here: {_devices()}") from None


def _devices() -> str:
    return "cpu, cuda" if torch.cuda.is_available() else "cpu"


def measure_chunk_ms(loaded: LoadedPolicy, device: str = "cpu", runtime: str = "reference") -> float:
    """Median wall time of one inference on one thread, batch 1, milliseconds."""
    with _one_thread():
        loaded = run_by(loaded, PUBLISHED, None) if runtime == PUBLISHED else loaded
        by_engine = "reference" if runtime == PUBLISHED else runtime
        infer = _processor_inference(loaded, by_engine) if device == "cpu" else _device_inference(loaded, device)
        durations: list[float] = []
        begin = time.perf_counter()
        while len(durations) < TIMED_CHUNKS and (time.perf_counter() - begin < TIMED_S or not durations):
            durations.append(infer())
        return float(np.median(durations))


def _processor_inference(loaded: LoadedPolicy, runtime: str = "reference") -> Callable[[], float]:
    """One inference as a robot would have it, and what it took in milliseconds."""
    engine = Engine(loaded, num_threads=1, warmup_runs=1, runtime=runtime)
    images, vectors = engine.blank_observation()
    previous = _blank_rest(loaded)
    return lambda: engine.infer(images, vectors, previous).timings.total_ms


def _blank_rest(loaded: LoadedPolicy) -> np.ndarray | None:
    """Stands in for what is left of the chunk in execution when the next one is planned, (L, A); None if nothing is."""
    action = loaded.config.action
    left = action.chunk - action.steps
    return np.zeros((left, action.dim), np.float32) if left else None


def _device_inference(loaded: LoadedPolicy, device: str) -> Callable[[], float]:
    """The same on another device, until the actions are back in this process."""
    policy, observation = loaded.policy.to(device), loaded.config.observation
    size = (1, observation.history, observation.image_height, observation.image_width, 3)
    images = {camera: torch.zeros(size, dtype=torch.uint8) for camera in observation.cameras}
    vectors = torch.zeros(1, observation.history, observation.proprioception_dim)
    rest = _blank_rest(loaded)
    previous = None if rest is None else torch.from_numpy(rest)[None].to(device)
    generator = torch.Generator()

    @torch.inference_mode()
    def infer() -> float:
        begin = time.perf_counter()
        seen = {camera: pixels.to(device) for camera, pixels in images.items()}
        policy.plan(policy.encode(seen, vectors.to(device)), previous, 0, generator).cpu()
        return (time.perf_counter() - begin) * 1e3

    for _ in range(3):
        infer()
    return infer
