"""Modes of control and which may follow which."""

from __future__ import annotations

from enum import IntEnum


class Mode(IntEnum):
    """Values are those of dp_msgs/CommandState."""

    HOLD = 0
    TELEOP = 1
    POLICY = 2
    STOPPED = 3
    FAULT = 4


RUNNING = frozenset({Mode.HOLD, Mode.TELEOP, Mode.POLICY})

# A request that is not here is refused. FAULT is entered by control itself and left only through STOPPED, so that a
# person has seen it; from STOPPED each running mode starts at the measured pose.
REQUESTS: dict[Mode, frozenset[Mode]] = {
    Mode.HOLD: RUNNING | {Mode.STOPPED},
    Mode.TELEOP: RUNNING | {Mode.STOPPED},
    Mode.POLICY: RUNNING | {Mode.STOPPED},
    Mode.STOPPED: RUNNING | {Mode.STOPPED},
    Mode.FAULT: frozenset({Mode.STOPPED}),
}


def request_problem(present: Mode, wanted: int) -> str | None:
    """Say why a request is refused, or None."""
    names = ", ".join(f"{m.name} ({m.value})" for m in sorted(REQUESTS[present]))
    if wanted not in Mode.__members__.values() or wanted not in REQUESTS[present]:
        return f"mode {wanted} cannot follow {present.name}; valid: {names}"
    return None
