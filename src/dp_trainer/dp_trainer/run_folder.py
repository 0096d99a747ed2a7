"""What a training run leaves on disk: resolved configuration, figures per step, checkpoints to deploy and resume.

config.yaml             resolved policy configuration
losses.jsonl            one line per step
tensorboard/            the same for TensorBoard
checkpoints/step_N/     deployable checkpoint plus optimiser state; whole or absent
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml
from dp_policy.checkpoint import CheckpointError, atomic_folder, read_checkpoint_info, write_checkpoint_files
from dp_policy.config import PolicyConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

STATE_FILE = "training.safetensors"
STATE_INFO_FILE = "training.json"
KEPT_CHECKPOINTS = 2


class RunFolderError(RuntimeError):
    """A folder holds another run already."""


class RunFolder:
    """Writer of one run's folder; ``start_step`` above 0 continues the figures of an earlier process."""

    def __init__(self, folder: Path, config: PolicyConfig, start_step: int = 0) -> None:
        if not start_step and checkpoint_folders(folder):
            raise RunFolderError(f"{folder} holds a training run: resume it or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")
        self._figures: IO[str] = self._open_figures(start_step)
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step or None)

    def _open_figures(self, start_step: int) -> IO[str]:
        path = self.folder / "losses.jsonl"
        kept: list[str] = []
        if start_step and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] < start_step:
                        kept.append(line + "\n")
                except (ValueError, KeyError):  # a line cut off by a kill
                    continue
        path.write_text("".join(kept), encoding="utf-8")
        return path.open("a", encoding="utf-8")

    def write_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Append one line of figures and send them to TensorBoard."""
        self._figures.write(json.dumps({"step": step, **figures}) + "\n")
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def write_checkpoint(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        config: PolicyConfig,
        contract: Mapping[str, Any],
        provenance: Mapping[str, Any],
        state: Mapping[str, Tensor],
    ) -> Path:
        """Write ``checkpoints/step_N`` whole, then drop all but the newest few."""
        self._figures.flush()
        target = self.folder / "checkpoints" / f"step_{step:07d}"
        with atomic_folder(target) as draft:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, draft / STATE_FILE)
            (draft / STATE_INFO_FILE).write_text(json.dumps({"step": step}), encoding="utf-8")
            write_checkpoint_files(draft, weights, config, contract, provenance)
        for old in checkpoint_folders(self.folder)[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def close(self) -> None:
        """Flush and close the files."""
        self._figures.close()
        self._board.close()


def checkpoint_folders(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*"))


def read_training_state(folder: Path) -> tuple[int, dict[str, Tensor], Path]:
    """Step, tensors and place of the newest checkpoint of a run.

    Raises:
        CheckpointError: there is none, or it has no training state.
    """
    folders = checkpoint_folders(folder)
    if not folders:
        raise CheckpointError(f"nothing to resume in {folder}: no folder checkpoints/step_*")
    newest = folders[-1]
    read_checkpoint_info(newest)
    if not (newest / STATE_FILE).is_file():
        raise CheckpointError(f"{newest} cannot be resumed: {STATE_FILE} is missing")
    step = int(json.loads((newest / STATE_INFO_FILE).read_text(encoding="utf-8"))["step"])
    return step, load_file(newest / STATE_FILE), newest
