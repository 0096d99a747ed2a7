"""Child processes of a run: started with one environment, watched, and always ended.

Each child has its own session, so that Ctrl-C reaches only the parent, which then ends the children in order; the
kernel ends them when the parent is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import yaml

from dp_bringup.domain import dds_environment
from dp_bringup.errors import CommandError
from dp_bringup.graph import NodeSpec

PR_SET_PDEATHSIG = 1
ESCALATION = ((signal.SIGINT, 8.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 2.0))  # signal, patience in s
TAIL_LINES = 12
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessDiedError(CommandError):
    """A child ended that should not have; the message carries the end of its log."""


@dataclass
class Child:
    """A running child and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path


class ProcessGroup:
    """Children of one run. Use as a context manager from the main thread: leaving it ends them all.

    Args:
        run_dir: receives logs and parameters.
        isolated: no other graph is heard; False where a real robot's drivers must be.
    """

    def __init__(self, run_dir: Path, isolated: bool = True) -> None:
        self.run_dir = run_dir
        self.log_dir = run_dir / "logs"
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, **dds_environment(self.log_dir, isolated)}
        os.environ.update(self.environment)  # this process's own nodes meet the children
        self.children: list[Child] = []
        self._killed_any = False

    def __enter__(self) -> ProcessGroup:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start_graph(self, nodes: Iterable[NodeSpec]) -> None:
        """Start one process for each node."""
        for node in nodes:
            self.start(node.name, [sys.executable, "-m", node.module, *self._ros_arguments(node)])

    def start(self, name: str, command: Sequence[str], to_terminal: bool = False) -> Child:
        """Start a child; its output goes to `logs/<name>.log`, or to the terminal."""
        log = self.log_dir / f"{name}.log"
        with contextlib.ExitStack() as stack:
            output = None if to_terminal else stack.enter_context(log.open("ab"))
            process = subprocess.Popen(
                list(command),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=None if to_terminal else subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise when a child has ended.

        Raises:
            ProcessDiedError: names the child, its exit status and the end of its log.
        """
        for child in self.children:
            status = child.process.poll()
            if status is not None:
                words = last_words(child.log)
                raise ProcessDiedError(f"{child.name} ended with status {status}: {words} (log: {child.log})")

    def wait(self, child: Child, poll_s: float = 0.1) -> int:
        """Wait for one child to end by itself, while the others must live; returns its status."""
        while child.process.poll() is None:
            time.sleep(poll_s)
        self.children.remove(child)
        return int(child.process.returncode)

    def stop(self) -> None:
        """End all children: SIGINT, then SIGTERM, then SIGKILL, each to those that the one before did not end."""
        for number, patience_s in ESCALATION:
            alive = [child for child in self.children if child.process.poll() is None]
            if not alive:
                break
            self._killed_any |= number == signal.SIGKILL
            for child in alive:
                # A child ends its own workers when it is asked to; when it does not, they are ended with it.
                send = os.kill if number == signal.SIGINT else os.killpg
                with contextlib.suppress(ProcessLookupError):
                    send(child.process.pid, number)
            deadline = time.monotonic() + patience_s
            for child in alive:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.process.wait(max(0.01, deadline - time.monotonic()))
        self.children.clear()
        if self._killed_any:
            clean_shared_memory()

    @property
    def ros_place(self) -> str:
        """The variables by which another terminal joins this graph."""
        names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE")
        return " ".join(f"{name}={self.environment[name]}" for name in names)

    def _ros_arguments(self, node: NodeSpec) -> list[str]:
        """Parameters through a file, which keeps their types and stays in the run's folder."""
        folder = self.run_dir / "nodes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{node.name}.yaml"
        path.write_text(yaml.safe_dump({"/**": {"ros__parameters": node.parameters}}))
        arguments = ["--ros-args", "-r", f"__node:={node.name}", "--params-file", str(path)]
        for source, target in node.remappings:
            arguments += ["-r", f"{source}:={target}"]
        return arguments


def _end_with_parent() -> None:
    """In the child before exec: take SIGTERM when the parent dies, and accept SIGINT whatever the parent does."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def last_words(log: Path, lines: int = TAIL_LINES) -> str:
    """Why a process ended, from its log: its own line `error: ...` when it wrote one, else the last lines."""
    text = log.read_text(errors="replace").strip() if log.is_file() else ""
    for line in reversed(text.splitlines()):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return "\n".join(text.splitlines()[-lines:]) or "no output"


def clean_shared_memory() -> None:
    """Remove shared-memory segments that killed processes left; segments in use are kept."""
    tool = shutil.which("fastdds", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if tool is not None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([tool, "shm", "clean"], capture_output=True, timeout=20, check=False)
