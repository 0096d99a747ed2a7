"""Puts a new bag in an old one's place so that at any instant there is one of them, whole.

The new bag is written in a folder of its own inside the old one's, and then takes the old file's name in one step.
The old file stays as ``<name>.mcap.orig``.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from dp_dataset.bag_reader import BagError, BagReader, RawMessage

from dp_recorder.bag_tools.bag_copy import METADATA_FILE, copy_bag
from dp_recorder.bag_tools.bag_folders import ORIGINAL_SUFFIX, WORK_FOLDER, originals_in

#: Room that is left to others, bytes.
_SPARE_BYTES = 16 * 2**20


def require_only_file(bag: BagReader) -> None:
    """Files that belong together share one ``metadata.yaml``, which must not come to speak of one of them only.

    Raises:
        BagError: If other files of a recording lie in the folder.
    """
    count = len(list(bag.folder.glob("*.mcap")))
    if count > 1:
        raise BagError(
            f"{bag.path} is one of {count} MCAP files that share a {METADATA_FILE}; "
            "copy it into a folder of its own first"
        )


def replace_bag(
    bag: BagReader,
    messages: Iterable[RawMessage],
    *,
    custom_data: Mapping[str, str],
    embedded: Mapping[str, Mapping[str, str]],
) -> Path:
    """Write a bag anew with the given messages and put it in its own place; ``finish_replacement`` has to follow.

    Args:
        bag: The old bag.
        messages: Of the new one.
        custom_data: For its ``metadata.yaml``.
        embedded: Metadata records for its file.

    Returns:
        Where the old file lies now.

    Raises:
        BagError: If there is no room for a second bag of that size.
    """
    needed, free = bag.path.stat().st_size, shutil.disk_usage(bag.folder).free
    if free < needed + _SPARE_BYTES:
        raise BagError(
            f"{bag.folder} needs {needed / 2**30:.2f} GiB beside the old bag, {free / 2**30:.2f} GiB are free"
        )
    work = bag.folder / WORK_FOLDER / bag.path.stem.removesuffix("_0")
    try:
        copy_bag(bag, messages, work, custom_data=custom_data, embedded=embedded)
    except BaseException:
        # After Ctrl-C or on a full disk half a bag would only take room.
        shutil.rmtree(bag.folder / WORK_FOLDER, ignore_errors=True)
        raise
    new = work / f"{work.name}_0.mcap"
    original = _keep(bag.path)
    new.replace(bag.folder / new.name)
    if new.name != bag.path.name:
        bag.path.unlink(missing_ok=True)
    (work / METADATA_FILE).replace(bag.folder / METADATA_FILE)
    return original


def _keep(path: Path) -> Path:
    """Give the old file a second name, or another one where there are no hard links; returns it."""
    kept = originals_in(path.parent)
    for original in kept:
        # An interrupted replacement came that far.
        if original.samefile(path):
            return original
    number = "" if not kept else str(len(kept) + 1)
    original = path.with_name(f"{path.name}{ORIGINAL_SUFFIX}{number}")
    try:
        # With two names for the old file there is no instant without a bag.
        os.link(path, original)
    except FileExistsError:
        raise
    except OSError:
        path.rename(original)
    return original


def finish_replacement(folder: Path, unwanted: Path | None) -> None:
    """Clear away what is not needed any more, and wait until the disk knows.

    Args:
        folder: The bag's folder.
        unwanted: The old file, if it is not to be kept.
    """
    shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    if unwanted is not None:
        unwanted.unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def undo_interrupted(folder: Path) -> None:
    """Clear away what an interrupted replacement left; give the old file its name back if nothing else has it."""
    if not folder.is_dir():
        return
    shutil.rmtree(folder / WORK_FOLDER, ignore_errors=True)
    originals = originals_in(folder)
    if originals and not any(folder.glob("*.mcap")):
        name, _, _ = originals[-1].name.rpartition(ORIGINAL_SUFFIX)
        originals[-1].rename(folder / name)
