"""Progress on the terminal: a bar with time left, and few lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

QUIET_INTERVAL_S = 15.0


def bar(total: int, what: str, unit: str, initial: int = 0, shown: bool = True) -> Any:
    """A tqdm bar with time left; in a log file one line every few seconds, nothing at all unless ``shown``."""
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        initial=initial,
        mininterval=0.2 if sys.stderr.isatty() else QUIET_INTERVAL_S,
        dynamic_ncols=True,
        file=sys.stderr,
        disable=not shown,
    )


def duration_text(seconds: float) -> str:
    """`40 s`, `3 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Stage:
    """One stage of a run, what it does in words, and its expected wall time."""

    name: str
    what: str
    expected_s: float


class StagePlan:
    """Prints which stage runs and how long the whole still takes.

    What the stages so far took, against what was expected of them, scales the forecast of the others.
    """

    def __init__(self, stages: Sequence[Stage], done: Iterable[str] = ()) -> None:
        self._stages = stages
        self._done = set(done)
        self._stage_started = time.monotonic()
        self.walls: dict[str, float] = {}

    def announce(self) -> None:
        """Print the whole plan."""
        print(f"plan, about {duration_text(self._left())} in all:")
        for number, stage in enumerate(self._stages, 1):
            state = "done" if stage.name in self._done else f"about {duration_text(stage.expected_s)}"
            print(f"  {number}. {stage.what} ({state})")

    def begin(self, name: str) -> None:
        """Print the stage and the time left."""
        number = next(i for i, stage in enumerate(self._stages, 1) if stage.name == name)
        stage = self._stages[number - 1]
        self._stage_started = time.monotonic()
        left = duration_text(self._left())
        print(f"\n[{number}/{len(self._stages)}] {stage.what}; about {left} left in all", flush=True)

    def end(self, name: str) -> float:
        """Note that a stage is done; returns its wall time in s."""
        wall = time.monotonic() - self._stage_started
        self.walls[name] = wall
        self._done.add(name)
        return wall

    def _left(self) -> float:
        expected = sum(stage.expected_s for stage in self._stages if stage.name in self.walls)
        pace = sum(self.walls.values()) / expected if expected else 1.0
        return pace * sum(stage.expected_s for stage in self._stages if stage.name not in self._done)
