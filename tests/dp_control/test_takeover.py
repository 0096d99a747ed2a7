"""The operator's hand on the virtual clock: age, neutral start, dead-man button, takeover."""

import numpy as np
import pytest
from dp_control.modes import Mode

PUSH = np.array([0.1, 0, 0, 0, 0, 0])


def test_a_twist_that_stops_coming_brakes_and_in_the_end_leaves_the_mode(bench):
    bench.enter(Mode.TELEOP).drive(50, *PUSH)
    last = bench.inputs().twist
    x = bench.pose[0]
    bench.extra["twist"] = last  # the newest one stays where it is, and grows old
    out = bench.run(60)
    assert out.mode == Mode.TELEOP and not out.input_alive and "no teleop/twist newer than 0.15 s" in out.text
    assert bench.pose[0] - x < 0.1 * 0.15 + 0.02 and not np.any(out.twist)
    out = bench.run(60)
    assert out.mode == Mode.HOLD and "no teleop/twist" in out.text and "ask for it to go on" in out.text
    assert not out.input_alive
    bench.extra.clear()
    x = bench.pose[0]
    assert bench.drive(30, *PUSH).mode == Mode.HOLD and bench.pose[0] == x, "going on takes a request"
    bench.assert_within_limits()


def test_after_a_gap_the_device_must_be_let_go_before_it_moves_the_arm(bench):
    bench.enter(Mode.TELEOP).drive(30, *PUSH)
    bench.hand = None
    bench.run(40)
    x = bench.pose[0]
    out = bench.drive(40, *PUSH)
    assert bench.pose[0] == x and "let it go once" in out.text
    bench.drive(1, 0.004, 0, 0, 0, 0, 0.01)  # a hand at rest is never quite zero
    out = bench.drive(40, *PUSH)
    assert bench.pose[0] > x + 0.02 and not out.text


def test_who_asks_for_teleop_drives_at_once(bench):
    bench.hand = PUSH
    bench.run(30, mode=Mode.TELEOP)
    assert bench.core.mode == Mode.TELEOP and not bench.outputs[-1].text
    assert bench.pose[0] > 0.51
    bench.assert_within_limits()


def test_teleop_waits_for_the_first_twist_without_limit(bench):
    bench.hand = None
    bench.run(300, mode=Mode.TELEOP)
    assert bench.core.mode == Mode.TELEOP


def test_moving_the_spacemouse_takes_over_from_the_policy_in_the_same_cycle(bench):
    bench.enter(Mode.POLICY)
    bench.run(60, chunks=(bench.chunk(speed=0.3),))
    speed = bench.outputs[-1].twist[1]
    assert speed == pytest.approx(0.3, abs=0.02)
    out = bench.drive(1, 0, -0.1, 0, 0, 0, 0)
    assert out.mode == Mode.TELEOP and out.intervention
    assert [record.stop_reason for record in out.reports] == ["mode changed to TELEOP"]
    assert out.twist[1] > 0.2, "the motion goes on from what was commanded, and turns round within the limits"
    out = bench.drive(60, 0, -0.1, 0, 0, 0, 0, chunks=(bench.chunk(speed=0.3, chunk_id=1),))
    assert out.twist[1] == pytest.approx(-0.1, abs=1e-3) and out.intervention
    bench.drive(60, 0, 0, 0, 0, 0, 0)
    assert bench.core.mode == Mode.TELEOP, "back to the policy by request only"
    out = bench.run(1, mode=Mode.POLICY)
    assert out.mode == Mode.POLICY and not out.intervention
    assert bench.core.counters["takeover"] == 1
    bench.assert_within_limits()


@pytest.mark.parametrize(
    ("safety", "twist"),
    [
        ({}, [0.009, 0, 0, 0, 0, 0.049]),
        ({"takeover": False}, [0.2, 0, 0, 0, 0, 0]),
        ({"takeover_angular_rad_s": 0.5}, [0, 0, 0, 0, 0, 0.3]),
    ],
    ids=["below the thresholds", "switched off", "other thresholds"],
)
def test_what_does_not_take_over(make_bench, safety, twist):
    bench = make_bench(safety=safety).enter(Mode.POLICY)
    assert bench.drive(20, *twist).mode == Mode.POLICY


def test_turning_takes_over_as_well(bench):
    bench.enter(Mode.POLICY)
    assert bench.drive(1, 0, 0, 0, 0.06, 0, 0).intervention


def test_an_old_twist_does_not_take_over(bench):
    bench.enter(Mode.POLICY)
    bench.hand = PUSH
    old = bench.inputs().twist
    bench.hand = None
    bench.run(20)
    bench.extra["twist"] = old
    assert bench.run(20).mode == Mode.POLICY


DEAD_MAN = {"dead_man": ("teleop", "policy")}


def test_teleop_moves_only_while_the_dead_man_button_is_held(make_bench):
    bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
    bench.held = False
    bench.enter(Mode.TELEOP)
    out = bench.drive(30, *PUSH)
    assert bench.pose[0] == 0.5 and "dead-man button released" in out.text
    bench.held = True
    bench.drive(5, *np.zeros(6))
    bench.drive(40, *PUSH)
    assert bench.pose[0] > 0.52
    bench.held = False
    out = bench.drive(60, *PUSH)
    assert not np.any(out.twist) and out.mode == Mode.TELEOP
    bench.assert_within_limits()


def test_a_dead_man_button_that_is_not_heard_of_any_more_ends_the_mode(make_bench):
    for mode in (Mode.TELEOP, Mode.POLICY):
        bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
        bench.held = True
        bench.enter(mode)
        held = bench.inputs().dead_man
        bench.held = None
        bench.extra["dead_man"] = held
        out = bench.run(60, chunks=(bench.chunk(),))
        assert out.mode == mode and "dead-man button, is" in out.text and not np.any(out.twist)
        out = bench.run(60)
        assert out.mode == Mode.HOLD and "ask for it to go on" in out.text


def test_a_released_dead_man_button_drops_the_plan(make_bench):
    bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
    bench.held = True
    bench.enter(Mode.POLICY)
    bench.run(40, chunks=(bench.chunk(speed=0.2),))
    bench.held = False
    bench.run(40, chunks=(bench.chunk(chunk_id=1),))
    reasons = [record.stop_reason for out in bench.outputs for record in out.reports]
    assert reasons == ["dead-man button released: holding"] * 2
    y = bench.pose[1]
    bench.held = True
    out = bench.run(20)
    assert bench.pose[1] == y and "no policy/chunk yet" in out.text, "the old plan has gone on without the arm"
    bench.assert_within_limits()


@pytest.mark.parametrize("pressed_again", [False, True])
def test_a_policy_that_falls_silent_while_the_dead_man_button_is_released_ends_the_mode(make_bench, pressed_again):
    """Else one that comes back much later would move the arm without being asked to."""
    bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
    cycle_s, lost_s = 1e-9 * bench.period_ns, bench.contract.safety.input_lost_s
    bench.held = True
    bench.enter(Mode.POLICY)
    bench.run(40, chunks=(bench.chunk(),))
    bench.held = False
    last = bench.chunk(chunk_id=1)
    bench.run(5, chunks=(last,))
    bench.held = pressed_again
    until_s = 1e-9 * int(last.stamps_ns[-1] - bench.t) + lost_s
    out = bench.run(int(until_s / cycle_s) - 2)
    assert out.mode == Mode.POLICY and not out.input_alive, "until its last action it may just be between two plans"
    out = bench.run(5)
    assert out.mode == Mode.HOLD and "no newer policy/chunk" in out.text
    bench.held = True
    y = bench.pose[1]
    out = bench.run(40, chunks=(bench.chunk(chunk_id=2),))
    assert out.mode == Mode.HOLD and bench.pose[1] == y
    bench.assert_within_limits()


def test_a_policy_that_has_sent_nothing_yet_is_waited_for(make_bench):
    bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
    bench.held = True
    bench.enter(Mode.POLICY)
    bench.held = False
    bench.run(400)
    bench.held = True
    assert bench.run(400).mode == Mode.POLICY
    assert bench.run(40, chunks=(bench.chunk(),)).input_alive


@pytest.mark.parametrize("held", [True, False])
def test_a_first_chunk_that_is_all_late_is_refused_and_the_next_one_waited_for(make_bench, held):
    """Whether the dead-man button is held or not: a slow first inference must not end the mode."""
    bench = make_bench(safety=DEAD_MAN, teleop={"clutch_button": 1})
    bench.held = True
    bench.enter(Mode.POLICY)
    bench.held = held
    bench.run(400)
    out = bench.run(20, chunks=(bench.chunk(bench.t - 3 * 10**9),))
    assert out.mode == Mode.POLICY
    bench.held = True
    assert bench.run(40, chunks=(bench.chunk(chunk_id=1),)).input_alive
