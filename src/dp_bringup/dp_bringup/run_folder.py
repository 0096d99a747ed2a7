"""Run folders: `runs/<time>/`, with a `latest` link beside them."""

from __future__ import annotations

import datetime
from pathlib import Path


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
