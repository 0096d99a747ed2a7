"""Modes of control and the one table of what leads from which to which.

Everything that changes the mode looks its transition up here, and the table of ``README.md`` is :func:`table_rows`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum


class Mode(IntEnum):
    """Values are those of dp_msgs/CommandState."""

    HOLD = 0
    TELEOP = 1
    POLICY = 2
    STOPPED = 3
    FAULT = 4


class Trigger(Enum):
    """What makes the mode change: a person's request, or an event that control sees itself."""

    REQUEST = "request"
    RESUME = "resume"
    TAKEOVER = "takeover"
    INPUT_LOST = "input lost"
    FAULT = "fault"


@dataclass(frozen=True)
class Transition:
    """One row of the table.

    Attributes:
        sources: modes that it leads away from.
        trigger: what causes it.
        target: mode that it leads to.
        condition: what must hold; until then the request waits, two seconds at most (``resume``: ten).
        motion: how the command goes on; never by a jump.
    """

    sources: frozenset[Mode]
    trigger: Trigger
    target: Mode
    condition: str
    motion: str


RUNNING = frozenset({Mode.HOLD, Mode.TELEOP, Mode.POLICY})
ALL = frozenset(Mode)

_IN_ORDER = "robot state in order; a measured pose taken 50 ms after the request or later"
_FROM_MEASURED = "from rest at that pose"
_FROM_COMMAND = "goes on from the command"


def _rows() -> Iterable[Transition]:
    for mode in sorted(RUNNING):
        yield Transition(frozenset({Mode.STOPPED}), Trigger.REQUEST, mode, _IN_ORDER, _FROM_MEASURED)
    for mode in sorted(RUNNING):
        yield Transition(RUNNING, Trigger.REQUEST, mode, "no stop under way", _FROM_COMMAND)
    yield Transition(ALL, Trigger.REQUEST, Mode.STOPPED, "command at rest", "brakes, then nothing is sent")
    halted = frozenset({Mode.STOPPED, Mode.FAULT})
    yield Transition(halted, Trigger.RESUME, Mode.HOLD, f"command at rest; {_IN_ORDER}", _FROM_MEASURED)
    yield Transition(
        frozenset({Mode.POLICY}), Trigger.TAKEOVER, Mode.TELEOP,
        "safety.takeover; a fresh teleop/twist above safety.takeover_linear_m_s or _angular_rad_s", _FROM_COMMAND,
    )  # fmt: skip
    yield Transition(
        frozenset({Mode.TELEOP, Mode.POLICY}), Trigger.INPUT_LOST, Mode.HOLD,
        "the input came once and is gone for safety.input_lost_s", "has braked; stays",
    )  # fmt: skip
    yield Transition(
        RUNNING, Trigger.FAULT, Mode.FAULT, "see the table of faults",
        "brakes (or yields to what blocks the arm), then nothing is sent",
    )  # fmt: skip


TRANSITIONS: tuple[Transition, ...] = tuple(_rows())


def find(present: Mode, trigger: Trigger, target: int) -> Transition | None:
    """The row that leads from ``present`` to ``target`` by ``trigger``, or None."""
    for row in TRANSITIONS:
        if present in row.sources and row.trigger is trigger and row.target == target:
            return row
    return None


def targets(present: Mode, trigger: Trigger) -> tuple[Mode, ...]:
    """Modes that ``trigger`` can lead to from ``present``."""
    return tuple(sorted({row.target for row in TRANSITIONS if present in row.sources and row.trigger is trigger}))


def request_problem(present: Mode, wanted: int) -> str | None:
    """Say why a request for a mode is refused, or None."""
    if find(present, Trigger.REQUEST, wanted) is not None:
        return None
    names = ", ".join(f"{mode.name} ({mode.value})" for mode in targets(present, Trigger.REQUEST))
    hint = "; control/resume goes on" if targets(present, Trigger.RESUME) else ""
    return f"mode {wanted} cannot follow {present.name}; valid: {names}{hint}"


def resume_problem(present: Mode) -> str | None:
    """Say why a request to resume is refused, or None."""
    if targets(present, Trigger.RESUME):
        return None
    return f"resume has nothing to do in {present.name}; it goes on from STOPPED or FAULT"


def table_rows() -> list[str]:
    """The table as lines of Markdown."""
    lines = ["| from | by | to | when | the command |", "|---|---|---|---|---|"]
    for row in TRANSITIONS:
        sources = "any" if row.sources == ALL else ", ".join(mode.name for mode in sorted(row.sources))
        lines.append(f"| {sources} | {row.trigger.value} | {row.target.name} | {row.condition} | {row.motion} |")
    return lines
