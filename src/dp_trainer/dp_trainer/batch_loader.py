"""Batches gathered ahead of time by threads, so that the processor or GPU that trains does not wait for data."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from dp_policy.policy import Batch

from dp_trainer.device import pin_batch
from dp_trainer.sliced_draws import Slice

#: Steps gathered ahead per thread.
AHEAD = 2


@dataclass(frozen=True)
class Piece:
    """One micro-batch.

    Attributes:
        batch: its windows.
        part: which rows of the step's batch they are.
    """

    batch: Batch
    part: Slice


class BatchLoader:
    """Gathers the micro-batches of coming steps in threads, in order; used as a context manager by one thread.

    A batch depends only on the number of its step, whatever the number of threads.

    Args:
        windows: gives the window numbers (B,) of a step; called in the order of the steps, by the using thread.
        gather: gives the batch of some windows; called by several threads at once.
        parts: rows of the batch that this process takes, one entry for each micro-batch.
        steps: first step and one past the last.
        threads: of the gathering.
        pinned: leave the batches in page-locked memory, for a GPU.

    Attributes:
        waiting_s: time that :meth:`take` has waited for a batch, s.
    """

    def __init__(
        self,
        windows: Callable[[int], np.ndarray],
        gather: Callable[[np.ndarray], Batch],
        parts: Sequence[Slice],
        steps: tuple[int, int],
        threads: int = 1,
        pinned: bool = False,
    ) -> None:
        self.waiting_s = 0.0
        self._windows, self._gather, self._parts, self._pinned = windows, gather, parts, pinned
        self._next, self._end = steps
        self._pending: deque[Future[list[Piece]]] = deque()
        self._depth = AHEAD * threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="batch")

    def __enter__(self) -> BatchLoader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def take(self) -> list[Piece]:
        """Micro-batches of the next step; raises what gathering them raised.

        Raises:
            IndexError: all steps have been taken.
        """
        self._refill()
        begin = time.perf_counter()
        pieces = self._pending.popleft().result()
        self.waiting_s += time.perf_counter() - begin
        self._refill()
        return pieces

    def _refill(self) -> None:
        while len(self._pending) < self._depth and self._next < self._end:
            self._pending.append(self._threads.submit(self._pieces, self._windows(self._next)))
            self._next += 1

    def _pieces(self, windows: np.ndarray) -> list[Piece]:
        pieces = []
        for part in self._parts:
            batch = self._gather(windows[part.start : part.start + part.rows])
            pieces.append(Piece(pin_batch(batch) if self._pinned else batch, part))
        return pieces
