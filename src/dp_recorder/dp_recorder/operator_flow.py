"""What happens between one episode and the next: count-down, recording, closing, and the pause to reset the scene.

A pure state machine: :func:`step` takes a state, an event and the time, and gives the new state and what has to be done
about it (:class:`Effect`). It knows neither ROS nor the disk, so every way through it can be tried in a test::

    IDLE --start--> CHECKING --> COUNTDOWN --> CHECKING --> RECORDING --success, failure, stop, discard, redo--> CLOSING
     ^                 | refused                                                                                    |
     +-----------------+------------------------------ RESET (pause to place the objects) <-------------------------+

Episodes that a service starts skip the count-down and the pause.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from dp_recorder.episode import DISCARD, FAILURE, SUCCESS, UNLABELLED
from dp_recorder.flow_events import (
    Action,
    BeginFailed,
    Begun,
    Closed,
    Command,
    Effect,
    Event,
    Failed,
    GatePassed,
    GateRefused,
    ServiceStart,
    ServiceStop,
    Tick,
)

NANOSECONDS = 1_000_000_000
#: Commands of OperatorRequest, in the order of its documentation.
COMMANDS = ("start", "success", "failure", "stop", "discard", "redo", "pause", "go_on", "next", "previous")
_OUTCOMES = {"success": SUCCESS, "failure": FAILURE, "stop": UNLABELLED, "discard": DISCARD, "redo": DISCARD}


class Phase(Enum):
    """Where the flow is. CHECKING waits for the gate: all required streams there, at rate and in time."""

    IDLE = "idle"
    CHECKING = "checking the streams"
    COUNTDOWN = "counting down"
    RECORDING = "recording"
    CLOSING = "closing the episode"
    RESET = "pausing for the reset"


@dataclass(frozen=True)
class FlowSettings:
    """How the flow goes.

    Attributes:
        countdown_s: Count-down before an episode that the operator starts, s; 0: none.
        reset_pause_s: Pause after it, s; 0: none.
        auto_start: The next episode begins by itself when the pause is over.
        max_duration_s: An episode is closed, unlabelled, after this time, s; 0: no limit.
    """

    countdown_s: float = 0.0
    reset_pause_s: float = 0.0
    auto_start: bool = False
    max_duration_s: float = 0.0


@dataclass(frozen=True)
class FlowState:
    """State of the flow.

    Attributes:
        phase: Where it is.
        ends_ns: When the count-down or the pause ends, ns; None elsewhere and while the pause is held.
        left_ns: What is left of a pause that is held, ns; None unless held.
        by_operator: The coming or open episode was asked for by the operator, not by a service.
        counted: The count-down of the coming episode is over.
        redo: The episode being closed is to be taken again.
        started_ns: When the open episode began, ns.
        has_last: There is a closed episode of this session that can be labelled or put aside.
    """

    phase: Phase = Phase.IDLE
    ends_ns: int | None = None
    left_ns: int | None = None
    by_operator: bool = False
    counted: bool = False
    redo: bool = False
    started_ns: int = 0
    has_last: bool = False


@dataclass(frozen=True)
class Step:
    """Result of an event.

    Attributes:
        state: New state.
        effects: What has to be done now, in order.
        accepted: False for a command that is not valid now.
        text: What happened, or why not and what is valid, for the operator; may be empty.
    """

    state: FlowState
    effects: tuple[Effect, ...] = ()
    accepted: bool = True
    text: str = ""


def valid_commands(state: FlowState) -> tuple[str, ...]:
    """The commands that mean something now, in the order of ``COMMANDS``."""
    valid: set[str] = set()
    if state.phase is Phase.RECORDING:
        valid |= {"success", "failure", "stop", "discard", "redo"}
    if state.phase in (Phase.CHECKING, Phase.COUNTDOWN):
        valid |= {"stop", "discard"}
    if state.phase in (Phase.IDLE, Phase.RESET):
        valid |= {"start", "next", "previous"}
        if state.has_last:
            valid |= {"success", "failure", "discard", "redo"}
    if state.phase is Phase.RESET:
        valid |= {"stop", "pause" if state.left_ns is None else "go_on"}
    return tuple(name for name in COMMANDS if name in valid)


def seconds_left(state: FlowState, t_ns: int) -> float:
    """What is left of the count-down or the pause, s; 0 elsewhere."""
    left_ns = state.left_ns if state.left_ns is not None else (state.ends_ns or t_ns) - t_ns
    return max(0.0, left_ns / NANOSECONDS)


def step(state: FlowState, event: Event, t_ns: int, settings: FlowSettings) -> Step:
    """Take one event.

    Args:
        state: Present state.
        event: What happened.
        t_ns: Present ROS time, ns.
        settings: How the flow goes.
    """
    match event:
        case Command(name):
            return _command(state, name, t_ns, settings)
        case ServiceStart():
            return _service_start(state)
        case ServiceStop(outcome):
            if state.phase is not Phase.RECORDING:
                return Step(state, accepted=False, text="no episode is being recorded")
            return _close(replace(state, by_operator=False), outcome)
        case Failed(reason):
            if state.phase is not Phase.RECORDING:
                return Step(state)
            return _close(replace(state, by_operator=False), UNLABELLED, reason)
        case Closed(kept, more):
            return _closed(state, kept, more, t_ns, settings)
        case Tick():
            return _tick(state, t_ns, settings)
        case _:
            return _starting(state, event, t_ns, settings)


def _starting(state: FlowState, event: Event, t_ns: int, settings: FlowSettings) -> Step:
    """From the gate to the open episode; answers that come after a cancellation mean nothing any more."""
    if state.phase is not Phase.CHECKING:
        return Step(state)
    match event:
        case GatePassed():
            if settings.countdown_s > 0.0 and state.by_operator and not state.counted:
                ends_ns = t_ns + round(settings.countdown_s * NANOSECONDS)
                text = f"begins in {settings.countdown_s:g} s"
                return Step(replace(state, phase=Phase.COUNTDOWN, ends_ns=ends_ns), text=text)
            return Step(state, (Effect(Action.BEGIN),))
        case Begun():
            return Step(replace(state, phase=Phase.RECORDING, started_ns=t_ns, has_last=False))
        case GateRefused(reason) | BeginFailed(reason):
            return Step(_idle(state), accepted=False, text=reason)
    return Step(state)


def _command(state: FlowState, name: str, t_ns: int, settings: FlowSettings) -> Step:
    valid = valid_commands(state)
    if name not in valid:
        now = f"valid now ({state.phase.value}): {', '.join(valid) or 'none, it takes a moment'}"
        known = f"'{name}' is not valid now" if name in COMMANDS else f"no command '{name}'"
        return Step(state, accepted=False, text=f"{known}; {now}")
    if name == "start":
        return _check(replace(_idle(state), by_operator=True))
    if name in ("next", "previous"):
        return Step(state, (Effect(Action.MOVE, 1 if name == "next" else -1),))
    if state.phase in (Phase.CHECKING, Phase.COUNTDOWN):
        return Step(_idle(state), text="the start was cancelled")
    if state.phase is Phase.RECORDING:
        return _close(replace(state, redo=name == "redo"), _OUTCOMES[name])
    return _after_episode(state, name, t_ns, settings)


def _after_episode(state: FlowState, name: str, t_ns: int, settings: FlowSettings) -> Step:
    """Commands of IDLE and RESET about the pause and about the last episode."""
    if name == "pause":
        return Step(replace(state, left_ns=(state.ends_ns or t_ns) - t_ns, ends_ns=None), text="the pause is held")
    if name == "go_on":
        return Step(replace(state, ends_ns=t_ns + (state.left_ns or 0), left_ns=None), text="the pause goes on")
    if name == "stop":
        return Step(_idle(state), text="the pause is over; start begins the next episode")
    label = Effect(Action.LABEL, _OUTCOMES[name])
    if name not in ("discard", "redo"):
        return Step(state, (label,))
    state = replace(state, has_last=False)
    if name == "discard":
        return Step(state, (label,))
    if state.phase is Phase.RESET and state.left_ns is None:
        state = replace(state, ends_ns=t_ns + round(settings.reset_pause_s * NANOSECONDS))
    return Step(state, (label, Effect(Action.REPEAT)))


def _service_start(state: FlowState) -> Step:
    if state.phase in (Phase.RECORDING, Phase.CLOSING):
        return Step(state, accepted=False, text="an episode is being recorded; stop it first")
    if state.phase in (Phase.CHECKING, Phase.COUNTDOWN):
        return Step(state, accepted=False, text="an episode is about to start")
    return _check(_idle(state))


def _check(state: FlowState) -> Step:
    return Step(replace(state, phase=Phase.CHECKING), (Effect(Action.CHECK),))


def _close(state: FlowState, outcome: str, text: str = "") -> Step:
    return Step(replace(state, phase=Phase.CLOSING), (Effect(Action.CLOSE, outcome),), text=text)


def _closed(state: FlowState, kept: bool, more: bool, t_ns: int, settings: FlowSettings) -> Step:
    if state.phase is not Phase.CLOSING:
        return Step(state)
    effects = (Effect(Action.REPEAT),) if state.redo else ()
    idle = replace(_idle(state), has_last=kept)
    if not state.by_operator or not more:
        return Step(idle, effects)
    if settings.reset_pause_s > 0.0:
        ends_ns = t_ns + round(settings.reset_pause_s * NANOSECONDS)
        return Step(replace(idle, phase=Phase.RESET, ends_ns=ends_ns, by_operator=True), effects)
    if settings.auto_start:
        begun = _check(replace(idle, by_operator=True))
        return replace(begun, effects=(*effects, *begun.effects))
    return Step(idle, effects)


def _tick(state: FlowState, t_ns: int, settings: FlowSettings) -> Step:
    if state.phase is Phase.RECORDING and settings.max_duration_s > 0.0:
        if t_ns - state.started_ns >= settings.max_duration_s * NANOSECONDS:
            return _close(state, UNLABELLED, f"the longest duration of {settings.max_duration_s:g} s was reached")
    if state.ends_ns is None or t_ns < state.ends_ns:
        return Step(state)
    if state.phase is Phase.COUNTDOWN:
        # Looked at again: a camera may have died meanwhile.
        return _check(replace(state, ends_ns=None, counted=True))
    if state.phase is Phase.RESET and settings.auto_start:
        return _check(replace(_idle(state), by_operator=True))
    return Step(_idle(state))


def _idle(state: FlowState) -> FlowState:
    return FlowState(has_last=state.has_last)
