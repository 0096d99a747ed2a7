"""What a robot computer runs: a checkpoint, the runtime chosen for its processor, and the compiled library.

An export is a checkpoint folder with two files more, so that whatever reads checkpoints reads exports. The runtime is
bound to the policy's id; on another processor, or where it no longer agrees with the plain path, it is chosen anew.

The digests of all files go with it. They find what was damaged or exchanged on its way, not a forged export, which
would bring digests of its own.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dp_policy.checkpoint import (
    INFO_FILE,
    MODEL_FILE,
    CheckpointError,
    LoadedPolicy,
    atomic_folder,
    load_checkpoint,
    read_checkpoint_info,
)
from dp_policy.file_digest import file_sha256
from dp_policy.runtime.native.library import CarriedLibrary, find_library
from dp_policy.runtime.processor import processor_flags, processor_name
from dp_policy.runtime.selection import Choice, Stored, select_runtime
from dp_policy.runtime.unavailable import RuntimeUnavailableError

RUNTIME_FILE = "runtime.json"
#: 2: digests of the files. Version 1 is read: its library is never loaded.
VERSION = 2


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes:
        folder: of the export.
        policy_id: of the checkpoint.
        choice: the runtimes.
        description: which and why, as :attr:`dp_policy.engine.Engine.description` will say.
        library: file name of the compiled library; empty if none was carried along.
        verdicts: part, name, ms, difference and reason of every candidate.
    """

    folder: Path
    policy_id: str
    choice: Choice
    description: str
    library: str
    verdicts: tuple[dict[str, Any], ...]


def export_policy(
    loaded: LoadedPolicy, folder: str | Path, num_threads: int = 1, precision: str = "auto"
) -> ExportReport:
    """Choose a runtime on this processor and write the export atomically (an existing one is replaced).

    Args:
        loaded: of :func:`dp_policy.checkpoint.load_checkpoint`; its files are copied as they are.
        folder: of the export; not the checkpoint's own.
        num_threads: that the engine will have.
        precision: ``auto``; ``int8`` where success with 8-bit weights was seen to hold; ``reference``.

    Raises:
        CheckpointError: the checkpoint's files are gone, ``folder`` is the checkpoint's, or it is an export itself that
            is damaged.
        ConfigurationError: an unknown precision.
    """
    folder = Path(folder)
    if folder.resolve() == loaded.path:
        raise CheckpointError(f"{folder} is the checkpoint itself; export it to another folder")
    info = read_checkpoint_info(loaded.path)
    if info["policy_id"] != loaded.policy_id:
        raise CheckpointError(f"{loaded.path} holds policy {info['policy_id']} by now, not {loaded.policy_id}")
    stored_runtime(loaded)  # an export's files are not to be exported again with digests of what they became
    torch.set_num_threads(num_threads)
    selection = select_runtime(loaded.policy, precision)
    verdicts = tuple(dataclasses.asdict(verdict) for verdict in selection.verdicts)
    with atomic_folder(folder) as draft:
        sources = [loaded.path / INFO_FILE, loaded.path / MODEL_FILE, *_own_library()]
        library = sources[2].name if len(sources) > 2 else ""
        for source in sources:
            shutil.copy2(source, draft / source.name)
        numbers = {
            "version": VERSION,
            "policy_id": loaded.policy_id,
            "choice": dataclasses.asdict(selection.choice),
            "num_threads": num_threads,
            "processor": processor_name(),
            "flags": sorted(processor_flags()),
            "torch": torch.__version__,
            "library": library,
            "files": {source.name: file_sha256(source) for source in sources},
            "verdicts": verdicts,
        }
        (draft / RUNTIME_FILE).write_text(json.dumps(numbers, indent=2), encoding="utf-8")
    return ExportReport(folder, loaded.policy_id, selection.choice, selection.description, library, verdicts)


def _own_library() -> list[Path]:
    """The compiled library, for computers without a compiler; empty if there is none here."""
    try:
        return [find_library()]
    except RuntimeUnavailableError:
        return []


def stored_runtime(loaded: LoadedPolicy) -> Stored | None:
    """What the policy's folder says about its runtime; None if it is no export.

    Raises:
        CheckpointError: the file is damaged, newer, or of another policy, or the checkpoint's files are not those that
            were exported. The library is looked at when it is needed, see :func:`find_library`.
    """
    path = loaded.path / RUNTIME_FILE
    if not path.is_file():
        return None
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
        if numbers["version"] > VERSION:
            raise CheckpointError(f"{path} has version {numbers['version']}; this software reads up to {VERSION}")
        has_digests = numbers["version"] > 1
        digests = {name: str(numbers["files"][name]) for name in (INFO_FILE, MODEL_FILE) if has_digests}
        library = _carried_library(loaded.path, numbers["library"], numbers["files"] if has_digests else None)
        stored = Stored(Choice(**numbers["choice"]), numbers["processor"], numbers["num_threads"], library)
        policy_id = numbers["policy_id"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__} {error}") from None
    if policy_id != loaded.policy_id:
        raise CheckpointError(f"{path} is of policy {policy_id}, the checkpoint beside it is {loaded.policy_id}")
    for name, digest in digests.items():
        _require_exported(loaded.path / name, digest)
    return stored


def _carried_library(folder: Path, library: str, digests: dict[str, str] | None) -> CarriedLibrary | None:
    name = Path(library).name  # a file of this folder, whatever the manifest says
    return CarriedLibrary(folder / name, "" if digests is None else str(digests[name])) if name else None


def _require_exported(path: Path, digest: str) -> None:
    """Raises CheckpointError where the file is not the one that was exported."""
    try:
        found = file_sha256(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    if found != digest:
        raise CheckpointError(
            f"{path} is not what was exported: sha256 {found[:12]}, {RUNTIME_FILE} says {digest[:12]}; copy it again"
        )


def load_policy_or_export(folder: str | Path) -> LoadedPolicy:
    """Load a checkpoint or an export, whose runtime the engine will find in the same folder.

    Raises:
        CheckpointError: see :func:`load_checkpoint` and :func:`stored_runtime`.
    """
    loaded = load_checkpoint(folder)
    stored_runtime(loaded)
    return loaded
