"""The training loop over the steps of one run: figures, validation, checkpoints, stopping."""

from __future__ import annotations

import math
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from dp_trainer.data_checks import episode_of
from dp_trainer.optimiser import learning_rate
from dp_trainer.run_folder import RunFolder, checkpoint_folders
from dp_trainer.training_run import StepFigures, TrainingRun
from dp_trainer.validation import ValidationScore

#: Steps between looks at the figures on a GPU, each of which waits for it; a processor is asked at every step.
READ_INTERVAL = 20


class TrainingDivergedError(RuntimeError):
    """Loss or gradient stopped being finite; the last good checkpoint is kept."""


@dataclass(frozen=True)
class TrainingProgress:
    """State of a run after one step (on a GPU after every few).

    Attributes:
        step: steps done, from 1.
        steps: steps in all.
        loss: of this step.
        samples_per_s: observations per second since this process began training, over all processes.
        waiting_share: share of that time spent waiting for data.
        elapsed_s: since this process began training.
        remaining_s: at this pace.
    """

    step: int
    steps: int
    loss: float
    samples_per_s: float
    waiting_share: float
    elapsed_s: float
    remaining_s: float


class TrainingLoop:
    """Runs the steps of a run.

    Args:
        run: what is trained.
        folder: where the main process writes; None in the others.
        first_step: number of the first step.
        progress: called after every step, on a GPU after every few.
        stop: asked after every step; true ends the run with a checkpoint, whichever process says so.
    """

    def __init__(
        self,
        run: TrainingRun,
        folder: RunFolder | None,
        first_step: int,
        progress: Callable[[TrainingProgress], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.training, self.folder, self.first_step = run, folder, first_step
        self._progress, self._stop = progress, stop or (lambda: False)
        self._read_interval = READ_INTERVAL if run.device.type == "cuda" else 1
        self._pending: list[tuple[int, StepFigures]] = []
        self.losses: list[float] = []
        self.score: ValidationScore | None = None
        self.checkpoint: Path | None = None
        self.done = first_step
        self.interrupted = False
        self.waiting_s = 0.0
        self._begin = time.perf_counter()

    def run(self) -> None:
        """Run the steps that are left, or those until a stop.

        Raises:
            TrainingDivergedError: loss or gradient is not finite; the last checkpoint stays.
            RunFolderError: a checkpoint cannot be written.
            FigureError: figures cannot be written.
        """
        settings = self.training.config.training
        self._begin = time.perf_counter()
        with self.training.loader(self.first_step, settings.steps) as loader:
            for step in range(self.first_step, settings.steps):
                figures = self.training.step(step, loader.take(), self._stop())
                self.done, self.waiting_s = step + 1, loader.waiting_s
                self._pending.append((step, figures))
                last = self.done == settings.steps
                scored = last or (settings.validation_interval and self.done % settings.validation_interval == 0)
                saved = last or self.done % settings.checkpoint_interval == 0
                if scored or saved or len(self._pending) >= self._read_interval:
                    self._read(bool(scored))
                if saved or self.interrupted:
                    self._save()
                if self.interrupted and not last:
                    break
            else:
                self.interrupted = False
        # Some launchers end all processes when one of them ends: the main one may still be writing.
        self.training.group.wait(self.training.device)

    def _read(self, scored: bool) -> None:
        """Look at the figures since the last look, validate if it is time, and write all of it."""
        rows = []
        for step, figures in self._pending:
            numbers = torch.stack([part.float().to(figures.loss.device) for part in vars(figures).values()]).tolist()
            loss, norm, stop = numbers
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise TrainingDivergedError(self._divergence_text(step, loss, norm))
            self.losses.append(loss)
            self.interrupted = self.interrupted or stop > 0
            rate = learning_rate(step, self.training.config.training)
            rows.append((step, {"loss": loss, "gradient_norm": norm, "learning_rate": rate}))
        self._pending = []
        if self.folder is None:
            return
        if scored:
            rows[-1][1].update(self._validate(self.folder))
        state = self.state
        pace = {"samples_per_s": state.samples_per_s, "waiting_share": state.waiting_share}
        for step, row in rows:
            self.folder.write_figures(step, row, pace)
        if self._progress is not None:
            self._progress(state)

    def _validate(self, folder: RunFolder) -> dict[str, float]:
        run = self.training
        self.score = run.score()
        if self.score is None:
            return {}
        weights = run.averaged_policy().state_dict()
        contract, provenance = run.data.contract, self._provenance()
        folder.write_best(self.done, self.score.action_error, weights, run.config, contract, provenance)
        return {f"validation_{key}": value for key, value in asdict(self.score).items()}

    def _save(self) -> None:
        if self.folder is None:
            return
        run = self.training
        weights = run.averaged_policy().state_dict()
        self.checkpoint = self.folder.write_checkpoint(
            self.done, weights, run.config, run.data.contract, self._provenance(), run.state()
        )

    @property
    def state(self) -> TrainingProgress:
        """Where the run is, and how fast it goes."""
        settings = self.training.config.training
        elapsed = max(time.perf_counter() - self._begin, 1e-9)
        steps = max(1, self.done - self.first_step)
        return TrainingProgress(
            step=self.done,
            steps=settings.steps,
            loss=self.losses[-1] if self.losses else math.nan,
            samples_per_s=(self.done - self.first_step) * settings.batch_size / elapsed,
            waiting_share=self.waiting_s / elapsed,
            elapsed_s=elapsed,
            remaining_s=elapsed / steps * (settings.steps - self.done),
        )

    def _provenance(self) -> dict[str, Any]:
        run = self.training
        return {
            "git_revision": git_revision(),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else platform.machine(),
            "processes": run.group.size,
            "steps": self.done,
            "seed": run.seed,
            "store": Path(run.data.source).name,
            "episodes": len(run.data.episode_ends),
            "rate_hz": run.data.rate_hz,
            "validation": asdict(self.score) if self.score else None,
        }

    def _divergence_text(self, step: int, loss: float, norm: float) -> str:
        windows = self.training.windows(step)
        episodes = sorted({int(episode) for episode in episode_of(self.training.data, windows)})
        older = checkpoint_folders(self.folder.folder)[-1:] if self.folder is not None else []
        kept = f"the last good checkpoint is {older[0]}" if older else "there is no checkpoint of this run yet"
        kept = kept if self.folder is not None else "the main process knows the last good checkpoint"
        return (
            f"training diverged at step {step}: loss {loss}, gradient norm {norm} (batch of windows "
            f"{_listed(windows.tolist())} of episodes {_listed(episodes)}); {kept}. Lower training.learning_rate, "
            f"set training.gradient_clip, or look at these episodes"
        )


def _listed(numbers: list[int], most: int = 12) -> str:
    """The first few numbers, and how many there are if that is more."""
    text = ", ".join(map(str, numbers[:most]))
    return f"[{text}]" if len(numbers) <= most else f"[{text}, ... {len(numbers)} in all]"


def git_revision() -> str:
    """Commit of the sources, or ``unknown`` outside a git checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
