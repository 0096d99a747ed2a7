"""All episodes of a comparison: spread over processes, each kept as soon as it is done, continued where it was left."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dp_benchmark.json_files import read_json, write_json
from dp_benchmark.processes import Tell, run_jobs
from dp_core.contract import load_contract
from dp_policy.checkpoint import load_checkpoint
from dp_policy.engine import Engine

from dp_bringup.errors import CommandError
from dp_bringup.latency_benchmark.conditions import Condition, Outcome
from dp_bringup.latency_benchmark.episode import Episode, VirtualLatency
from dp_bringup.latency_benchmark.methods import make_method
from dp_bringup.latency_benchmark.world import LatencyWorld
from dp_bringup.results import code_version

#: Name of the versions of the code in the settings of a folder: information, by which no folder is told from another.
CODE = "code"
#: Of folders that were begun before they kept it.
UNKNOWN_CODE = "a version that was not noted"


@dataclass(frozen=True)
class Settings:
    """What every episode of a folder shares.

    Attributes:
        cell: contract of the cell.
        base_ms: latency of an inference with nothing added.
        runtime: of the engine; ``reference`` gives the same figures wherever they are made.
        checkpoints: task to policy id.
    """

    cell: str
    base_ms: int
    runtime: str
    checkpoints: dict[str, str]


@dataclass(frozen=True)
class Job:
    """One episode to play."""

    condition: Condition
    seed: int
    checkpoint: str
    cell: str
    base_ms: int
    runtime: str = "reference"


@functools.cache
def _world(task: str, cell: str) -> LatencyWorld:
    return LatencyWorld(task, load_contract(cell))


@functools.cache
def _engine(checkpoint: str, runtime: str, continuity: str) -> Engine:
    return Engine(load_checkpoint(checkpoint), runtime=runtime, continuity=continuity)


def play(job: Job) -> Outcome:
    """One episode; cells and engines are kept in this process for the next one."""
    condition = job.condition
    contract = load_contract(job.cell)
    engine = _engine(job.checkpoint, job.runtime, "guided" if condition.method == "guided" else "auto")
    steps = engine.loaded.config.action.steps
    mean_s = 1e-3 * (job.base_ms + condition.added_ms)
    # The inference node keeps the ages that it has measured in the episodes before.
    method = make_method(condition.method, contract, steps, first_age_ns=round(1e9 * mean_s))
    latency = VirtualLatency(mean_s, 1e-3 * condition.jitter_ms, job.seed)
    return Episode(_world(condition.task, job.cell), engine, contract, method, latency).play(job.seed)


def _work(job: Job, tell: Tell) -> None:
    started = time.monotonic()
    outcome = play(job)
    tell({**outcome.row(), "wall_s": round(time.monotonic() - started, 3)})


class Campaign:
    """Outcomes in a folder: one file of JSON lines for each condition.

    Args:
        folder: made where it is missing, continued where it holds outcomes.
        settings: of this call.

    Attributes:
        code: versions of the code that have played the folder's episodes, see :func:`dp_bringup.results.code_version`.

    Raises:
        CommandError: the folder holds outcomes of other settings.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self._settings = folder, settings
        self.outcomes: dict[Condition, dict[int, Outcome]] = {}
        self.walls_s: list[float] = []
        self._settings_file = file = folder / "settings.json"
        if file.is_file():
            known = read_json(file)
            self.code = known.pop(CODE, [UNKNOWN_CODE])
            checkpoints = {**known["checkpoints"], **settings.checkpoints}
            if known | {"checkpoints": checkpoints} != asdict(settings) | {"checkpoints": checkpoints} or any(
                known["checkpoints"].get(task, policy) != policy for task, policy in settings.checkpoints.items()
            ):
                raise CommandError(f"{folder} holds outcomes of {known}, not of {asdict(settings)}: name another --out")
            write_json(file, {**known, "checkpoints": checkpoints, CODE: self.code})
        else:
            self.code = []
            write_json(file, {**asdict(settings), CODE: self.code})

    def load(self, conditions: Sequence[Condition], seeds: Sequence[int]) -> int:
        """Read what there is of these; returns how many episodes."""
        for condition in conditions:
            found = self._read(self._file(condition))
            self.outcomes[condition] = {seed: found[seed] for seed in seeds if seed in found}
        return sum(len(done) for done in self.outcomes.values())

    def run(
        self,
        checkpoints: Mapping[str, Path],
        seeds: Sequence[int],
        processes: int,
        on_episode: Callable[[Condition, Outcome], None],
    ) -> None:
        """Play what is missing of the loaded conditions, seed by seed over all of them."""
        shared = self._settings
        jobs = [
            Job(condition, seed, str(checkpoints[condition.task]), shared.cell, shared.base_ms, shared.runtime)
            for seed in seeds
            for condition, done in self.outcomes.items()
            if seed not in done
        ]

        def keep(number: int, row: dict[str, Any]) -> None:
            condition = jobs[number].condition
            _append_line(self._file(condition), json.dumps(row))
            outcome = Outcome.from_row(row)
            self.outcomes[condition][outcome.seed] = outcome
            self.walls_s.append(row["wall_s"])
            on_episode(condition, outcome)

        (self.folder / "episodes").mkdir(exist_ok=True)
        if jobs:
            self._note_code()
            run_jobs(_work, jobs, processes, keep)

    def _note_code(self) -> None:
        """Add the code that plays from now on to that of the folder; another one may give other outcomes."""
        present = code_version()
        others = [version for version in self.code if version != present]
        if others:
            text = f"{self.folder} holds episodes of {', '.join(others)}, and is continued with {present}"
            print(f"dp: warning: {text}", file=sys.stderr, flush=True)
        if present not in self.code:
            self.code.append(present)
            write_json(self._settings_file, {**read_json(self._settings_file), CODE: self.code})

    def _file(self, condition: Condition) -> Path:
        return self.folder / "episodes" / f"{condition.name}.jsonl"

    @staticmethod
    def _read(file: Path) -> dict[int, Outcome]:
        """Outcomes by seed; a line that was cut off is an episode that was not played."""
        found: dict[int, Outcome] = {}
        for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
            try:
                outcome = Outcome.from_row(json.loads(line))
            except ValueError:
                continue
            found[outcome.seed] = outcome
        return found


def _append_line(file: Path, line: str) -> None:
    """Add a line of its own, also where the last one was cut off by a kill or a full disk."""
    with file.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            line = line if stream.read(1) == b"\n" else f"\n{line}"
        stream.write(f"{line}\n".encode())
