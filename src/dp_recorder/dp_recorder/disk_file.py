"""An append-only file that is written past the page cache, by a thread of its own.

Copying 110 MB/s through the page cache costs a third of a core where memory is virtual, and its write-back stalls
whoever writes next. Here data is copied once, into a block that is used again and again, and goes from there to the
disk (``O_DIRECT``). Where the file system refuses that, blocks are written in the ordinary way and dropped from the
page cache once they are on the disk.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

#: Offsets, lengths and addresses of direct writes are multiples of this; no common disk needs more.
ALIGNMENT = 4096
_BLOCK_BYTES = 2**20
_MOST_BLOCKS = 32
_Piece = bytes | bytearray | memoryview
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


class _Task(NamedTuple):
    """``length`` bytes of a block to append, then perhaps to wait for the disk."""

    block: memoryview
    length: int
    sync: bool
    asked_s: float


class DiskFile:
    """Appends bytes to a new file. Thread contract: one thread appends; ``sync_delay_s`` may be read from any.

    Failures of the disk are raised by the next call of ``append``, ``submit`` or ``wait``; after one, nothing more is
    written until ``rewind``.
    """

    def __init__(self, path: Path, *, direct: bool = True) -> None:
        """Create the file.

        Args:
            path: Must not exist.
            direct: Past the page cache, if the file system allows it.

        Raises:
            FileExistsError: If it exists.
        """
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._direct = direct and _set_direct(self._file, True)
        self._position = 0
        self._free: list[memoryview] = []
        self._blocks = 0
        self._block: memoryview | None = None
        self._fill = 0
        self._tasks: deque[_Task] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._closing = False
        self._error: OSError | None = None
        self._written = 0
        self._synced = 0
        self._last_sync_s = 0.0
        self._syncs: deque[float] = deque()
        self._thread = threading.Thread(target=self._run, name=f"disk {path.name}", daemon=True)
        self._thread.start()

    @property
    def position(self) -> int:
        """Bytes appended so far; where the next one goes."""
        return self._position

    @property
    def written(self) -> int:
        """Bytes that the system has taken so far and, as far as it knows, can keep."""
        return self._written

    @property
    def alignment(self) -> int:
        """What ``position`` must be a multiple of when ``submit`` is called."""
        return ALIGNMENT if self._direct else 1

    @property
    def sync_delay_s(self) -> float:
        """How long data waits for the disk once asked for, s: by the last such wait, or the present one if longer."""
        with self._changed:
            waiting = time.monotonic() - self._syncs[0] if self._syncs else 0.0
            return max(self._last_sync_s, waiting)

    def append(self, piece: _Piece) -> None:
        """Copy bytes to the end of the file; waits only while all blocks are waiting for the disk.

        Raises:
            OSError: The disk has failed.
        """
        done, size = 0, len(piece)
        view = memoryview(piece)
        while done < size:
            if self._block is None:
                self._block = self._take_block()
            count = min(size - done, _BLOCK_BYTES - self._fill)
            self._block[self._fill : self._fill + count] = view[done : done + count]
            self._fill += count
            done += count
            if self._fill == _BLOCK_BYTES:
                self._hand_over(sync=False)
        self._position += size

    def submit(self, sync: bool) -> None:
        """Hand everything appended to the disk, without waiting for it.

        Args:
            sync: Also ask that it be safe from a power cut.

        Raises:
            OSError: The disk has failed.
        """
        if self._fill % self.alignment:
            raise ValueError(f"{self._position} is not a multiple of {self.alignment}")
        self._hand_over(sync)

    def wait(self) -> None:
        """Wait until everything submitted has been done.

        Raises:
            OSError: The disk has failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._tasks and not self._busy)
            self._check()

    def finish(self) -> None:
        """Write the rest, which need not be aligned, wait until all is on the disk and close the file.

        Raises:
            OSError: The disk has failed; the file then stays open, for ``rewind`` or ``abandon``.
        """
        self.wait()
        rest = self._block[: self._fill] if self._block is not None else memoryview(b"")
        if len(rest):
            if self._direct:
                self._direct = not _set_direct(self._file, False)
            self._write(rest)
            self._fill = 0
        os.fsync(self._file)
        self._stop()
        os.close(self._file)

    def rewind(self, position: int) -> None:
        """Give up everything from a position on and append from there, whatever failed before.

        Raises:
            OSError: The file cannot be cut.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._tasks and not self._busy)
            self._error = None
        _set_direct(self._file, False)
        self._direct = False
        self._fill = 0
        os.ftruncate(self._file, position)
        os.lseek(self._file, position, os.SEEK_SET)
        self._position = self._written = position

    def abandon(self) -> None:
        """Close the file as it is; what waits is not written."""
        with self._changed:
            self._tasks.clear()
        self._stop()
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _stop(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._block = None
        self._free.clear()

    def _take_block(self) -> memoryview:
        with self._changed:
            self._check()
            if not self._free and self._blocks < _MOST_BLOCKS:
                self._blocks += 1
                # Memory of mmap is aligned to pages.
                return memoryview(mmap.mmap(-1, _BLOCK_BYTES))
            self._changed.wait_for(lambda: bool(self._free) or self._error is not None)
            self._check()
            return self._free.pop()

    def _hand_over(self, sync: bool) -> None:
        with self._changed:
            self._check()
            if self._block is None and not sync:
                return
            now_s = time.monotonic()
            self._tasks.append(_Task(self._block or memoryview(b""), self._fill, sync, now_s))
            if sync:
                self._syncs.append(now_s)
            self._block, self._fill = None, 0
            self._changed.notify_all()

    def _check(self) -> None:
        if self._error is not None:
            raise OSError(self._error.errno, os.strerror(self._error.errno or 0))

    def _run(self) -> None:
        """The disk's thread. After a failure it goes on taking blocks, without writing them."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._tasks) or self._closing)
                if not self._tasks:
                    return
                task = self._tasks.popleft()
                self._busy = True
            error = self._error
            if error is None:
                try:
                    self._do(task)
                except OSError as failed:
                    error = failed
            with self._changed:
                self._error = error
                self._busy = False
                if len(task.block):
                    self._free.append(task.block)
                if task.sync:
                    self._syncs.popleft()
                    self._last_sync_s = time.monotonic() - task.asked_s
                self._changed.notify_all()

    def _write(self, data: memoryview) -> None:
        """Write at the end; what was taken before a failure counts as written."""
        while len(data):
            count = os.write(self._file, data)
            self._written += count
            data = data[count:]

    def _do(self, task: _Task) -> None:
        begin = self._written
        try:
            self._write(task.block[: task.length])
        except OSError as error:
            if not self._direct or error.errno not in _REFUSED or not _set_direct(self._file, False):
                raise
            # A file system that takes the flag and refuses the write, or the end of what a file may hold.
            self._direct = False
            self._write(task.block[self._written - begin : task.length])
        if task.sync:
            try:
                os.fdatasync(self._file)
            except OSError:
                # What the page cache had taken found no room on the disk.
                self._written = self._synced
                raise
            self._synced = self._written
            if not self._direct:
                os.posix_fadvise(self._file, 0, self._written, os.POSIX_FADV_DONTNEED)


def _set_direct(file: int, direct: bool) -> bool:
    """Whether the file system agreed."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True
