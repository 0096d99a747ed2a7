"""The training loop: a store and a policy configuration in, a checkpoint folder out."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import Policy, build_policy

from dp_trainer.ema import Ema
from dp_trainer.optimiser import MasterWeightOptimiser
from dp_trainer.run_folder import RunFolder, read_training_state
from dp_trainer.validation import ValidationScore, validate
from dp_trainer.windows import (
    TrainingData,
    TrainingDataError,
    WindowSampler,
    load_training_data,
    resolve_config,
    split_episodes,
)


class TrainingDivergedError(RuntimeError):
    """Loss or gradient stopped being finite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class TrainingProgress:
    """State of a run after one step.

    Attributes:
        step: steps done, from 1.
        steps: steps in all.
        loss: of this step.
        samples_per_s: observations per second since this process began training.
        data_share: share of that time spent gathering batches.
        elapsed_s: since this process began training.
        remaining_s: at this pace.
    """

    step: int
    steps: int
    loss: float
    samples_per_s: float
    data_share: float
    elapsed_s: float
    remaining_s: float


@dataclass(frozen=True)
class TrainResult:
    """What a finished run hands back.

    Attributes:
        checkpoint: folder to deploy.
        losses: per step run by this process.
        first_step: number of the first of them.
        samples_per_s: observations per second.
        data_share: share of the time spent gathering batches.
        wall_s: time of the loop.
        validation: last score on held-out episodes, or None if none are held out.
    """

    checkpoint: Path
    losses: list[float]
    first_step: int
    samples_per_s: float
    data_share: float
    wall_s: float
    validation: ValidationScore | None


@dataclass
class _Pace:
    """Wall time of a run, split into gathering batches and the rest."""

    start: float = field(default_factory=time.perf_counter)
    data_s: float = 0.0
    done: int = 0

    def figures(self, batch_size: int, left: int) -> tuple[float, float, float, float]:
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        return self.done * batch_size / elapsed, self.data_s / elapsed, elapsed, elapsed / max(self.done, 1) * left


class TrainingRun:
    """Everything that changes while training, for one configuration and store."""

    def __init__(self, data: TrainingData, config: PolicyConfig, seed: int) -> None:
        self.data, self.config, self.seed = data, config, seed
        training_episodes, held_out = split_episodes(len(data.episode_ends), config.training.validation_fraction, seed)
        self.sampler = WindowSampler(data, config, training_episodes, seed)
        self.held_out = _held_out_sampler(data, config, held_out, seed)
        torch.manual_seed(seed)
        self.policy = build_policy(config)
        self.policy.normaliser.fit(data.statistics)
        self.policy.fit_head(self.sampler.actions(self.sampler.windows), torch.Generator().manual_seed(seed))
        self.averaged = build_policy(config).set_precision(torch.float32).requires_grad_(False)
        self.averaged.load_state_dict(self.policy.state_dict())
        self.averaged.eval()
        self.policy.set_precision(torch.bfloat16 if config.training.precision == "bf16" else torch.float32)
        self.optimiser = MasterWeightOptimiser(self.policy, config.training)
        self.ema = Ema(list(self.averaged.parameters()), config.training.ema)
        self._generator = torch.Generator()

    def step(self, step: int, pace: _Pace) -> tuple[float, float]:
        """One optimiser step; returns loss and gradient norm, not finite if training diverged."""
        training = self.config.training
        begin = time.perf_counter()
        batch = self.sampler.batch(self.sampler.indices(step, training.batch_size))
        pace.data_s += time.perf_counter() - begin
        self._generator.manual_seed(self.seed * 1_000_003 + step)
        loss = self.policy.loss(batch, training.noise_draws, self._generator)
        value = loss.item()
        if not math.isfinite(value):
            return value, math.nan
        loss.backward()
        norm = self.optimiser.step(step)
        if math.isfinite(norm):
            self.ema.update(self.optimiser.masters, step)
        return value, norm

    def averaged_policy(self) -> Policy:
        """The policy with the averaged weights, float32."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.averaged.parameters()), self.ema.averages)
        return self.averaged

    def score(self) -> ValidationScore | None:
        """Held-out figures of the averaged weights."""
        return validate(self.averaged_policy(), self.held_out, self.seed) if self.held_out else None

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors that a resumed run needs."""
        averages = {f"average.{i}": average for i, average in enumerate(self.ema.averages)}
        return {**self.optimiser.state_tensors(), **averages}

    def load_state(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from :meth:`state`."""
        self.optimiser.load_state_tensors(tensors)
        for i, average in enumerate(self.ema.averages):
            average.copy_(tensors[f"average.{i}"])


def train(
    store: str | Path,
    config: PolicyConfig,
    out_dir: str | Path,
    steps: int | None = None,
    seed: int = 0,
    progress: Callable[[TrainingProgress], None] | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train a policy.

    Sets the number of torch threads of the process to ``config.training.threads``.

    Args:
        store: training store of the dataset builder.
        config: policy configuration; open cameras and image sizes are taken from the store.
        out_dir: folder for configuration, figures and checkpoints.
        steps: overrides ``config.training.steps``.
        seed: of weights, order, noise, augmentation and the held-out split.
        progress: called after every step.
        resume: continue from the newest checkpoint in ``out_dir``, to the same curve.

    Raises:
        TrainingDataError: the store is missing, damaged or does not fit the policy.
        TrainingDivergedError: loss or gradient is not finite; the last checkpoint stays.
        CheckpointError: nothing to resume from.
        RunFolderError: ``out_dir`` holds a run and ``resume`` is not asked for.
        PolicyConfigError: ``steps`` is below 1.
    """
    config = config.with_training(steps=steps) if steps is not None else config
    torch.set_num_threads(config.training.threads)
    data = load_training_data(store, config.observation)
    config = resolve_config(config, data)
    run = TrainingRun(data, config, seed)
    first_step = 0
    if resume:
        first_step, tensors, _ = read_training_state(Path(out_dir))
        run.load_state(tensors)
    folder = RunFolder(Path(out_dir), config, first_step)
    try:
        return _loop(run, folder, first_step, progress)
    finally:
        folder.close()


def _loop(
    run: TrainingRun, folder: RunFolder, first_step: int, progress: Callable[[TrainingProgress], None] | None
) -> TrainResult:
    training = run.config.training
    pace, losses, score = _Pace(), [], None
    checkpoint: Path | None = None
    for step in range(first_step, training.steps):
        loss, norm = run.step(step, pace)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise TrainingDivergedError(_divergence_text(run, step, loss, norm, checkpoint))
        losses.append(loss)
        pace.done += 1
        done, last = step + 1, step + 1 == training.steps
        figures = {"loss": loss, "gradient_norm": norm}
        if last or (training.validation_interval and done % training.validation_interval == 0):
            score = run.score() or score
            figures.update({f"validation_{key}": value for key, value in (asdict(score) if score else {}).items()})
        folder.write_figures(step, figures)
        if last or done % training.checkpoint_interval == 0:
            checkpoint = _write_checkpoint(run, folder, done, score)
        if progress is not None:
            progress(
                TrainingProgress(done, training.steps, loss, *pace.figures(training.batch_size, training.steps - done))
            )
    if checkpoint is None:
        checkpoint = read_training_state(folder.folder)[2]
    samples_per_s, data_share, elapsed_s, _ = pace.figures(training.batch_size, 0)
    return TrainResult(checkpoint, losses, first_step, samples_per_s, data_share, elapsed_s, score)


def _held_out_sampler(data: TrainingData, config: PolicyConfig, episodes: Any, seed: int) -> WindowSampler | None:
    try:
        return WindowSampler(data, config, episodes, seed) if len(episodes) else None
    except TrainingDataError:
        return None


def _write_checkpoint(run: TrainingRun, folder: RunFolder, done: int, score: ValidationScore | None) -> Path:
    provenance = {
        "git_revision": git_revision(),
        "torch": torch.__version__,
        "steps": done,
        "seed": run.seed,
        "store": Path(run.data.source).name,
        "episodes": len(run.data.episode_ends),
        "rate_hz": run.data.rate_hz,
        "validation": asdict(score) if score else None,
    }
    weights = run.averaged_policy().state_dict()
    return folder.write_checkpoint(done, weights, run.config, run.data.contract, provenance, run.state())


def _divergence_text(run: TrainingRun, step: int, loss: float, norm: float, checkpoint: Path | None) -> str:
    windows = run.sampler.indices(step, run.config.training.batch_size)
    kept = f"the last good checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint of this run yet"
    return (
        f"training diverged at step {step}: loss {loss}, gradient norm {norm} "
        f"(batch of windows {windows[:8].tolist()}...); {kept}"
    )


def git_revision() -> str:
    """Commit of the sources, or ``unknown`` outside a git checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
