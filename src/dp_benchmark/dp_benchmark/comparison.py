"""Trains several policies on the same data for the same time and scores them on the same starts; resumable.

A comparison's folder::

    comparison.json                  what all methods share
    <method>/seed_<k>/policy.json    the policy file's contents
    <method>/seed_<k>/steps.json     number of steps that fit into the time
    <method>/seed_<k>/training/      run folder of the trainer
    <method>/seed_<k>/training.json  figures of the finished training
    <method>/seed_<k>/score.json     figures of the finished evaluation
    table.md, results.json, comparison.png
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp_policy.config import PolicyConfig

from dp_benchmark.errors import BenchmarkError
from dp_benchmark.evaluation import EvaluationWatcher, PushTScore, evaluate_pusht
from dp_benchmark.json_files import read_json, write_json
from dp_benchmark.processes import Tell, run_jobs

SETTINGS_FILE = "comparison.json"
#: Time between two messages of a training process, s.
MESSAGE_INTERVAL_S = 0.5


@dataclass(frozen=True)
class ComparisonSettings:
    """What all methods of a comparison share.

    Attributes:
        data: Push-T replay buffer.
        minutes: wall time of each training; 0: ``steps`` counts.
        steps: optimiser steps of each training; 0 with 0 minutes: as each policy file says.
        episodes: starts that each trained policy is scored on.
        seed: of the trainings (``seed + k`` for the k-th) and offset of the starts.
        parallel: trainings that run at the same time, one thread each if above 1.
    """

    data: Path
    minutes: float = 0.0
    steps: int = 0
    episodes: int = 100
    seed: int = 0
    parallel: int = 1

    def __post_init__(self) -> None:
        for name, low in (("minutes", 0), ("steps", 0), ("episodes", 1), ("seed", 0), ("parallel", 1)):
            if not getattr(self, name) >= low:
                raise BenchmarkError(f"{name} = {getattr(self, name)} is not valid; at least {low}")
        if self.minutes and self.steps:
            raise BenchmarkError(f"minutes = {self.minutes:g} and steps = {self.steps}: only one of them can count")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "data": str(self.data)}


@dataclass(frozen=True)
class MethodRun:
    """One policy file with one training seed.

    Attributes:
        name: of the method in the table.
        config: the policy.
        seed: of the training.
        folder: of this run.
    """

    name: str
    config: PolicyConfig
    seed: int
    folder: Path

    @property
    def trained(self) -> bool:
        """The training is finished."""
        return (self.folder / "training.json").is_file()

    @property
    def scored(self) -> bool:
        """The evaluation is finished too."""
        return (self.folder / "score.json").is_file()

    def training(self) -> dict[str, Any]:
        """Figures of the finished training: ``checkpoint``, ``steps``, ``wall_s``, ``loss``, ``samples_per_s``."""
        return read_json(self.folder / "training.json")

    def score(self) -> dict[str, Any]:
        """Figures of the finished evaluation: ``summary`` and ``rows``."""
        return read_json(self.folder / "score.json")


@dataclass(frozen=True)
class TrainingShare:
    """How far one training is.

    Attributes:
        step: steps done.
        steps: steps in all; 0 while the number that fits into the time is being measured.
        loss: of the last step.
    """

    step: int
    steps: int
    loss: float


def open_comparison(
    out: Path, settings: ComparisonSettings, policies: Mapping[str, PolicyConfig], seeds: int, resume: bool
) -> list[MethodRun]:
    """Make or take up a comparison's folder.

    Args:
        out: the folder.
        settings: of this comparison; those of a resumed one must be the same.
        policies: by the name that they get in the table; a resumed comparison may have other ones.
        seeds: trainings per policy.
        resume: the folder exists and is to be continued.

    Returns:
        the runs, policy by policy, finished ones included.

    Raises:
        BenchmarkError: the folder holds a comparison and ``resume`` is false, or holds a different one.
    """
    if seeds < 1:
        raise BenchmarkError(f"seeds = {seeds} is not valid; at least 1")
    file = out / SETTINGS_FILE
    if file.is_file() and not resume:
        raise BenchmarkError(f"{out} holds a comparison: continue it with --resume, or choose another folder")
    if resume and not file.is_file():
        raise BenchmarkError(f"nothing to resume in {out}: {SETTINGS_FILE} is missing")
    if resume:
        _check_same(file, read_json(file), settings.to_dict())
    runs = [
        MethodRun(name, config, settings.seed + k, out / name / f"seed_{settings.seed + k}")
        for name, config in policies.items()
        for k in range(seeds)
    ]
    for run in runs:
        stored = run.folder / "policy.json"
        if stored.is_file() and read_json(stored) != run.config.to_dict():
            raise BenchmarkError(
                f"the policy file of {run.name} has changed since {run.folder} was begun; remove that folder to train "
                "it anew, or choose another folder for the comparison"
            )
    write_json(file, settings.to_dict())
    for run in runs:
        write_json(run.folder / "policy.json", run.config.to_dict())
    return runs


def _check_same(file: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        if key != "parallel" and stored.get(key) != value:
            raise BenchmarkError(f"{file.parent} was begun with {key} = {stored.get(key)}, not {value}")


@dataclass(frozen=True)
class _Training:
    """One job of a training process."""

    run: MethodRun
    settings: ComparisonSettings


def train_runs(
    runs: Sequence[MethodRun], settings: ComparisonSettings, on_progress: Callable[[int, TrainingShare], None]
) -> None:
    """Train all runs, each in a process of its own, all at the same time; finished ones are left alone.

    Args:
        runs: at most ``settings.parallel``.
        settings: of the comparison.
        on_progress: called now and then with the run's place in ``runs`` and how far it is.

    Raises:
        WorkerError: a training failed; its text says which one.
    """
    places = [place for place, run in enumerate(runs) if not run.trained]
    jobs = [_Training(runs[place], settings) for place in places]
    run_jobs(_train, jobs, len(jobs), lambda job, share: on_progress(places[job], share))


def _train(job: _Training, tell: Tell) -> None:
    from dp_trainer.train import TrainingProgress, train

    run, settings = job.run, job.settings
    config = run.config.with_training(threads=1) if settings.parallel > 1 else run.config
    ended = threading.Event()  # asked to end, or the parent is gone: write a checkpoint and stop
    signal.signal(signal.SIGTERM, lambda signum, frame: ended.set())
    told_at = 0.0

    def progress(state: TrainingProgress) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= MESSAGE_INTERVAL_S or state.step == state.steps:
            told_at = time.monotonic()
            try:
                tell(TrainingShare(state.step, state.steps, state.loss))
            except OSError:
                ended.set()

    try:
        steps = _steps(run, config, settings)
        place = run.folder / "training"
        resume = any((place / "checkpoints").glob("step_*"))
        result = train(settings.data, config, place, steps, run.seed, progress, resume, stop=ended.is_set)
    except Exception as error:
        raise BenchmarkError(f"{run.name}, seed {run.seed}: {error}") from error
    if result.interrupted:
        return
    done = max(1, steps - result.first_step)
    figures = {
        "checkpoint": str(result.checkpoint),
        "steps": steps,
        "wall_s": result.wall_s * steps / done,  # of a resumed training: at the pace of its last part
        "samples_per_s": result.samples_per_s,
        "loss": sum(result.losses[-50:]) / max(1, len(result.losses[-50:])),
    }
    write_json(run.folder / "training.json", figures)


def _steps(run: MethodRun, config: PolicyConfig, settings: ComparisonSettings) -> int:
    """Steps of a training; those that fit into the time are measured once, so that a resumed training keeps them."""
    if not settings.minutes:
        return settings.steps or config.training.steps
    file = run.folder / "steps.json"
    if not file.is_file():
        from dp_trainer.budget import steps_for_budget

        write_json(file, steps_for_budget(settings.data, config, settings.minutes * 60.0, run.seed))
    return int(read_json(file))


def score_run(
    run: MethodRun,
    settings: ComparisonSettings,
    workers: int,
    watcher: EvaluationWatcher | None = None,
    device: str = "cpu",
) -> None:
    """Score the last checkpoint of a trained run and store the figures; nothing if that is done already.

    The last one, whatever the others would have scored: choosing among checkpoints by their score would flatter.
    """
    if run.scored:
        return
    name = Path(run.training()["checkpoint"]).name  # the folder may have been moved since
    score: PushTScore = evaluate_pusht(
        run.folder / "training" / "checkpoints" / name,
        settings.episodes,
        settings.seed,
        workers,
        watcher=watcher,
        device=device,
    )
    rows = [episode.row() for episode in score.episodes]
    write_json(run.folder / "score.json", {"summary": score.summary(), "rows": rows})
