"""The figures of a run while it trains: losses.jsonl for every step, TensorBoard and W&B at intervals."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from dp_policy.config import PolicyConfig
from torch.utils.tensorboard import SummaryWriter

LOSSES_FILE = "losses.jsonl"
WANDB_ID_FILE = "wandb_run_id.txt"
#: Steps between points of the curves in TensorBoard and W&B; losses.jsonl has every step.
BOARD_INTERVAL = 10


class FigureError(RuntimeError):
    """Figures cannot be written, or the service for them is missing."""


class FigureWriter:
    """Writes the figures of one run.

    ``losses.jsonl`` holds only what a repeated run reproduces; how fast it went is in TensorBoard and W&B.

    Args:
        folder: of the run.
        config: of the policy; ``training.wandb`` names a project.
        start_step: lines of an earlier process from this step on are dropped.

    Raises:
        FigureError: W&B is asked for and not installed, or does not start.
    """

    def __init__(self, folder: Path, config: PolicyConfig, start_step: int = 0) -> None:
        self._wandb = _start_wandb(folder, config) if config.training.wandb else None
        self._lines: IO[str] = _open_lines(folder / LOSSES_FILE, start_step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step or None)

    def write(self, step: int, figures: Mapping[str, float], pace: Mapping[str, float] | None = None) -> None:
        """Append the line of one step, so that it survives a kill; now and then the point of the curves.

        Args:
            step: from 0.
            figures: what a repeated run reproduces.
            pace: what it does not, for the curves only.

        Raises:
            FigureError: the disk is full or gone.
        """
        try:
            self._lines.write(json.dumps({"step": step, **figures}) + "\n")
            self._lines.flush()
            if step % BOARD_INTERVAL == 0 or any(name.startswith("validation") for name in figures):
                points = {**figures, **(pace or {})}
                for name, value in points.items():
                    self._board.add_scalar(name, value, step)
                if self._wandb is not None:
                    self._wandb.log(points, step=step)
        except OSError as error:
            raise FigureError(f"the figures of step {step} could not be written: {error}") from None

    def close(self) -> None:
        """Close the files; never raises, for what matters has been flushed."""
        for close in (self._lines.close, self._board.close):
            with contextlib.suppress(OSError):
                close()
        if self._wandb is not None:
            self._wandb.finish()


def _open_lines(path: Path, start_step: int) -> IO[str]:
    kept: list[str] = []
    if start_step and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] < start_step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError):  # a line cut off by a kill
                continue
    draft = path.with_name(f".{path.name}.new")
    draft.write_text("".join(kept), encoding="utf-8")
    os.replace(draft, path)
    return path.open("a", encoding="utf-8")


def _start_wandb(folder: Path, config: PolicyConfig) -> Any:
    project = config.training.wandb
    try:
        import wandb
    except ImportError:
        raise FigureError(
            f"training.wandb = {project!r} needs the package wandb: pip install 'diffusion-policy-ros2[wandb]', "
            "or leave training.wandb empty"
        ) from None
    id_file = folder / WANDB_ID_FILE
    run_id = id_file.read_text(encoding="utf-8").strip() if id_file.is_file() else secrets.token_hex(4)
    id_file.write_text(run_id, encoding="utf-8")
    try:
        return wandb.init(
            project=project, name=folder.name, id=run_id, resume="allow", dir=str(folder), config=config.to_dict()
        )
    except (wandb.Error, OSError) as error:
        raise FigureError(
            f"W&B did not start for project {project!r}: {error}; WANDB_MODE=offline needs no account"
        ) from None
