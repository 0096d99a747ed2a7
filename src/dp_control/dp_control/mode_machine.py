"""The present mode, the request that waits, and changes along the table of :mod:`dp_control.modes`."""

from __future__ import annotations

from dataclasses import dataclass

from dp_control.modes import Mode, Trigger, find, request_problem, resume_problem
from dp_control.signals import ControlInputs

# A request waits this long for its condition; resuming may take the robot's own error recovery along.
TIMEOUT_NS = {Trigger.REQUEST: 2_000_000_000, Trigger.RESUME: 10_000_000_000}


@dataclass(frozen=True)
class Pending:
    """A request that waits for its condition."""

    mode: Mode
    trigger: Trigger
    since_ns: int

    def expired(self, t_ns: int) -> bool:
        """True when it has waited for too long, or the clock was set back."""
        return not 0 <= t_ns - self.since_ns <= TIMEOUT_NS[self.trigger]


class ModeMachine:
    """Holds the mode. Pure.

    Attributes:
        mode: present mode; STOPPED at first.
        pending: request that waits, or None.
        reason: why control itself left the mode before, for a person; empty when a person asked.
        entered_ns: when the present mode began.
        intervention: a person has taken over from the policy.
    """

    def __init__(self) -> None:
        self.mode = Mode.STOPPED
        self.pending: Pending | None = None
        self.reason = ""
        self.entered_ns = 0
        self.intervention = False

    @property
    def stopping(self) -> bool:
        """True while a stop that was asked for is under way."""
        return self.pending is not None and self.pending.mode == Mode.STOPPED

    def ask(self, inputs: ControlInputs, t_ns: int) -> tuple[str, bool]:
        """Take the request of a cycle, a mode before a resume.

        Returns:
            Why it is refused, or empty; and whether its mode is the present one already.
        """
        if inputs.mode is not None:
            wanted, trigger, problem = inputs.mode, Trigger.REQUEST, request_problem(self.mode, inputs.mode)
        elif inputs.resume:
            wanted, trigger, problem = int(Mode.HOLD), Trigger.RESUME, resume_problem(self.mode)
        else:
            return "", False
        if problem is None and self.stopping and wanted != Mode.STOPPED:
            # Whoever asked for a stop gets it, whatever anybody else asks meanwhile.
            problem = f"mode {Mode(wanted).name} refused: the arm is being stopped"
        if problem is not None:
            return problem, False
        if self.pending is None and wanted == self.mode:
            return "", True
        self.pending = Pending(Mode(wanted), trigger, t_ns)
        return "", False

    def enter(self, mode: Mode, trigger: Trigger, t_ns: int, reason: str = "") -> None:
        """Change the mode along a row of the table. A stop that waits survives what control does by itself.

        Raises:
            RuntimeError: the table has no such row.
        """
        if find(self.mode, trigger, mode) is None:
            raise RuntimeError(f"no transition from {self.mode.name} to {mode.name} by {trigger.value}")
        self.pending = self.pending if self.stopping and mode != Mode.STOPPED else None
        self.mode, self.reason, self.entered_ns = mode, reason, t_ns
        self.intervention = trigger is Trigger.TAKEOVER
