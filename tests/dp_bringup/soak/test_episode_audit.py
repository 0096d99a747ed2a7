"""Deadlines and holds of episodes made by hand: chunks of 16 actions 0.1 s apart, of which 8 are committed."""

import pytest
from dp_bringup.soak.episode_audit import ENDED, FIRST_CHUNK, TAKEOVER, audit_episode
from dp_ros.messages import ns_to_stamp

from dp_msgs.msg import ActionChunk, ChunkReport, CommandState

BEGIN_S = 100.0
HOLD, TELEOP, POLICY, STOPPED, FAULT = (
    CommandState.HOLD, CommandState.TELEOP, CommandState.POLICY, CommandState.STOPPED, CommandState.FAULT,
)  # fmt: skip
EXHAUSTED = "last action of the chunk reached and no newer chunk: holding"


def stamp(seconds):
    return ns_to_stamp(round(1e9 * (BEGIN_S + seconds)))


def state(t_s, mode=POLICY, alive=True, text="", intervention=False):
    message = CommandState(mode=mode, input_alive=alive, text=text, intervention=intervention)
    message.header.stamp = stamp(t_s)
    return message


def states(until_s, *spans):
    """100 Hz in mode POLICY, but for spans of (from, until, what the state is then)."""
    found = []
    for k in range(round(100 * until_s) + 1):
        t = 0.01 * k
        other = next((what for begin, end, what in spans if begin <= t < end), {})
        found.append(state(t, **other))
    return found


def chunk(number, observed_s, published_s):
    message = ActionChunk(chunk_id=number, committed=8)
    message.header.stamp = stamp(observed_s)
    message.published = stamp(published_s)
    message.stamps = [stamp(observed_s + 0.1 * i) for i in range(16)]
    return message


def report(number, received_s, reason="", executed=8):
    message = ChunkReport(chunk_id=number, executed=executed, stop_reason=reason)
    message.received = stamp(received_s)
    return message


def audit(commands, chunks, reports=(), latency_s=0.0):
    return audit_episode(commands, chunks, reports, latency_s, 0.01)


def test_an_episode_in_order():
    """Chunks each 0.8 s, 0.1 s old; the first comes after 0.15 s, which is no fault."""
    waiting = {"alive": False, "text": "no policy/chunk yet: holding"}
    commands = [state(-0.5, STOPPED, False), *states(2.0, (0.0, 0.15, waiting))]
    chunks = [chunk(k, 0.05 + 0.8 * k, 0.15 + 0.8 * k) for k in range(3)]
    found = audit(commands, chunks, [report(k, 0.16 + 0.8 * k) for k in range(2)])
    assert (found.chunks, found.deadlines, found.missed, found.overdue) == (3, 2, (), 2)
    assert found.policy_s == pytest.approx(2.0)
    (hold,) = found.holds
    assert (hold.begin_s, hold.duration_s, hold.mode, hold.explanation) == (0.0, 0.15, "POLICY", FIRST_CHUNK)


def test_a_chunk_after_the_end_of_its_plan_has_missed_its_deadline():
    """The first plan's last action is due at 1.5 s; control had the second at 1.53 s, long after it was published."""
    chunks = [chunk(0, 0.0, 0.1), chunk(1, 1.4, 1.45)]
    spans = (1.5, 1.53, {"alive": False, "text": EXHAUSTED})
    found = audit(states(1.6, spans), chunks, [report(0, 0.1), report(1, 1.53)])
    assert found.deadlines == 1 and found.missed == pytest.approx([0.03])
    assert [(h.text, h.explanation) for h in found.holds] == [(EXHAUSTED, "")]
    assert audit(states(1.6), chunks, [report(0, 0.1), report(1, 1.49)]).missed == ()
    # Actions are sent 50 ms early: 1.49 s is too late then.
    assert audit(states(1.4), chunks, [report(0, 0.1), report(1, 1.49)], 0.05).missed == pytest.approx([0.04])


def test_no_chunk_at_all_is_a_missed_deadline_too():
    found = audit(states(2.0, (1.5, 3.0, {"alive": False, "text": EXHAUSTED})), [chunk(0, 0.0, 0.1)])
    assert found.deadlines == 1 and found.missed == pytest.approx([0.5])
    assert audit(states(1.4), [chunk(0, 0.0, 0.1)]).deadlines == 0


def test_a_refused_chunk_does_not_put_the_deadline_off():
    chunks = [chunk(0, 0.0, 0.1), chunk(1, 0.8, 0.9), chunk(2, 1.5, 1.55)]
    reports = [report(0, 0.1), report(1, 0.9, "a pose or width is not finite", executed=0), report(2, 1.56)]
    assert audit(states(1.6), chunks, reports).missed == pytest.approx([0.06])
    reports[1] = report(1, 0.9)
    assert audit(states(1.6), chunks, reports).missed == ()


def test_committed_actions_ended_is_counted_apart():
    """Eight actions are committed: the ninth, at 0.8 s, is executed unless the next chunk is there before."""
    assert audit(states(1.0), [chunk(0, 0.0, 0.1), chunk(1, 0.6, 0.79)]).overdue == 0
    found = audit(states(1.0), [chunk(0, 0.0, 0.1), chunk(1, 0.6, 0.81)])
    assert found.overdue == 1 and found.missed == ()


@pytest.mark.parametrize(
    ("what", "explanation"),
    [
        ({"mode": FAULT, "alive": False, "text": "robot pose is 0.31 s old"}, ""),
        ({"mode": HOLD, "alive": False, "text": "no newer policy/chunk for 1 s: left POLICY"}, ""),
        ({"mode": TELEOP, "intervention": True}, TAKEOVER),
        ({"mode": TELEOP}, ""),
        ({"mode": STOPPED, "alive": False}, ""),  # somebody stopped the arm and let it go on
        ({"alive": False, "text": "no policy/chunk yet: holding"}, ""),
    ],
)
def test_each_hold_has_its_reason(what, explanation):
    found = audit(states(1.0, (0.5, 0.7, what)), [chunk(0, 0.0, 0.1)])
    (hold,) = found.holds
    assert (hold.begin_s, hold.duration_s) == (0.5, 0.2)
    assert (hold.text, hold.explanation) == (what.get("text", ""), explanation)


@pytest.mark.parametrize(("until_s", "explanation"), [(0.9, ENDED), (1.9, "")])
def test_a_stop_is_the_end_of_the_episode_only_where_the_recording_ends_with_it(until_s, explanation):
    """The recording is stopped before control is: a second of standing still in it was somebody else's stop."""
    (hold,) = audit(states(until_s, (0.5, 2.0, {"mode": STOPPED, "alive": False})), [chunk(0, 0.0, 0.1)]).holds
    assert hold.explanation == explanation


def test_a_first_chunk_that_never_comes_is_a_hold_without_reason():
    found = audit(states(1.5, (0.0, 2.0, {"alive": False, "text": "no policy/chunk yet: holding"})), [])
    (hold,) = found.holds
    assert not hold.explanation and hold.duration_s == pytest.approx(1.5)


def test_numbers_in_a_reason_do_not_make_it_many():
    old = [(0.5 + 0.01 * k, 0.51 + 0.01 * k, {"alive": False, "text": f"twist {k}.5 s old"}) for k in range(5)]
    holds = audit(states(1.0, *old), [chunk(0, 0.0, 0.1)]).holds
    assert [(h.text, h.duration_s) for h in holds] == [("twist 0.5 s old", 0.05)]


def test_cycles_that_were_left_out_are_counted_by_the_stamps():
    """Of the cycles at 0.00 ... 1.00 s those of 0.20, and of 0.50 to 0.53 s are missing."""
    missing = {20, 50, 51, 52, 53}
    commands = [state for k, state in enumerate(states(1.0)) if k not in missing]
    found = audit([state(-3.0, STOPPED, False), *commands], [])
    assert (found.cycles, found.overruns, found.skipped) == (96, 2, 5)


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        ([state(0.0, STOPPED, False), state(0.1, FAULT, False)], "the policy never drove"),
        ([], "the recording has no state of control"),
    ],
)
def test_an_episode_that_the_policy_never_drove_is_not_one_in_order(commands, text):
    found = audit(commands, [])
    assert (found.policy_s, found.chunks, found.deadlines) == (0.0, 0, 0)
    assert [(hold.text, hold.explanation) for hold in found.holds] == [(text, "")]
