"""Replacing a small file so that a reader, or a crash, sees the old content or the new, never half."""

import os
from pathlib import Path


def write_text_atomically(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step, on the disk when this returns."""
    stage_text(path, text).replace(path)
    sync_folder(path.parent)


def stage_text(path: Path, text: str) -> Path:
    """Put what shall replace ``path`` on the disk beside it; returns the hidden file to rename."""
    temporary = _beside(path)
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


class RoomForText:
    """Room on the disk for replacing a small file later, even if the disk is full by then.

    The blocks are taken now and overwritten in place then, so that no new ones are needed (but where the file system
    never overwrites, as btrfs). What a killed process leaves goes with the next replacement of the file.
    """

    def __init__(self, path: Path, octets: int) -> None:
        """Take the room.

        Args:
            path: The file that shall be replaced.
            octets: Most bytes that will be needed.

        Raises:
            OSError: If there is no such room.
        """
        self._path = path
        stage_text(path, " " * octets)

    def replace(self, text: str) -> None:
        """Replace the file in one step, on the disk when this returns. The room is for one time; then it is as any.

        Raises:
            OSError: If the disk refuses; the file is then as it was.
        """
        temporary = _beside(self._path)
        if not temporary.exists():
            write_text_atomically(self._path, text)
            return
        with temporary.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        sync_folder(self._path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: a file is only as safe from a power cut as its name."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
