"""What a demo will do, and how far it got: the plan and the state that `--resume` continues from."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dp_bringup.episodes import FIRST_EVALUATION_SEED, EpisodeResult
from dp_bringup.errors import CommandError

STATE_FILE = "state.json"
SIZES = ("quick", "default", "full")


@dataclass(frozen=True)
class DemoPlan:
    """Sizes and seeds of a demo.

    Attributes:
        task: name of the task.
        cell: name of the cell's contract.
        policy: name in config/policies.
        size: quick, default or full.
        demonstrations: episodes of the scripted operator.
        steps: optimiser steps.
        episodes: unseen starts on which the policy is scored.
        seed: of everything random.
    """

    task: str
    cell: str
    policy: str
    size: str
    demonstrations: int
    steps: int
    episodes: int
    seed: int

    @property
    def demonstration_seeds(self) -> range:
        """One scene each; disjoint for different `seed` and from all evaluation seeds."""
        first = self.seed * 10_000
        return range(first, first + self.demonstrations)

    @property
    def evaluation_seeds(self) -> range:
        """Starts that no demonstration has."""
        first = FIRST_EVALUATION_SEED + self.seed * 10_000
        return range(first, first + self.episodes)


# task -> size -> (demonstrations, optimiser steps, evaluation episodes)
_SIZES: dict[str, dict[str, tuple[int, int, int]]] = {
    "place": {"quick": (4, 30, 1), "default": (120, 2600, 20), "full": (300, 12000, 50)},
    "reach_around": {"quick": (4, 30, 2), "default": (60, 1500, 20), "full": (200, 6000, 50)},
}


def make_plan(task: str, size: str, cell: str, policy: str, seed: int) -> DemoPlan:
    """The plan of a task at a size.

    Raises:
        CommandError: unknown size; lists the valid ones.
    """
    if size not in SIZES:
        raise CommandError(f"size {size!r} is not valid; valid: {', '.join(SIZES)}")
    demonstrations, steps, episodes = _SIZES.get(task, _SIZES["place"])[size]
    return DemoPlan(task, cell, policy, size, demonstrations, steps, episodes, seed)


@dataclass
class DemoState:
    """How far a demo got; saved after each episode and stage.

    Attributes:
        folder: of the run.
        plan: of the run.
        stages: wall time in s of each stage that is done.
        demonstrations: results so far.
        evaluations: results so far.
        wall_s: time spent so far in all processes that worked on this run.
    """

    folder: Path
    plan: DemoPlan
    stages: dict[str, float] = field(default_factory=dict)
    demonstrations: list[EpisodeResult] = field(default_factory=list)
    evaluations: list[EpisodeResult] = field(default_factory=list)
    wall_s: float = 0.0

    def save(self) -> None:
        """Write `state.json` in one step."""
        data = {
            "plan": asdict(self.plan),
            "stages": self.stages,
            "demonstrations": [result.row() for result in self.demonstrations],
            "evaluations": [result.row() for result in self.evaluations],
            "wall_s": self.wall_s,
        }
        draft = self.folder / f".{STATE_FILE}.part"
        draft.write_text(json.dumps(data, indent=1))
        os.replace(draft, self.folder / STATE_FILE)


def load_state(folder: Path) -> DemoState:
    """Read the state of a run.

    Raises:
        CommandError: the folder holds no demo.
    """
    file = folder / STATE_FILE
    try:
        data = json.loads(file.read_text())
        return DemoState(
            folder.resolve(),
            DemoPlan(**data["plan"]),
            data["stages"],
            [EpisodeResult(**row) for row in data["demonstrations"]],
            [EpisodeResult(**row) for row in data["evaluations"]],
            data["wall_s"],
        )
    except FileNotFoundError:
        raise CommandError(f"{folder} holds no demo to continue: no {STATE_FILE}") from None
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error!r}") from None
