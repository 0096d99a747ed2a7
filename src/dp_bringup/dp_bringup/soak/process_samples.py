"""What each process of a run holds and uses, sampled from /proc once a second."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

PROC = Path("/proc")
PERIOD_S = 1.0
_KIB_PER_MIB = 1024.0
_TICKS_PER_S = float(os.sysconf("SC_CLK_TCK"))


@dataclass(frozen=True)
class ProcessSample:
    """One process at one time.

    Attributes:
        t_s: since sampling began.
        process: name of the node; its own children are `<name>/<command>`.
        pid: process id.
        rss_mib: resident memory, all of it (anonymous, files, shared memory).
        anonymous_mib: the part of it that no file or shared memory backs.
        pss_mib: resident memory with shared pages divided among those who share them; None when not asked for.
        threads: number of threads.
        files: number of open files and sockets.
        cpu_s: processor time used since the process began.
    """

    t_s: float
    process: str
    pid: int
    rss_mib: float
    anonymous_mib: float
    pss_mib: float | None
    threads: int
    files: int
    cpu_s: float


def sample_process(pid: int, name: str, t_s: float, with_pss: bool = False) -> ProcessSample | None:
    """Look at one process; None when it has ended.

    Args:
        pid: process id.
        name: for the sample.
        t_s: for the sample.
        with_pss: walk the page tables too, which takes milliseconds during which the process cannot map memory.
    """
    folder = PROC / str(pid)
    try:
        status = _fields(folder / "status")
        pss = _fields(folder / "smaps_rollup")["Pss"] if with_pss else None
        # The name of the command is in brackets and may hold anything; utime and stime are the 12th and 13th after it.
        after = (folder / "stat").read_text().rpartition(")")[2].split()
        return ProcessSample(
            t_s=t_s,
            process=name,
            pid=pid,
            rss_mib=status["VmRSS"] / _KIB_PER_MIB,
            anonymous_mib=status["RssAnon"] / _KIB_PER_MIB,
            pss_mib=None if pss is None else pss / _KIB_PER_MIB,
            threads=status["Threads"],
            files=len(os.listdir(folder / "fd")),
            cpu_s=(int(after[11]) + int(after[12])) / _TICKS_PER_S,
        )
    except (OSError, KeyError, IndexError):
        return None  # ended meanwhile, or is a zombie without memory


def _fields(path: Path) -> dict[str, int]:
    """The lines `Name:  number ...` of a file of /proc."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(":")
        first = rest.split()[:1]
        if first and first[0].isdigit():
            found[name] = int(first[0])
    return found


def session_members(leaders: dict[int, str]) -> dict[int, str]:
    """Processes of the sessions that some processes lead: the children that a node has started itself.

    Args:
        leaders: name by process id.

    Returns:
        Name by process id, leaders included; those of others are `<name of the leader>/<command>`.
    """
    found = dict(leaders)
    for folder in PROC.iterdir():
        if not folder.name.isdigit() or int(folder.name) in leaders:
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        command = text.partition("(")[2].rpartition(")")[0]
        leader = leaders.get(int(text.rpartition(")")[2].split()[3]))
        if leader is not None:
            found[int(folder.name)] = f"{leader}/{command}"
    return found


class ProcessSampler:
    """Samples processes in a thread of its own while it is entered; PSS of one of them at a time.

    Args:
        leaders: process id by name.
        log: receives each sample as a line of JSON as it is taken, so that a killed run leaves them.
        period_s: between samples.

    Attributes:
        samples: what has been seen so far.
    """

    def __init__(self, leaders: dict[str, int], log: Path, period_s: float = PERIOD_S) -> None:
        self._leaders = {pid: name for name, pid in leaders.items()}
        self._log, self._period_s = log, period_s
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="samples", daemon=True)
        self.samples: list[ProcessSample] = []

    def __enter__(self) -> ProcessSampler:
        self._thread.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        begun = time.monotonic()
        number = 0
        with self._log.open("w", encoding="utf-8") as log:
            while not self._closed.wait(max(0.0, begun + number * self._period_s - time.monotonic())):
                members = session_members(self._leaders)
                chosen = sorted(members)[number % len(members)]
                for sample in self._take(members, time.monotonic() - begun, chosen):
                    self.samples.append(sample)
                    log.write(json.dumps(asdict(sample)) + "\n")
                log.flush()
                number += 1

    def _take(self, members: dict[int, str], t_s: float, with_pss: int) -> Iterable[ProcessSample]:
        for pid, name in members.items():
            sample = sample_process(pid, name, t_s, with_pss=pid == with_pss)
            if sample is not None:
                yield sample
