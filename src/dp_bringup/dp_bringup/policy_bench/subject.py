"""A process in which one policy runs one way: prepared, timed in rounds, asked for chunks and for its memory."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dp_benchmark.policies import PUBLISHED, load_policy
from dp_benchmark.processes import interrupts_ignored

from dp_bringup.errors import CommandError, is_expected
from dp_bringup.policy_bench.ways import Array, ChunkTime, EngineWay, PublishedWay, Way, observations

#: Observations that the rounds go through, and chunks that are compared.
OBSERVATIONS = 8
_PATIENCE_S = 900.0
_GRACE_S = 5.0


@dataclass(frozen=True)
class Subject:
    """What runs, and how.

    Attributes:
        checkpoint: folder.
        runtime: one of :data:`dp_benchmark.policies.RUNTIMES`.
        threads: of the processor.
    """

    checkpoint: Path
    runtime: str
    threads: int


class SubjectProcess:
    """The parent's end of a subject. Use as a context manager: leaving it ends the process.

    Raises:
        CommandError: the process could not do what it was asked for; with its reason.
    """

    def __init__(self, subject: Subject) -> None:
        context = multiprocessing.get_context("spawn")
        self._name = f"{subject.runtime} of {subject.checkpoint.name} on {subject.threads} threads"
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(subject, theirs), daemon=True)
        with _threads_of_libraries(subject.threads), interrupts_ignored():
            self._process.start()
        theirs.close()

    def __enter__(self) -> SubjectProcess:
        return self

    def __exit__(self, *reason: object) -> None:
        self._connection.close()
        self._process.join(_GRACE_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ask(self, what: str, *arguments: Any) -> Any:
        """The answer of :class:`Runner`'s method of this name."""
        with contextlib.suppress(BrokenPipeError):  # it has died: the answer says so
            self._connection.send((what, arguments))
        try:
            if not self._connection.poll(_PATIENCE_S):
                raise CommandError(f"{self._name}: no answer within {_PATIENCE_S:.0f} s")
            kind, content = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self._process.join(_GRACE_S)
            raise CommandError(
                f"{self._name}: its process died (exit status {self._process.exitcode}); is there memory for it?"
            ) from None
        if kind == "failed":
            raise CommandError(f"{self._name}: {content}")
        return content


@contextlib.contextmanager
def _threads_of_libraries(count: int) -> Iterator[None]:
    """Processes started inside give OpenMP, and what follows it, so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Runner:
    """The subject itself, in its own process."""

    _way: Way

    def __init__(self, subject: Subject) -> None:
        self._before_mib = _memory_mib("VmRSS")
        torch.set_num_threads(subject.threads)
        self._subject = subject
        self._next = itertools.cycle(range(OBSERVATIONS))

    def prepare(self, sampling: dict[str, Any]) -> str:
        """Build the policy that draws its chunks in this way; returns what runs, and why.

        Args:
            sampling: of :meth:`PolicyConfig.with_sampling`.
        """
        loaded, subject = load_policy(self._subject.checkpoint, sampling), self._subject
        self._observations = observations(loaded, OBSERVATIONS)
        self._normaliser = loaded.policy.normaliser.action
        if subject.runtime == PUBLISHED:
            self._way = PublishedWay(loaded)
        else:
            self._way = EngineWay(loaded, subject.threads, subject.runtime)
        return self._way.description

    def time(self, seconds: float, least: int) -> list[ChunkTime]:
        """Draw chunks for so long, and at least so many."""
        times: list[ChunkTime] = []
        end = time.perf_counter() + seconds
        while len(times) < least or time.perf_counter() < end:
            times.append(self._way.timed(self._observations[next(self._next)]))
        return times

    def chunks(self) -> Array:
        """(N, chunk, A) normalised: a chunk for each observation, with the noise of the observation's number."""
        drawn = [self._way.chunk(observation, seed) for seed, observation in enumerate(self._observations)]
        return np.asarray(self._normaliser.normalise(torch.from_numpy(np.stack(drawn))).numpy())

    def memory(self) -> dict[str, float]:
        """Resident memory now, at most since the start (choosing a runtime included), and before any policy, MiB."""
        return {
            "resident_mib": _memory_mib("VmRSS"),
            "peak_mib": _memory_mib("VmHWM"),
            "imports_mib": self._before_mib,
        }


def _memory_mib(name: str) -> float:
    """A figure of /proc/self/status; it belongs to this process alone, as getrusage's does not."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve(subject: Subject, connection: Connection) -> None:
    """Life of a subject's process. Ctrl-C reaches the parent, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runner = Runner(subject)
        while True:
            what, arguments = connection.recv()
            connection.send(("done", getattr(runner, what)(*arguments)))
    except (EOFError, BrokenPipeError):  # the parent has what it wanted, or is gone
        return
    except Exception as error:
        if not is_expected(error):
            traceback.print_exc()
        connection.send(("failed", str(error) if is_expected(error) else f"{type(error).__name__}: {error}"))
