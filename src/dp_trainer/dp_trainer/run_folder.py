"""What a training run leaves on disk: resolved configuration, figures per step, checkpoints to deploy and resume.

config.yaml             resolved policy configuration
losses.jsonl            one line per step
tensorboard/            the same for TensorBoard, and how fast it went
checkpoints/step_N/     deployable checkpoint plus optimiser state; whole or absent
checkpoints/best_N/     deployable checkpoint among the top k by validation action error
checkpoints/last, best  links to the newest and to the best of them
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from dp_policy.checkpoint import CheckpointError, atomic_folder, read_checkpoint_info, write_checkpoint_files
from dp_policy.config import PolicyConfig
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dp_trainer.figures import FigureWriter

STATE_FILE = "training.safetensors"
STATE_INFO_FILE = "training.json"
#: 2: tensors by the names of the weights. Version 1 numbered them and cannot be resumed.
STATE_VERSION = 2
#: Newest checkpoints that keep their optimiser state.
RESUMABLE_CHECKPOINTS = 2


class RunFolderError(RuntimeError):
    """A folder holds another run, or a checkpoint cannot be written to it."""


class RunFolder:
    """Writer of one run's folder; ``start_step`` above 0 continues the figures of an earlier process.

    Raises:
        RunFolderError: the folder holds a run and ``start_step`` is 0.
        FigureError: W&B is asked for and not there.
    """

    def __init__(self, folder: Path, config: PolicyConfig, start_step: int = 0) -> None:
        check_free(folder, start_step)
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._kept, self._top_k = config.training.kept_checkpoints, config.training.top_k
        self._checkpoints = folder / "checkpoints"
        self._clean_up(start_step)
        draft = folder / ".config.yaml.new"
        draft.write_text(yaml.safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")
        os.replace(draft, folder / "config.yaml")
        self.figures = FigureWriter(folder, config, start_step)

    def _clean_up(self, start_step: int) -> None:
        """Drop what a killed process left: drafts, and the best of steps that will be run again."""
        for draft in [*self._checkpoints.glob(".*.new"), *self._checkpoints.glob(".*.old")]:
            shutil.rmtree(draft, ignore_errors=True)
        for best in best_checkpoints(self.folder):
            if _step_of(best) > start_step:
                _drop(best)
        self._link_best()

    def write_figures(self, step: int, figures: Mapping[str, float], pace: Mapping[str, float] | None = None) -> None:
        """Append one line of figures, see :meth:`FigureWriter.write`."""
        self.figures.write(step, figures, pace)

    def write_checkpoint(
        self,
        step: int,
        weights: Mapping[str, Tensor],
        config: PolicyConfig,
        contract: Mapping[str, Any],
        provenance: Mapping[str, Any],
        state: Mapping[str, Tensor],
    ) -> Path:
        """Write ``checkpoints/step_N`` whole and link ``last`` to it, then drop all but the newest few.

        Raises:
            RunFolderError: it cannot be written (disk full); the older ones are untouched.
        """
        target = self._checkpoints / f"step_{step:07d}"
        with self._explaining(target), atomic_folder(target) as draft:
            save_file({name: _plain(tensor) for name, tensor in state.items()}, draft / STATE_FILE)
            info = {"version": STATE_VERSION, "step": step}
            (draft / STATE_INFO_FILE).write_text(json.dumps(info), encoding="utf-8")
            write_checkpoint_files(draft, _on_processor(weights), config, contract, provenance)
        self._link("last", target)
        folders = checkpoint_folders(self.folder)
        for old in folders[: -self._kept]:
            _drop(old)
        for old in folders[-self._kept : -RESUMABLE_CHECKPOINTS]:
            for name in (STATE_FILE, STATE_INFO_FILE):
                (old / name).unlink(missing_ok=True)
        return target

    def write_best(
        self,
        step: int,
        error: float,
        weights: Mapping[str, Tensor],
        config: PolicyConfig,
        contract: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Path | None:
        """Write ``checkpoints/best_N`` if ``error`` is among the lowest ``training.top_k``, and link ``best``.

        Args:
            step: steps done.
            error: validation action error; also under ``validation.action_error`` in ``provenance``.
            weights: to deploy.
            config: of the policy.
            contract: of the cell.
            provenance: as :meth:`write_checkpoint`.

        Returns:
            the folder, or None if it is not among the best.

        Raises:
            RunFolderError: it cannot be written; the older ones are untouched.
        """
        others = [best for best in best_checkpoints(self.folder) if _step_of(best) != step]
        kept = others[: self._top_k]
        if not math.isfinite(error) or not self._top_k:
            return None
        if len(kept) == self._top_k and error >= error_of(kept[-1]):
            return None
        target = self._checkpoints / f"best_{step:07d}"
        with self._explaining(target), atomic_folder(target) as draft:
            write_checkpoint_files(draft, _on_processor(weights), config, contract, provenance)
        self._link_best()
        for old in best_checkpoints(self.folder)[self._top_k :]:
            _drop(old)
        return target

    @contextlib.contextmanager
    def _explaining(self, target: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            newest = [path.name for path in checkpoint_folders(self.folder)[-1:]]
            kept = f"the older ones are whole, the newest is {newest[0]}" if newest else "there is no older one"
            raise RunFolderError(
                f"{target} could not be written: {error}; {kept}. Free some space and go on with --resume"
            ) from None

    def _link_best(self) -> None:
        best = best_checkpoints(self.folder)
        if best:
            self._link("best", best[0])
        else:
            (self._checkpoints / "best").unlink(missing_ok=True)

    def _link(self, name: str, target: Path) -> None:
        """Point ``checkpoints/name`` at a folder beside it, in one rename; not every file system has links."""
        draft = self._checkpoints / f".{name}.link"
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
            draft.symlink_to(target.name)
            os.replace(draft, self._checkpoints / name)

    def close(self) -> None:
        """Close the files."""
        self.figures.close()


def check_free(folder: Path, start_step: int = 0) -> None:
    """Raise RunFolderError if the folder holds a run that is not to be continued."""
    if not start_step and checkpoint_folders(folder):
        raise RunFolderError(f"{folder} holds a training run: resume it or choose another folder")


def checkpoint_folders(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    return sorted((folder / "checkpoints").glob("step_*"))


def best_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints with the lowest validation action errors of a run, best first."""
    return sorted((folder / "checkpoints").glob("best_*"), key=lambda path: (error_of(path), path.name))


def error_of(checkpoint: Path) -> float:
    """Validation action error of a checkpoint, normalised units; infinite if it was not scored."""
    validation = read_checkpoint_info(checkpoint).get("provenance", {}).get("validation") or {}
    return float(validation.get("action_error", math.inf))


def _drop(checkpoint: Path) -> None:
    """Remove a folder by first renaming it, so that a kill leaves no half of it under its name."""
    retired = checkpoint.with_name(f".{checkpoint.name}.old")
    shutil.rmtree(retired, ignore_errors=True)
    with contextlib.suppress(OSError):
        checkpoint.rename(retired)
        shutil.rmtree(retired, ignore_errors=True)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("_")[2])


def read_training_state(folder: Path) -> tuple[int, dict[str, Tensor], Path]:
    """Step, tensors and place of the newest checkpoint of a run.

    Raises:
        CheckpointError: there is none, it has no training state, or one of another version.
    """
    folders = checkpoint_folders(folder)
    if not folders:
        raise CheckpointError(f"nothing to resume in {folder}: no folder checkpoints/step_*")
    newest = folders[-1]
    read_checkpoint_info(newest)
    for name in (STATE_FILE, STATE_INFO_FILE):
        if not (newest / name).is_file():
            raise CheckpointError(f"{newest} cannot be resumed: {name} is missing")
    try:
        info = json.loads((newest / STATE_INFO_FILE).read_text(encoding="utf-8"))
        version, step = info.get("version", 1), int(info["step"])
        if version != STATE_VERSION:
            raise CheckpointError(
                f"{newest} cannot be resumed: its training state has version {version}, this software resumes "
                f"version {STATE_VERSION}; it can still be deployed"
            )
        return step, load_file(newest / STATE_FILE), newest
    except (ValueError, KeyError, SafetensorError) as error:
        raise CheckpointError(f"{newest} cannot be resumed: its training state is damaged: {error}") from None


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


def _on_processor(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu() for name, weight in weights.items()}
