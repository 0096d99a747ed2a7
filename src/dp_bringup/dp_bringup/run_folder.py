"""Run folders: `runs/<time>/`, with a `latest` link beside them; one process works on a run at a time."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
from collections.abc import Iterator
from pathlib import Path

from dp_bringup.errors import CommandError


def new_run_folder(parent: Path) -> Path:
    """Create `parent/<YYYYmmdd-HHMMSS>` (with a suffix when taken) and point `parent/latest` at it."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 100))):
        folder = parent / f"{stamp}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        link = parent / "latest"
        if link.is_symlink() or not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(folder.name)
        return folder
    raise FileExistsError(f"{parent}/{stamp}: too many runs in one second")


@contextlib.contextmanager
def only_worker(folder: Path) -> Iterator[None]:
    """Hold a run folder for this process; the kernel lets go of it however the process ends.

    Raises:
        CommandError: another process works on the run.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"{folder}: another process is working on this run; wait for it or stop it") from None
        yield
