"""Runs jobs in fresh processes that tell what happens while they work, and that never outlive this one.

The processes are spawned, not forked: a fork would copy torch's threads and locks in an unknown state.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from dp_benchmark.errors import BenchmarkError

Job = TypeVar("Job")
Result = TypeVar("Result")
#: What a job may call to tell the parent something: any plain data.
Tell = Callable[[Any], None]
#: How long a process may take to end by itself: a training writes a checkpoint first.
GRACE_S = 20.0


class WorkerError(BenchmarkError):
    """A job failed for a reason that its own process explained."""


def run_jobs(
    work: Callable[[Job, Tell], Result],
    jobs: Sequence[Job],
    processes: int,
    on_message: Callable[[int, Any], None] | None = None,
) -> list[Result]:
    """Run ``work(job, tell)`` for every job, at most ``processes`` at a time, each process taking job after job.

    Args:
        work: a function of a module, so that a fresh process can import it.
        jobs: picklable.
        processes: at least 1.
        on_message: called in this process with the job's number and what the job told.

    Returns:
        results in the order of the jobs.

    Raises:
        WorkerError: a job raised an exception, or its process died.
        KeyboardInterrupt: as usual; the processes are ended first, as they are on every other exception.
    """
    waiting = list(range(len(jobs)))[::-1]
    results: dict[int, Result] = {}
    workers = [_Worker(work) for _ in range(min(processes, len(jobs)))]
    try:
        for worker in workers:
            worker.begin(waiting.pop(), jobs)
        while len(results) < len(jobs):
            busy = {worker.connection: worker for worker in workers if worker.job is not None}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                number, kind, content = worker.receive()
                if kind == "told" and on_message:
                    on_message(number, content)
                elif kind == "done":
                    results[number] = content
                    worker.job = None
                    if waiting:
                        worker.begin(waiting.pop(), jobs)
        return [results[number] for number in range(len(jobs))]
    finally:
        for worker in workers:  # all of them first: they end at the same time
            worker.ask_to_end(patient=len(results) == len(jobs))
        for worker in workers:
            worker.end()


class _Worker:
    """A process and the job that it works on."""

    def __init__(self, work: Callable[[Any, Tell], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.job: int | None = None
        self.connection, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(work, theirs), daemon=True)
        with interrupts_ignored():
            self._process.start()
        theirs.close()

    def begin(self, number: int, jobs: Sequence[Any]) -> None:
        self.job = number
        with contextlib.suppress(BrokenPipeError):  # it has died: receive() says so
            self.connection.send(jobs[number])

    def receive(self) -> tuple[int, str, Any]:
        """Number of the job, ``told`` or ``done``, and what was said."""
        assert self.job is not None
        try:
            kind, content = self.connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(GRACE_S)
            raise WorkerError(
                f"a worker process died (exit status {self._process.exitcode}); if the machine ran out of memory, "
                "use fewer workers"
            ) from None
        if kind == "failed":
            raise WorkerError(content)
        return self.job, kind, content

    def ask_to_end(self, patient: bool) -> None:
        """Close its connection, which ends a process that waits for a job; unless patient, signal it too."""
        self.connection.close()
        if not patient:
            self._process.terminate()

    def end(self) -> None:
        """Wait for the end, and bring it about if it does not come."""
        self._process.join(GRACE_S)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first instruction on, and so print nothing about it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _serve(work: Callable[[Any, Tell], Any], connection: Connection) -> None:
    """Life of a worker process. Ctrl-C reaches the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        try:
            connection.send(("done", work(job, lambda content: connection.send(("told", content)))))
        except BrokenPipeError:  # the parent is gone
            return
        except Exception as error:
            expected = type(error).__module__.startswith("dp_") or isinstance(error, OSError)
            if not expected or os.environ.get("DP_TRACEBACK"):
                traceback.print_exc()
            connection.send(("failed", str(error) if expected else f"{type(error).__name__}: {error}"))
            return
