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

from dp_recorder.disk_sync import DiskSync

#: Offsets, lengths and addresses of direct writes are multiples of this; no common disk needs more.
ALIGNMENT = 4096
_BLOCK_BYTES = 2**20
_MOST_BLOCKS = 32
_Piece = bytes | bytearray | memoryview
_REFUSED = (errno.EINVAL, errno.EOPNOTSUPP)


class _Task(NamedTuple):
    """``length`` bytes of a block to append, then perhaps to ask for a sync."""

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
        self._current: _Task | None = None
        self._closing = False
        self._error: OSError | None = None
        self._written = 0
        self._sync = DiskSync(self._file, path.name)
        self._thread = threading.Thread(target=self._run, name=f"disk {path.name}", daemon=True)
        self._thread.start()

    @property
    def position(self) -> int:
        """Bytes appended so far; where the next one goes."""
        return self._position

    @property
    def written(self) -> int:
        """Bytes that the system has taken so far and, as far as it knows, can keep."""
        # After a sync that failed: what the page cache had taken found no room on the disk.
        return self._written if self._sync.error is None else self._sync.synced

    @property
    def alignment(self) -> int:
        """What ``position`` must be a multiple of when ``submit`` is called."""
        return ALIGNMENT if self._direct else 1

    @property
    def sync_delay_s(self) -> float:
        """How long data waits for the disk once asked for, s: by the last such wait, or the present one if longer."""
        with self._changed:
            asked_s = next((task.asked_s for task in (self._current, *self._tasks) if task and task.sync), None)
        waiting_s = time.monotonic() - asked_s if asked_s is not None else 0.0
        return max(self._sync.delay_s, waiting_s)

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
            self._changed.wait_for(lambda: not self._tasks and self._current is None)
        self._sync.wait()
        with self._changed:
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
            self._changed.wait_for(lambda: not self._tasks and self._current is None)
            self._error = None
        self._sync.stop()
        self._sync = DiskSync(self._file, "again")
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
        self._sync.stop()
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
            self._tasks.append(_Task(self._block or memoryview(b""), self._fill, sync, time.monotonic()))
            self._block, self._fill = None, 0
            self._changed.notify_all()

    def _check(self) -> None:
        error = self._error or self._sync.error
        if error is not None:
            raise OSError(error.errno, os.strerror(error.errno or 0))

    def _run(self) -> None:
        """The disk's thread. After a failure it goes on taking blocks, without writing them."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._tasks) or self._closing)
                if not self._tasks:
                    return
                self._current = task = self._tasks.popleft()
            error = self._error
            if error is None:
                try:
                    self._do(task)
                except OSError as failed:
                    error = failed
            with self._changed:
                self._error = error or self._sync.error
                self._current = None
                if len(task.block):
                    self._free.append(task.block)
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
            self._sync.ask(self._written, task.asked_s)


def _set_direct(file: int, direct: bool) -> bool:
    """Whether the file system agreed."""
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)
    except OSError:
        return False
    return True
