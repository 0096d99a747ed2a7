"""Checkpoint folders: ``model.safetensors`` (weights and normaliser) and ``checkpoint.json``. No pickle.

The JSON carries format, version, policy configuration, contract of the cell, provenance and the policy id. A
folder is written beside its place and renamed into it, so that it is whole or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from dp_core.configuration import ConfigurationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dp_policy.config import PolicyConfig
from dp_policy.policy import Policy, build_policy

FORMAT = "diffusion-policy-ros2"
#: 2: method, past actions, state vectors. Version 1 is read: its missing keys have the values they stood for.
VERSION = 2
MODEL_FILE = "model.safetensors"
INFO_FILE = "checkpoint.json"


class CheckpointError(RuntimeError):
    """A checkpoint folder is missing, damaged, foreign or of another version."""


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy ready to run, and what came with it.

    Attributes:
        policy: in evaluation mode, float32, on the processor.
        config: resolved policy configuration.
        contract: the cell's contract as a plain mapping.
        policy_id: 16 hex digits, hash of weights, configuration and contract.
        provenance: git revision, steps, seed, store and the like.
        path: the folder.
    """

    policy: Policy
    config: PolicyConfig
    contract: dict[str, Any]
    policy_id: str
    provenance: dict[str, Any]
    path: Path


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty sibling folder that takes the place of ``target`` when the block ends without error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.new")
    retired = target.with_name(f".{target.name}.{os.getpid()}.old")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        if target.exists():
            target.rename(retired)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def policy_hash(weights: Mapping[str, Tensor], config: PolicyConfig, contract: Mapping[str, Any]) -> str:
    """16 hex digits that change with any weight, configuration or contract value."""
    digest = hashlib.sha256(json.dumps([config.to_dict(), contract], sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().contiguous().float().numpy().tobytes())
    return digest.hexdigest()[:16]


def write_checkpoint_files(
    folder: Path,
    weights: Mapping[str, Tensor],
    config: PolicyConfig,
    contract: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> str:
    """Write both files into an existing folder; returns the policy id."""
    tensors = {name: value.detach().float().contiguous() for name, value in weights.items()}
    policy_id = policy_hash(tensors, config, contract)
    save_file(tensors, folder / MODEL_FILE)
    info = {
        "format": FORMAT,
        "version": VERSION,
        "policy_id": policy_id,
        "config": config.to_dict(),
        "contract": dict(contract),
        "provenance": dict(provenance),
    }
    (folder / INFO_FILE).write_text(json.dumps(info, indent=2), encoding="utf-8")
    return policy_id


def save_checkpoint(
    folder: str | Path, policy: Policy, contract: Mapping[str, Any], provenance: Mapping[str, Any] | None = None
) -> str:
    """Write a checkpoint folder atomically (an existing one is replaced); returns the policy id."""
    with atomic_folder(Path(folder)) as draft:
        return write_checkpoint_files(draft, policy.state_dict(), policy.config, contract, provenance or {})


def read_checkpoint_info(folder: str | Path) -> dict[str, Any]:
    """The JSON of a checkpoint folder, checked.

    Raises:
        CheckpointError: the folder or a file is missing, or the format or version is not ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"no checkpoint folder {folder}")
    for name in (INFO_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} is not a checkpoint: {name} is missing")
    try:
        info = json.loads((folder / INFO_FILE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder / INFO_FILE} is damaged: {error}") from None
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        found = info.get("format") if isinstance(info, dict) else type(info).__name__
        raise CheckpointError(f"{folder} is not a checkpoint of this project: format {found!r}, expected {FORMAT!r}")
    version = info.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise CheckpointError(
            f"{folder} has checkpoint version {version!r}; this software reads versions up to {VERSION}: update it"
        )
    return info


def load_checkpoint(folder: str | Path) -> LoadedPolicy:
    """Load a policy for running.

    Raises:
        CheckpointError: the folder is missing, damaged, foreign, newer, or its weights do not fit its configuration.
    """
    folder = Path(folder)
    info = read_checkpoint_info(folder)
    try:
        config = PolicyConfig.from_dict(info["config"])
        policy = build_policy(config)
        policy.load_state_dict(load_file(folder / MODEL_FILE))
    except (KeyError, ConfigurationError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder} cannot be loaded: {error}") from None
    policy.set_precision(torch.float32).eval().requires_grad_(False)
    return LoadedPolicy(
        policy, config, info.get("contract", {}), info["policy_id"], info.get("provenance", {}), folder.resolve()
    )


__all__ = [
    "CheckpointError",
    "LoadedPolicy",
    "atomic_folder",
    "load_checkpoint",
    "policy_hash",
    "read_checkpoint_info",
    "save_checkpoint",
    "write_checkpoint_files",
]
