"""Replacing a small file so that a reader, or a crash, sees the old content or the new, never half."""

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step, on the disk when this returns."""
    stage_text(path, text).replace(path)
    sync_folder(path.parent)


def stage_text(path: Path, text: str) -> Path:
    """Put what shall replace ``path`` on the disk beside it; returns the hidden file to rename."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # On a full disk half a file would only take the room of whole ones.
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a file is only as safe from a power cut as its name."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
