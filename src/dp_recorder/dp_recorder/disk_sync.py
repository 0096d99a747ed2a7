"""Waits for the disk on a thread of its own, so that a slow sync does not keep data from the operating system."""

import os
import threading
import time


class DiskSync:
    """Syncs a file when asked. Questions that come while it waits are answered together by the next sync.

    Thread contract: all methods may be called from any thread.
    """

    def __init__(self, file: int, name: str) -> None:
        """Start.

        Args:
            file: Handle; stays the caller's.
            name: Of the file, for the thread.
        """
        self._file = file
        self._changed = threading.Condition()
        self._asked: tuple[float, int] | None = None
        self._running_since_s: float | None = None
        self._last_s = 0.0
        self._synced = 0
        self._error: OSError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sync {name}", daemon=True)
        self._thread.start()

    @property
    def delay_s(self) -> float:
        """How long the last sync took from the question on, or the present one so far if that is longer, s."""
        with self._changed:
            since_s = self._running_since_s or (self._asked[0] if self._asked else None)
            return max(self._last_s, time.monotonic() - since_s) if since_s is not None else self._last_s

    @property
    def synced(self) -> int:
        """Bytes known to be on the disk."""
        return self._synced

    @property
    def error(self) -> OSError | None:
        """Why a sync failed; no other is tried after that."""
        return self._error

    def ask(self, written: int, since_s: float) -> None:
        """Ask for a sync; returns at once.

        Args:
            written: Bytes of the file that have been written.
            since_s: Since when it is wanted, monotonic clock, s.
        """
        with self._changed:
            self._asked = self._asked[0] if self._asked else since_s, written
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until everything asked for was done, or has failed."""
        with self._changed:
            self._changed.wait_for(
                lambda: (self._asked is None and self._running_since_s is None) or self._error is not None
            )

    def stop(self) -> None:
        """End the thread; a sync that was asked for and has not begun is left out."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._asked is not None or self._closing)
                if self._asked is None or self._closing:
                    return
                (asked_s, written), self._asked = self._asked, None
                self._running_since_s = asked_s
            error = self._try_sync()
            with self._changed:
                self._running_since_s = None
                self._last_s = time.monotonic() - asked_s
                self._error = error
                if error is None:
                    self._synced = written
                self._changed.notify_all()
            if error is not None:
                return

    def _try_sync(self) -> OSError | None:
        try:
            os.fdatasync(self._file)
        except OSError as error:
            return error
        # What is on the disk need not stay in memory; of direct writes nothing is there.
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)
        return None
