"""A child process that is told what to do line by line, and answers each line by one line of JSON."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from dp_bringup.errors import CommandError
from dp_bringup.processes import last_words

_PATIENCE_S = 60.0
_GRACE_S = 5.0


class LineProcess:
    """Use as a context manager: leaving it ends the process, whose input ends with this one's life anyhow.

    Raises:
        CommandError: The process has died or does not answer; with the end of its log.
    """

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._name = module.rpartition(".")[2]
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # Ctrl-C reaches the parent only
            )

    def __enter__(self) -> LineProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ready(self) -> None:
        """Wait for the line that a process says when it is ready."""
        self._answer()

    def ask(self, command: str) -> dict[str, Any]:
        """Send a line; returns the answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: the answer says so
            self._process.stdin.write(f"{command}\n")
            self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        readable, _, _ = select.select([stream], [], [], _PATIENCE_S)
        line = stream.readline() if readable else ""
        if not line:
            raise CommandError(f"{self._name} gave no answer: {last_words(self._log)} (log: {self._log})")
        answer: dict[str, Any] = json.loads(line)
        return answer
