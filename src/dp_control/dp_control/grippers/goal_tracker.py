"""Follows one action goal at a time until the gripper has done what was last asked for. Pure: no clock, no I/O.

At most one goal is in flight. A newer one cancels it and is sent when the server has ended the old one: the gripper
nodes in use run each goal in a thread of its own and would otherwise mix the two. A goal that is refused or fails is
tried again after 0.25, 0.5 and 1 s, then every 5 s for as long as it is wanted, so that a gripper that comes back is
used again without a person's help, and one that does not is not flooded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

# Pauses before the second, third and fourth attempt at one goal; each further one waits as long as the last.
BACK_OFF_S = (0.25, 0.5, 1.0, 5.0)
# Failures of one goal in succession that are reported: the first attempts may fail for passing reasons.
TELL_AFTER = 3
# A server that is there but has not answered a goal for this long will not.
ANSWER_S = 5.0
# A goal still running after this is reported, and left alone: cancelling could let an object fall.
RESULT_S = 10.0
# Longest wait for a cancelled goal: libfranka's stop does not interrupt a blocked move, which ends after minutes.
CANCEL_S = 2.0
# Longest time between two steps that counts; a jump of the clock is not time.
LONGEST_STEP_NS = 200_000_000


class Future(Protocol):
    """What rclpy's futures offer of use here."""

    def done(self) -> bool:
        """Whether the answer is there."""
        ...

    def result(self) -> Any:
        """The answer."""
        ...


class GoalServer(Protocol):
    """The action server of a gripper, as :class:`GoalTracker` sees it. Goals are compared with ``==``."""

    #: What and where, for texts.
    name: str

    def ready(self) -> bool:
        """Whether the server is there."""
        ...

    def send(self, goal: Any) -> Future:
        """Send a goal; the future gives rclpy's client goal handle."""
        ...

    def judge(self, goal: Any, status: int, result: Any) -> str:
        """Why an ended goal did not do what was wanted, or empty."""
        ...


@dataclass
class _Attempt:
    goal: Any
    answer: Future
    begun_s: float
    handle: Any = None
    result: Future | None = None
    cancelled_s: float | None = None


class GoalTracker:
    """See the module. :meth:`want` and the properties from any thread, :meth:`step` from one."""

    def __init__(self, server: GoalServer) -> None:
        self._server = server
        self._wanted: Any = None
        self._serving: Any = None
        self._reached: Any = None
        self._attempt: _Attempt | None = None
        self._failures = 0
        self._due_s = 0.0
        self._now_s = 0.0
        self._t_ns: int | None = None
        self._absent = False
        self._trouble = ""

    def want(self, goal: Any) -> None:
        """Replace what is wanted."""
        self._wanted = goal

    @property
    def busy(self) -> bool:
        """Whether something is wanted that has not been reached."""
        return self._attempt is not None or self._wanted != self._reached

    @property
    def problem(self) -> str:
        """Why the gripper does not do what is wanted, or empty."""
        if self._absent:
            return f"{self._server.name} is not there: is the gripper's node or controller running?"
        return self._trouble

    def step(self, t_ns: int) -> None:
        """Look at the goal in flight; send, cancel or repeat as needed. Never waits. ``t_ns``: ROS time."""
        if self._t_ns is not None:
            self._now_s += 1e-9 * min(max(t_ns - self._t_ns, 0), LONGEST_STEP_NS)
        self._t_ns = t_ns
        wanted = self._wanted
        if wanted != self._serving:
            self._serving, self._failures, self._due_s, self._trouble = wanted, 0, self._now_s, ""
        self._absent = not self._server.ready()
        if self._absent:
            # Whatever was in flight died with the server; what it reached may not hold any more.
            self._attempt = self._reached = None
            return
        if self._attempt is not None:
            self._follow(self._attempt, wanted)
        if self._attempt is None and wanted != self._reached and self._now_s >= self._due_s:
            self._attempt = _Attempt(wanted, self._server.send(wanted), self._now_s)

    def _follow(self, attempt: _Attempt, wanted: Any) -> None:
        if attempt.handle is None:
            if not attempt.answer.done():
                if self._now_s - attempt.begun_s > ANSWER_S:
                    self._fail(attempt, "does not answer")
                return
            attempt.handle = attempt.answer.result()
            if not attempt.handle.accepted:
                self._fail(attempt, "refused")
                return
            attempt.result = attempt.handle.get_result_async()
        assert attempt.result is not None
        if attempt.result.done():
            ended = attempt.result.result()
            self._finish(attempt, self._server.judge(attempt.goal, ended.status, ended.result))
        elif attempt.goal != wanted:
            self._cancel(attempt)
        elif self._now_s - attempt.begun_s > RESULT_S:
            self._trouble = f"{self._server.name} has been at {attempt.goal} for more than {RESULT_S:.0f} s"

    def _cancel(self, attempt: _Attempt) -> None:
        if attempt.cancelled_s is None:
            attempt.cancelled_s = self._now_s
            attempt.handle.cancel_goal_async()
        elif self._now_s - attempt.cancelled_s > CANCEL_S:
            self._attempt = None

    def _finish(self, attempt: _Attempt, why: str) -> None:
        # A cancelled goal that ended well before the cancellation counts, one that it stopped is no failure.
        if why:
            self._fail(attempt, why)
            return
        self._attempt, self._reached = None, attempt.goal
        if attempt.goal == self._serving:
            self._failures, self._trouble = 0, ""

    def _fail(self, attempt: _Attempt, why: str) -> None:
        self._attempt = self._reached = None
        if attempt.goal != self._serving or attempt.cancelled_s is not None:
            return
        self._failures += 1
        self._due_s = self._now_s + BACK_OFF_S[min(self._failures, len(BACK_OFF_S)) - 1]
        if self._failures >= TELL_AFTER:
            self._trouble = f"{self._server.name}: {attempt.goal} {why}, {self._failures} times in succession"
