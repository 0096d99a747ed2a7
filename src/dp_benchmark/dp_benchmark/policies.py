"""Which checkpoint to run, whether it fits Push-T, and how its chunks are to be drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from dp_core.configuration import require_choice
from dp_policy.checkpoint import INFO_FILE, CheckpointError, LoadedPolicy, load_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy
from dp_policy.reference import reference_policy
from dp_policy.runtime.artefact import stored_runtime
from dp_policy.runtime.processor import processor_name
from dp_policy.runtime.selection import RUNTIMES as ENGINE_RUNTIMES
from dp_policy.runtime.selection import Stored, select_runtime
from dp_trainer.run_folder import checkpoint_folders

from dp_benchmark.errors import UnsuitablePolicyError
from dp_benchmark.pusht_environment import ACTION_DIM, CAMERA, VECTOR_SIZES

#: Run as published, see :mod:`dp_policy.reference`.
PUBLISHED = "published"
#: Ways to run a policy's networks: as published, and those of the engine (``reference``: its plain path).
RUNTIMES = (PUBLISHED, *ENGINE_RUNTIMES)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder meant by ``path``: itself (where a link leads), or the newest one of a training run.

    Raises:
        CheckpointError: there is none.
    """
    if (path / INFO_FILE).is_file():
        return path.resolve() if path.is_symlink() else path
    found = checkpoint_folders(path) if path.is_dir() else []
    if not found:
        raise CheckpointError(f"no checkpoint at {path}: neither {INFO_FILE} nor checkpoints/step_* is there")
    return found[-1]


def last_checkpoints(run: Path, count: int) -> list[Path]:
    """The newest checkpoints of a training run, oldest first.

    Raises:
        CheckpointError: the run does not have so many.
    """
    if count < 1:
        raise CheckpointError(f"the last {count} checkpoints are asked for; at least 1")
    found = checkpoint_folders(run) if run.is_dir() else []
    if not found:
        raise CheckpointError(f"{run} is not a training run: no folder checkpoints/step_* is there")
    if count > len(found):
        raise CheckpointError(f"{run} has {len(found)} checkpoints, not {count}: training.kept_checkpoints keeps more")
    return found[-count:]


def load_policy(checkpoint: Path, sampling: Mapping[str, Any] | None = None) -> LoadedPolicy:
    """Load a checkpoint, with other values in the section of its method.

    Args:
        checkpoint: folder of the checkpoint.
        sampling: for example ``{"sampler": "ddim", "inference_steps": 4}``.

    Raises:
        CheckpointError: the checkpoint is missing or damaged.
        ConfigurationError: the method has no such key or the value is not valid.
    """
    loaded = load_checkpoint(checkpoint)
    if not sampling:
        return loaded
    config = loaded.config.with_sampling(**sampling)
    policy = build_policy(config)
    policy.load_state_dict(loaded.policy.state_dict())
    policy.set_precision(torch.float32).eval().requires_grad_(False)  # memory layout as load_checkpoint leaves it
    return dataclasses.replace(loaded, policy=policy, config=config)


def choose_runtime(loaded: LoadedPolicy, runtime: str) -> Stored | None:
    """What the engine takes for ``runtime`` on this processor, for :func:`run_by`; None where nothing is chosen.

    Of an export it is the stored choice where that fits, as in the engine.

    Raises:
        ConfigurationError: an unknown runtime.
        CheckpointError: the folder is a damaged export.
    """
    require_choice("runtime", runtime, RUNTIMES)
    if runtime in (PUBLISHED, "reference"):
        return None
    stored = stored_runtime(loaded)
    choice = select_runtime(loaded.policy, runtime, stored).choice
    return Stored(choice, processor_name(), torch.get_num_threads(), None if stored is None else stored.library)


def describe_runtime(runtime: str, chosen: Stored | None) -> str:
    """What was asked for, and what it came to."""
    if chosen is None:
        return runtime
    return f"{runtime}: denoiser {chosen.choice.denoiser}, encoder {chosen.choice.encoder}"


def run_by(loaded: LoadedPolicy, runtime: str, chosen: Stored | None) -> LoadedPolicy:
    """The same policy, its networks run in another way.

    Args:
        loaded: on the processor, float32.
        runtime: one of ``RUNTIMES``.
        chosen: of :func:`choose_runtime`, so that every process takes the same.
    """
    if runtime == PUBLISHED:
        return reference_policy(loaded)
    if chosen is None:
        return loaded
    # Asked for int8 it would measure again where the choice has no 8-bit weights; those of the choice auto admits.
    return dataclasses.replace(loaded, policy=select_runtime(loaded.policy, "auto", chosen).policy)


def check_suits_pusht(config: PolicyConfig, name: str) -> None:
    """Raise unless Push-T has everything that the policy observes, and its actions are Push-T's.

    Raises:
        UnsuitablePolicyError: naming what the policy needs and what Push-T has.
    """
    wanted = config.observation
    has = f"Push-T has camera {CAMERA}, vectors {', '.join(VECTOR_SIZES)} and {ACTION_DIM} numbers per action"
    foreign = [camera for camera in wanted.cameras if camera != CAMERA]
    if foreign:
        raise UnsuitablePolicyError(f"{name} is not for Push-T: it needs camera {', '.join(foreign)}; {has}")
    unknown = [vector for vector in wanted.state if vector not in VECTOR_SIZES]
    if unknown:
        raise UnsuitablePolicyError(f"{name} is not for Push-T: it needs vector {', '.join(unknown)}; {has}")
    size = sum(VECTOR_SIZES[vector] for vector in wanted.state)
    if wanted.proprioception_dim != size:
        raise UnsuitablePolicyError(
            f"{name} is not for Push-T: it needs {wanted.proprioception_dim} numbers of proprioception, its "
            f"observation.state {list(wanted.state)} gives {size}; {has}"
        )
    if config.action.dim != ACTION_DIM:
        raise UnsuitablePolicyError(f"{name} is not for Push-T: its actions have {config.action.dim} numbers; {has}")


def evaluations_per_chunk(loaded: LoadedPolicy) -> int:
    """Network evaluations per chunk (NFE)."""
    return int(loaded.policy.head.evaluations)  # type: ignore[union-attr, arg-type]


def parameter_count(loaded: LoadedPolicy) -> int:
    """Weights of the policy, the normaliser's figures left out."""
    return sum(weight.numel() for weight in loaded.policy.parameters())
