"""How much room is left to record into."""

import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StorageSpace:
    """Watches the file system of a folder.

    Attributes:
        directory: Folder that recordings go into; need not exist yet.
        min_free_bytes: Recording stops while less than this is free.
    """

    directory: Path
    min_free_bytes: int

    @property
    def free_bytes(self) -> int:
        """Free on the file system now, bytes; 0 when it does not answer."""
        try:
            return self._measure()
        except OSError:
            return 0

    def problem(self) -> str | None:
        """One sentence if too little is free, else None."""
        try:
            free = self._measure()
        except OSError as error:
            # An unplugged disk: recording must end in order, not with an exception.
            return f"the disk of {self.directory} does not answer: {error}"
        if free >= self.min_free_bytes:
            return None
        return (
            f"only {free / 2**30:.2f} GiB free for {self.directory}, "
            f"at least {self.min_free_bytes / 2**30:.2f} GiB are needed"
        )

    def _measure(self) -> int:
        folder = self.directory.absolute()
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free
