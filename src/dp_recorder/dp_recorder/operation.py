"""Carries out what the operator flow decides: opens, closes and labels episodes, and keeps the place in the plan."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dp_recorder import flow_events
from dp_recorder import operator_flow as flow
from dp_recorder.episode import (
    DISCARD,
    UNLABELLED,
    EpisodeError,
    EpisodeRequest,
    find_episode,
    read_episode_file,
    set_outcome,
)
from dp_recorder.episode_session import EpisodeSession
from dp_recorder.episode_wish import Answer, EpisodeWish
from dp_recorder.episode_writer import ClosedEpisode
from dp_recorder.flow_events import Action, Effect
from dp_recorder.operator_flow import FlowSettings, FlowState, Phase
from dp_recorder.plan_file import PlanProgress


class Log(Protocol):
    """Where the recorder says what it does."""

    def info(self, text: str) -> object:
        """Say what happened."""

    def warning(self, text: str) -> object:
        """Say what is wrong."""


@dataclass
class _LastEpisode:
    """The last closed episode: its id and item of the plan (None outside)."""

    episode_id: str
    item: int | None


@dataclass
class Operation:
    """See the module. One thread calls all methods.

    Attributes:
        session: Opens and closes the episodes.
        directory: Folder of the episodes.
        describe: Makes the request of an episode from the wish for it and the plan's entry.
        blocked: Says what keeps any episode from starting and will not pass by waiting (full disk); None: nothing.
        now_ns: ROS time, ns.
        changed: Called when the state has changed and should be shown.
        log: Says what happens.
        patience_s: How long a start waits for streams, s of wall time.
        settings: How the flow goes.
        progress: Place in the plan; None without a plan.
        state: Of the flow.
        text: What the operator should read: why something did not happen.
        failure: Why the last episode did not end by request; empty otherwise.
        closed: The last closed episode.
        outcome: Its label now; empty before the first.
        folder: Where it lies now.
        recorded: Episodes kept since the recorder began.
    """

    session: EpisodeSession
    directory: Path
    describe: Callable[[EpisodeWish, PlanProgress | None], EpisodeRequest]
    blocked: Callable[[], str | None]
    now_ns: Callable[[], int]
    changed: Callable[[], None]
    log: Log
    patience_s: float
    settings: FlowSettings = field(default_factory=FlowSettings)
    progress: PlanProgress | None = None
    state: FlowState = field(default_factory=FlowState)
    text: str = ""
    failure: str = ""
    closed: ClosedEpisode | None = None
    outcome: str = ""
    folder: Path | None = None
    recorded: int = 0
    _wish: EpisodeWish = field(default_factory=EpisodeWish)
    _item: int | None = None
    _last: _LastEpisode | None = None
    _starting: Answer = field(default_factory=Answer)
    _closing: Answer = field(default_factory=Answer)
    _waits_until_s: float = 0.0
    _note: str = ""
    _depth: int = 0

    def command(self, name: str, note: str = "") -> Answer:
        """The operator asks for something."""
        answer = Answer()
        self._take(flow_events.Command(name), answer, note)
        return answer

    def start(self, wish: EpisodeWish) -> Answer:
        """A program asks for an episode: no count-down, no plan unless the wish leaves the task open."""
        answer = Answer()
        self._take(flow_events.ServiceStart(), answer, wish=wish)
        return answer

    def stop(self, outcome: str, note: str) -> Answer:
        """A program closes the open episode."""
        answer = Answer()
        self._take(flow_events.ServiceStop(outcome), answer, note)
        return answer

    def fail(self, reason: str) -> None:
        """The open episode cannot go on."""
        if self.state.phase is Phase.RECORDING:
            self.failure = reason
            self._take(flow_events.Failed(reason))

    def tick(self) -> None:
        """Time has passed."""
        if self.state.phase is Phase.CHECKING:
            self._look_at_gate()
        else:
            self._take(flow_events.Tick())

    @property
    def restless(self) -> bool:
        """Something will happen by itself, so that ticks are needed."""
        phase = self.state.phase
        return (
            phase in (Phase.CHECKING, Phase.COUNTDOWN)
            or (phase is Phase.RESET and self.state.left_ns is None)
            or (phase is Phase.RECORDING and self.settings.max_duration_s > 0.0)
        )

    def take_closed(self, *, wait: bool = False) -> None:
        """An episode has been closed: label, plan, answer.

        Args:
            wait: Wait for an episode that is being closed.
        """
        closed = self.session.take_closed(wait=wait)
        if closed is None:
            return
        self.closed, self.outcome, self.folder = closed, closed.outcome, closed.folder
        self.recorded += closed.outcome != DISCARD
        self._last = _LastEpisode(closed.episode_id, self._item)
        if self.progress is not None and self._item is not None:
            self.progress.closed(closed.episode_id, self._item, closed.outcome)
        text = f"{closed.episode_id}: {closed.outcome}, {closed.verdict.level}"
        if closed.verdict.reasons:
            self.log.warning(f"{text}: {'; '.join(closed.verdict.reasons)}")
        else:
            self.log.info(text)
        answer, self._closing = self._closing, Answer()
        more = self.progress is None or not self.progress.finished
        self._take(flow_events.Closed(kept=closed.outcome != DISCARD, more=more))
        answer.give(True, text, closed)

    def close(self, note: str) -> None:
        """Close the open episode, unlabelled, and wait for it; for the end of the recorder."""
        self.settings = FlowSettings()  # nothing begins by itself any more
        if self.session.episode is not None:
            self.session.close_soon(UNLABELLED, note)  # does nothing while one is being closed
            self.take_closed(wait=True)

    def _take(
        self, event: flow_events.Event, answer: Answer | None = None, note: str = "", wish: EpisodeWish | None = None
    ) -> None:
        """Step the flow, do what it says, and show the outcome once."""
        shown = self.state, self.text
        self._depth += 1
        try:
            self._step(event, answer, note, wish)
        finally:
            self._depth -= 1
        if self._depth == 0 and shown != (self.state, self.text):
            self.changed()

    def _step(self, event: flow_events.Event, answer: Answer | None, note: str, wish: EpisodeWish | None) -> None:
        before = self.state
        result = flow.step(before, event, self.now_ns(), self.settings)
        self.state = result.state
        if not result.accepted and answer is not None:
            answer.give(False, result.text)
            if isinstance(event, flow_events.Command):
                self.text = result.text
            return
        if any(effect.action is Action.CHECK for effect in result.effects):
            self._begin_start(answer or Answer(), wish or EpisodeWish(note=note), counted=result.state.counted)
        if result.state.phase is Phase.CLOSING and before.phase is Phase.RECORDING:
            self._closing = answer or Answer()
            self._note = "; ".join(text for text in (note, result.text) if text)
        if before.phase is not result.state.phase or result.text:
            self.text = result.text
        if before.phase in (Phase.CHECKING, Phase.COUNTDOWN) and result.state.phase is Phase.IDLE:
            self._starting.give(False, result.text)
        texts = [text for effect in result.effects if (text := self._do(effect, note))]
        if texts:
            self.text = "; ".join(texts)
        if answer is not None and not self._waits(answer):
            answer.give(True, self.text)

    def _waits(self, answer: Answer) -> bool:
        return answer.done or answer is self._starting or answer is self._closing

    def _begin_start(self, answer: Answer, wish: EpisodeWish, counted: bool) -> None:
        if not counted:  # after the count-down it is still the same wish
            self._starting, self._wish = answer, wish
        self._waits_until_s = time.monotonic() + self.patience_s

    def _do(self, effect: Effect, note: str) -> str:
        """Carry out one effect; returns what to tell the operator."""
        match effect.action:
            case Action.CHECK:
                self._look_at_gate()
            case Action.BEGIN:
                self._begin()
            case Action.CLOSE:
                self.session.close_soon(str(effect.value), self._note)
            case Action.LABEL:
                return self._label(str(effect.value), note)
            case Action.MOVE:
                return "there is no plan" if self.progress is None else self.progress.move(int(effect.value))
            case Action.REPEAT:
                if self.progress is not None and self._last is not None and self._last.item is not None:
                    self.progress.repeat(self._last.item)
        return ""

    def _look_at_gate(self) -> None:
        """Pass, refuse, or come back at the next tick while there is patience."""
        planned = self.progress is not None and not self._wish.task
        if planned and self.progress is not None and self.progress.finished:
            self._refuse(f"{self.progress.text}; previous takes an item again, redo the last one")
            return
        if problem := self.blocked():
            self._refuse(problem)
            return
        problems = self.session.gate()
        if not problems:
            self._take(flow_events.GatePassed())
            if self.state.phase is Phase.COUNTDOWN:
                self._starting.give(True, self.text)
        elif time.monotonic() >= self._waits_until_s:
            self._refuse("; ".join(problems))
        elif self.text != (text := f"waiting for {'; '.join(problems)}"):
            self.text = text

    def _refuse(self, reason: str) -> None:
        self.log.warning(f"no episode started: {reason}")
        self._take(flow_events.GateRefused(reason))

    def _begin(self) -> None:
        planned = self.progress if not self._wish.task else None
        try:
            episode = self.session.begin(self.describe(self._wish, planned))
        except (OSError, ValueError, LookupError) as error:
            self.log.warning(f"no episode started: {error}")
            self._take(flow_events.BeginFailed(f"the episode could not be created: {error}"))
            return
        self._item = planned.item if planned is not None else None
        self.failure = ""
        self.log.info(f"recording {episode.episode_id}")
        self._take(flow_events.Begun())
        self._starting.give(True, f"recording {episode.episode_id}")

    def _label(self, outcome: str, note: str) -> str:
        """Give the last episode another outcome, or put it aside."""
        if self._last is None:
            return "there is no episode to label"
        try:
            folder = set_outcome(find_episode(self.directory, self._last.episode_id), outcome, note)
        except (EpisodeError, OSError) as error:
            self.log.warning(f"not labelled: {error}")
            return f"not labelled: {error}"
        self.relabelled(folder, outcome)
        text = f"{folder.name} is {'put aside' if outcome == DISCARD else f'now a {outcome}'}"
        self.log.info(text)
        return text

    def relabelled(self, folder: Path, outcome: str) -> None:
        """An episode, the last or an older one, was given another outcome and lies in ``folder`` now."""
        if self._last is not None and folder.name == self._last.episode_id:
            self.recorded += (self.outcome == DISCARD) - (outcome == DISCARD)
            self.outcome, self.folder = outcome, folder
        if self.progress is None:
            return
        item = self.progress.plan.item_of(read_episode_file(folder))
        if item is not None:
            self.progress.relabelled(folder.name, item, outcome)
