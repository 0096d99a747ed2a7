"""What is compared: a condition is a task, a method and a latency; an outcome is one episode of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from dp_bringup.errors import CommandError

#: Methods in the order of tables and figures, with what they are called there.
METHODS = {
    "none": "no compensation",
    "wait": "stop and wait",
    "splice": "drop-late splice (real-stanford, UMI)",
    "weighted": "weighted merge (LeRobot)",
    "ensemble": "temporal ensemble (ACT, on SE(3))",
    "guided": "ours, guided inpainting",
    "ours": "ours",
}
DEFAULT_METHODS = "none,wait,splice,weighted,ours"
DEFAULT_ADDED_MS = "0,100,200,300,400"


@dataclass(frozen=True)
class Condition:
    """One cell of the table.

    Attributes:
        task: of the simulated cell.
        method: of :data:`METHODS`.
        added_ms: latency on top of the base of each inference.
        jitter_ms: half width of the uniform jitter of each inference; 0: none.
    """

    task: str
    method: str
    added_ms: int
    jitter_ms: int = 0

    @property
    def name(self) -> str:
        """Name of its file of outcomes."""
        return f"{self.task}-{self.method}-{self.added_ms}ms" + (f"-jitter{self.jitter_ms}" if self.jitter_ms else "")


@dataclass(frozen=True)
class Outcome:
    """One episode.

    Attributes:
        seed: of scene, sampler noise and jitter.
        success: all conditions of the task held.
        reason: why not, or empty.
        duration_s: simulated, from the start of the policy.
        chunks: plans that arrived.
        late: their actions that were too late to be executed.
        hold_s: time without plan after the first one had come.
        seams_m: jump of the reference at each splice of two plans.
        seams_rad: the same of its rotation.
        commanded_jerk: mean square of the third difference of the commanded TCP position at the control rate, m2/s6.
        measured_jerk: the same of the measured position.
        chunk_ages_s: observation to arrival of each plan.
    """

    seed: int
    success: bool
    reason: str
    duration_s: float
    chunks: int
    late: int
    hold_s: float
    seams_m: tuple[float, ...]
    seams_rad: tuple[float, ...]
    commanded_jerk: float
    measured_jerk: float
    chunk_ages_s: tuple[float, ...] = ()

    def row(self) -> dict[str, Any]:
        """Plain data for a line of JSON."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Outcome:
        """The opposite of :meth:`row`; further keys are left out. Raises `ValueError` where one is missing."""
        try:
            values: dict[str, Any] = {field.name: row[field.name] for field in fields(cls)}
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an outcome: {error} is missing") from None
        for key in ("seams_m", "seams_rad", "chunk_ages_s"):
            values[key] = tuple(values[key])
        return cls(**values)


def make_conditions(
    tasks: Iterable[str], methods: Iterable[str], added_ms: Iterable[int], jittered_ms: Iterable[int], jitter_ms: int
) -> list[Condition]:
    """The whole table: each task and method at each added latency, and at some with jitter as well.

    Raises:
        CommandError: a method that there is not, an empty list or a negative latency.
    """
    tasks, methods, added_ms, jittered_ms = list(tasks), list(methods), list(added_ms), list(jittered_ms)
    unknown = [method for method in methods if method not in METHODS]
    if unknown or not methods:
        raise CommandError(f"--methods {','.join(unknown) or 'is empty'}: no such method; valid: {', '.join(METHODS)}")
    if not tasks or not (added_ms or jittered_ms):
        raise CommandError("nothing to do: name a task with --checkpoint TASK=FOLDER and latencies with --added")
    if min([*added_ms, *jittered_ms, jitter_ms]) < 0:
        raise CommandError("latencies and jitter must not be negative")
    latencies = [(added, 0) for added in added_ms] + [(added, jitter_ms) for added in jittered_ms if jitter_ms]
    return [
        Condition(task, method, added, jitter) for task in tasks for method in methods for added, jitter in latencies
    ]
