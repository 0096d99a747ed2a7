"""Going on with a run: what it was, and whether it is still the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_policy.checkpoint import CheckpointError, read_checkpoint_info
from dp_policy.config import PolicyConfig
from dp_policy.config_error import PolicyConfigError
from dp_policy.training_config import RESUMABLE_KEYS

from dp_trainer.run_folder import RunFolderError, checkpoint_folders
from dp_trainer.windows import TrainingData


@dataclass(frozen=True)
class StoredRun:
    """What the newest checkpoint of a run says about it.

    Attributes:
        config: resolved policy configuration.
        seed: of the run.
        episodes: of its store.
        step: steps done.
        checkpoint: the folder.
    """

    config: PolicyConfig
    seed: int
    episodes: int
    step: int
    checkpoint: Path


def read_stored_run(folder: str | Path) -> StoredRun:
    """Read what the newest checkpoint of a run says about it.

    Raises:
        CheckpointError: there is none, or it is damaged or of another version.
    """
    folders = checkpoint_folders(Path(folder))
    if not folders:
        raise CheckpointError(f"nothing to resume in {folder}: no folder checkpoints/step_*")
    info = read_checkpoint_info(folders[-1])
    try:
        made = info["provenance"]
        config = PolicyConfig.from_dict(info["config"])
        return StoredRun(config, int(made["seed"]), int(made["episodes"]), int(made["steps"]), folders[-1])
    except (KeyError, TypeError, PolicyConfigError) as error:
        raise CheckpointError(f"{folders[-1]} cannot be resumed: {error}") from None


def check_same_run(stored: StoredRun, config: PolicyConfig, data: TrainingData, seed: int) -> None:
    """Refuse to go on with other settings than a run began with.

    Args:
        stored: the run.
        config: resolved configuration to go on with; it may differ in ``RESUMABLE_KEYS`` of ``training``.
        data: the store to go on with.
        seed: to go on with.

    Raises:
        RunFolderError: naming what differs and both values.
    """
    before, now = _flat(stored.config.to_dict()), _flat(config.to_dict())
    allowed = {f"training.{key}" for key in RESUMABLE_KEYS}
    changes = [
        f"{key} = {before.get(key, 'absent')!r}, not {now.get(key, 'absent')!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in allowed
    ]
    if seed != stored.seed:
        changes.append(f"seed {stored.seed}, not {seed}")
    if len(data.episode_ends) != stored.episodes:
        changes.append(f"a store of {stored.episodes} episodes, not {len(data.episode_ends)}")
    if changes:
        raise RunFolderError(
            f"{stored.checkpoint.parent.parent} was trained with {'; '.join(changes[:5])}: "
            f"resume it with the same, or start anew in another folder"
        )


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value})
    return flat
