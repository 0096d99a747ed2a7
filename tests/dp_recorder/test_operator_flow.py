"""The flow between episodes: each way through it, and that no way leads out of it."""

import pytest
from dp_recorder.flow_events import (
    Action,
    BeginFailed,
    Begun,
    Closed,
    Command,
    Effect,
    Failed,
    GatePassed,
    GateRefused,
    ServiceStart,
    ServiceStop,
    Tick,
)
from dp_recorder.operator_flow import COMMANDS, FlowSettings, FlowState, Phase, seconds_left, step, valid_commands
from hypothesis import given, settings
from hypothesis import strategies as st

S = 1_000_000_000
PLAIN = FlowSettings()
SLOW = FlowSettings(countdown_s=3.0, reset_pause_s=10.0)
AUTO = FlowSettings(countdown_s=1.0, reset_pause_s=2.0, auto_start=True)


class Walk:
    """Takes events at given seconds and remembers what was to be done."""

    def __init__(self, settings=PLAIN, state=None):
        self.settings, self.state, self.effects, self.last = settings, state or FlowState(), [], None

    def at(self, t_s, *events):
        for event in events:
            event = Command(event) if isinstance(event, str) else event
            self.last = step(self.state, event, round(t_s * S), self.settings)
            self.state = self.last.state
            self.effects += [(effect.action.name, effect.value) for effect in self.last.effects]
        return self

    @property
    def phase(self):
        return self.state.phase


def test_start_counts_down_and_looks_at_the_streams_before_and_after():
    walk = Walk(SLOW).at(0, "start")
    assert walk.phase is Phase.CHECKING and walk.effects == [("CHECK", "")]
    walk.at(0.5, GatePassed())
    assert walk.phase is Phase.COUNTDOWN and seconds_left(walk.state, 1 * S) == 2.5
    assert walk.at(3.4, Tick()).phase is Phase.COUNTDOWN
    walk.at(3.5, Tick())
    assert walk.phase is Phase.CHECKING and walk.effects == [("CHECK", "")] * 2
    walk.at(3.6, GatePassed())
    assert walk.effects[-1] == ("BEGIN", "") and walk.phase is Phase.CHECKING
    assert walk.at(3.6, Begun()).phase is Phase.RECORDING


def test_a_service_skips_countdown_and_pause():
    walk = Walk(AUTO).at(0, ServiceStart(), GatePassed(), Begun())
    assert walk.phase is Phase.RECORDING and walk.effects == [("CHECK", ""), ("BEGIN", "")]
    walk.at(5, ServiceStop("success"))
    assert walk.phase is Phase.CLOSING and walk.effects[-1] == ("CLOSE", "success")
    assert walk.at(5, Closed(kept=True)).phase is Phase.IDLE


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        ("success", "success"),
        ("failure", "failure"),
        ("stop", "unlabelled"),
        ("discard", "discard"),
        ("redo", "discard"),
    ],
)
def test_commands_that_close(command, outcome):
    walk = Walk(SLOW, FlowState(Phase.RECORDING, by_operator=True)).at(9, command)
    assert walk.phase is Phase.CLOSING and walk.effects == [("CLOSE", outcome)]
    walk.at(10, Closed(kept=outcome != "discard"))
    assert walk.phase is Phase.RESET and seconds_left(walk.state, 12 * S) == 8.0
    assert walk.state.has_last is (outcome != "discard")
    assert (("REPEAT", "") in walk.effects) is (command == "redo")
    assert walk.at(19.9, Tick()).phase is Phase.RESET
    assert walk.at(20, Tick()).phase is Phase.IDLE, "without auto_start somebody has to press start"


def test_auto_start_goes_on_by_itself_until_nothing_is_left():
    walk = Walk(AUTO, FlowState(Phase.CLOSING, by_operator=True)).at(0, Closed(kept=True))
    assert walk.phase is Phase.RESET
    walk.at(2, Tick())
    assert walk.phase is Phase.CHECKING and walk.effects == [("CHECK", "")]
    assert walk.at(2, GatePassed()).phase is Phase.COUNTDOWN, "it counts down as for a person"
    walk = Walk(AUTO, FlowState(Phase.CLOSING, by_operator=True)).at(0, Closed(kept=True, more=False))
    assert walk.phase is Phase.IDLE
    without_pause = FlowSettings(auto_start=True)
    walk = Walk(without_pause, FlowState(Phase.CLOSING, by_operator=True, redo=True)).at(0, Closed(kept=False))
    assert walk.phase is Phase.CHECKING and walk.effects == [("REPEAT", ""), ("CHECK", "")]


def test_a_pause_is_held_and_goes_on_with_what_was_left():
    walk = Walk(SLOW, FlowState(Phase.RESET, ends_ns=10 * S)).at(4, "pause")
    assert seconds_left(walk.state, 100 * S) == 6.0
    assert walk.at(500, Tick()).phase is Phase.RESET
    walk.at(500, "go_on")
    assert walk.at(505.9, Tick()).phase is Phase.RESET and walk.at(506, Tick()).phase is Phase.IDLE


@pytest.mark.parametrize("phase", [Phase.CHECKING, Phase.COUNTDOWN])
@pytest.mark.parametrize("command", ["stop", "discard"])
def test_a_start_can_be_cancelled(phase, command):
    walk = Walk(SLOW, FlowState(phase, ends_ns=5 * S, by_operator=True, has_last=True)).at(1, command)
    assert walk.phase is Phase.IDLE and not walk.effects and walk.state.has_last
    # What was under way when it was cancelled means nothing any more.
    assert not walk.at(2, GatePassed()).effects and walk.phase is Phase.IDLE


def test_a_refused_gate_says_why_and_ends_the_start():
    walk = Walk(SLOW).at(0, "start", GateRefused("camera/front: 12.0 Hz"))
    assert walk.phase is Phase.IDLE and not walk.last.accepted and walk.last.text == "camera/front: 12.0 Hz"
    walk.at(1, "start", GatePassed(), BeginFailed("no space"))
    assert walk.phase is Phase.COUNTDOWN, "an answer to another question is not heard"


def test_after_the_episode_it_can_be_labelled_put_aside_or_redone():
    last = FlowState(Phase.RESET, ends_ns=10 * S, has_last=True)
    for name in ("success", "failure"):
        walk = Walk(SLOW, last).at(1, name)
        assert walk.effects == [("LABEL", name)] and walk.state == last
    walk = Walk(SLOW, last).at(1, "discard")
    assert walk.effects == [("LABEL", "discard")] and not walk.state.has_last
    assert not walk.at(2, "discard").last.accepted, "the one before is out of reach"
    walk = Walk(SLOW, last).at(4, "redo")
    assert walk.effects == [("LABEL", "discard"), ("REPEAT", "")]
    assert seconds_left(walk.state, 4 * S) == 10.0, "the scene has to be reset again"


def test_the_longest_duration_closes_without_a_label():
    limited = FlowSettings(max_duration_s=5.0, reset_pause_s=1.0)
    walk = Walk(limited).at(2, "start", GatePassed(), Begun())
    assert walk.at(6.9, Tick()).phase is Phase.RECORDING
    walk.at(7, Tick())
    assert walk.effects[-1] == ("CLOSE", "unlabelled") and "longest duration of 5 s" in walk.last.text
    assert walk.at(7, Closed(kept=True)).phase is Phase.RESET


def test_a_failure_closes_what_is_open_and_starts_nothing():
    walk = Walk(AUTO, FlowState(Phase.RECORDING, by_operator=True)).at(3, Failed("disk full"))
    assert walk.effects == [("CLOSE", "unlabelled")]
    assert walk.at(4, Closed(kept=True)).phase is Phase.IDLE
    assert Walk().at(0, Failed("disk full")).phase is Phase.IDLE


VALID = {
    FlowState(): {"start", "next", "previous"},
    FlowState(has_last=True): {"start", "next", "previous", "success", "failure", "discard", "redo"},
    FlowState(Phase.CHECKING): {"stop", "discard"},
    FlowState(Phase.COUNTDOWN, ends_ns=S): {"stop", "discard"},
    FlowState(Phase.RECORDING): {"success", "failure", "stop", "discard", "redo"},
    FlowState(Phase.CLOSING): set(),
    FlowState(Phase.RESET, ends_ns=S): {"start", "stop", "pause", "next", "previous"},
    FlowState(Phase.RESET, left_ns=S): {"start", "stop", "go_on", "next", "previous"},
}


@pytest.mark.parametrize("state", VALID)
@pytest.mark.parametrize("name", [*COMMANDS, "jump"])
def test_each_command_is_taken_or_answered_with_those_that_are_valid(state, name):
    assert set(valid_commands(state)) == VALID[state]
    result = step(state, Command(name), 0, SLOW)
    assert result.accepted is (name in VALID[state])
    if not result.accepted:
        assert result.state == state and not result.effects
        assert f"'{name}'" in result.text and f"valid now ({state.phase.value}): " in result.text
        assert all(valid in result.text for valid in VALID[state])


def test_next_and_previous_move_in_the_plan():
    assert step(FlowState(), Command("next"), 0, PLAIN).effects == (Effect(Action.MOVE, 1),)
    assert step(FlowState(), Command("previous"), 0, PLAIN).effects == (Effect(Action.MOVE, -1),)


EVENTS = st.one_of(
    st.sampled_from(COMMANDS).map(Command),
    st.sampled_from(["Tick", "answer", "ServiceStart", "ServiceStop", "Failed", "refuse"]),
)


@settings(deadline=None)
@given(
    st.lists(st.tuples(EVENTS, st.integers(0, 4)), max_size=60),
    st.builds(FlowSettings, st.sampled_from([0, 1]), st.sampled_from([0, 2]), st.booleans(), st.sampled_from([0, 3])),
)
def test_an_open_episode_is_always_closed_before_the_next_begins(events, settings):
    """A shell that answers each effect: at most one episode is open, and exactly in RECORDING and CLOSING."""
    walk, t_s, is_open, seen = Walk(settings), 0, False, 0
    for event, wait_s in events:
        t_s += wait_s
        if event == "answer":
            event = Closed(kept=True) if walk.phase is Phase.CLOSING else GatePassed()
        plain = {"Tick": Tick(), "ServiceStart": ServiceStart(), "ServiceStop": ServiceStop("success")}
        plain |= {"Failed": Failed("disk"), "refuse": GateRefused("camera")}
        event = plain.get(event, event) if isinstance(event, str) else event
        if isinstance(event, Closed):
            is_open = False
        walk.at(t_s, event)
        fresh, seen = walk.effects[seen:], len(walk.effects)
        if ("BEGIN", "") in fresh:
            assert not is_open
            is_open = True
            walk.at(t_s, Begun())
            seen = len(walk.effects)
        closes = [effect for effect in fresh if effect[0] == "CLOSE"]
        assert len(closes) <= 1 and (is_open or not closes)
        assert is_open is (walk.phase in (Phase.RECORDING, Phase.CLOSING))
