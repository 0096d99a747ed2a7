"""The policy's plan in the core: what is followed, what is refused, and when the mode ends."""

import re
from dataclasses import replace

import numpy as np
import pytest
from dp_control.modes import Mode

START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def reasons(bench):
    return [record.stop_reason for out in bench.outputs for record in out.reports]


def test_policy_follows_a_chunk_holds_at_its_end_and_then_leaves_the_mode(bench):
    bench.enter(Mode.POLICY)
    bench.run(80, chunks=(bench.chunk(),))
    assert bench.pose[1] == pytest.approx(0.08, abs=1e-3)
    out = bench.run(100)
    assert bench.pose[1] == pytest.approx(0.15, abs=1e-6)
    assert out.mode == Mode.POLICY and not out.input_alive and "no newer chunk" in out.text
    out = bench.run(80)
    assert out.mode == Mode.HOLD and "no newer policy/chunk" in out.text and not out.input_alive
    bench.run(20, chunks=(bench.chunk(chunk_id=1),))
    assert bench.core.mode == Mode.HOLD and bench.pose[1] == pytest.approx(0.15, abs=1e-6)
    bench.assert_within_limits()


def test_the_first_chunk_is_waited_for_without_limit(bench):
    bench.enter(Mode.POLICY)
    out = bench.run(500)
    assert out.mode == Mode.POLICY and out.text == "no policy/chunk yet: holding" and not out.input_alive


def test_a_newer_chunk_keeps_the_mode_going(bench):
    bench.enter(Mode.POLICY)
    t0 = bench.t
    for i in range(8):
        bench.run(50, chunks=(bench.chunk(t0=t0 + 50 * i * bench.period_ns, speed=0.0, chunk_id=i),))
    assert bench.core.mode == Mode.POLICY and bench.core.counters["chunks executed"] == 8


def test_a_late_chunk_is_reported_and_not_executed(bench):
    bench.enter(Mode.POLICY).run(400)
    bench.run(1, chunks=(bench.chunk(bench.t - 3 * 10**9),))
    assert reasons(bench) == ["all 16 actions are late"]
    np.testing.assert_allclose(bench.run(20).pose, START, atol=1e-12)


def test_chunks_outside_policy_mode_do_nothing(bench):
    bench.enter(Mode.TELEOP).run(30, chunks=(bench.chunk(speed=0.3),))
    np.testing.assert_allclose(bench.pose, START, atol=1e-12)


def test_chunks_from_the_future_or_from_before_the_mode_are_refused_and_keep_out_no_good_one(bench):
    bench.enter(Mode.POLICY)
    bench.run(1, chunks=(bench.chunk(bench.t + 3600 * 10**9, chunk_id=1), bench.chunk(bench.t - 10**9, chunk_id=2)))
    future, before = reasons(bench)
    assert "in the future: the clocks differ" in future and "before this mode began" in before
    bench.run(80, chunks=(bench.chunk(chunk_id=3),))
    assert bench.pose[1] == pytest.approx(0.08, abs=1e-3)
    assert bench.core.counters["chunks refused"] == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: p[8:, 0].__iadd__(1.0), "0.75 m outside the workspace"),
        (lambda p: p[::2, :3].__iadd__(0.05 * 15), "outside the workspace|a step between actions asks for"),
        (lambda p: p[::2, 3:].__setitem__(slice(None), [0, 0, 0, 1]), "asks for 31.4 rad/s"),
    ],
    ids=["metres outside", "steps of metres", "180-degree flips"],
)
def test_plans_that_no_policy_means_are_refused_with_the_reason(bench, change, reason):
    bench.enter(Mode.POLICY)
    chunk = bench.chunk()
    poses = chunk.poses.copy()
    change(poses)
    bench.run(60, chunks=(replace(chunk, poses=poses),))
    assert re.search(reason, reasons(bench)[0])
    np.testing.assert_allclose(bench.pose, START, atol=1e-12)


def test_an_action_a_little_outside_the_workspace_is_taken_to_its_wall(bench):
    bench.enter(Mode.POLICY)
    chunk = bench.chunk(speed=0.0)
    poses = chunk.poses.copy()
    poses[:, 1] = np.linspace(0, 0.6, 16)  # the wall is at 0.40
    bench.run(100, chunks=(replace(chunk, poses=poses),))
    out = bench.run(170)
    assert 0.38 < bench.pose[1] <= 0.40 and any("workspace" in name for o in bench.outputs for name in o.active_limits)
    assert out.mode == Mode.HOLD
    bench.assert_within_limits()


def test_the_gripper_follows_the_plan_with_hysteresis(bench):
    bench.enter(Mode.POLICY)
    chunk = bench.chunk(speed=0.0)
    widths = np.where(np.arange(16) < 8, 0.08, 0.01)
    widths[4] = 0.04
    bench.run(140, chunks=(replace(chunk, widths=widths),))
    assert [out.width for out in bench.outputs if out.gripper_changed] == [0.0]


def test_a_plan_that_begins_long_after_now_is_refused(bench):
    bench.enter(Mode.POLICY)
    chunk = bench.chunk()
    bench.run(1, chunks=(replace(chunk, stamps_ns=chunk.stamps_ns + 3600 * 10**9),))
    assert reasons(bench) == ["it waits 3600.0 s for an action (limit 10.0 s): wrong stamps"]
    assert "no policy/chunk yet" in bench.run(1).text


def test_a_second_policy_does_not_interfere_while_the_first_has_a_plan(bench):
    bench.enter(Mode.POLICY)
    bench.run(5, chunks=(replace(bench.chunk(speed=0.1), policy_id="a"),))
    bench.run(5, chunks=(replace(bench.chunk(speed=-0.1), policy_id="b"),))
    (reason,) = reasons(bench)
    assert reason == "of policy 'b' while a plan of policy 'a' is in execution: stop one of the two"
    bench.run(160)
    assert bench.pose[1] == pytest.approx(0.15, abs=1e-3), "the first plan went on to its end"
    bench.run(20, chunks=(replace(bench.chunk(speed=0.0), policy_id="b"),))
    assert len(reasons(bench)) == 2 and bench.core.counters["chunks executed"] == 2, "another may drive after it"


def test_a_plan_in_the_future_leaves_the_gripper_alone_until_its_first_action(bench):
    bench.enter(Mode.POLICY)
    bench.run(10, chunks=(bench.chunk(speed=0.0, width=0.0),))
    assert bench.outputs[-1].width == 0.0
    later = replace(bench.chunk(speed=0.0, width=0.08), stamps_ns=bench.chunk().stamps_ns + 10**9)
    bench.run(90, chunks=(later,))
    assert bench.outputs[-1].width == 0.0, "the object must not be dropped before its time"
    bench.run(20)
    assert bench.outputs[-1].width == 0.08


def test_the_counts_of_a_refused_chunk_add_up_to_its_actions(bench):
    bench.enter(Mode.POLICY).run(200)
    future, old, late = bench.chunk(bench.t + 10**9), bench.chunk(bench.t - 10**9), bench.chunk()
    late = replace(late, stamps_ns=late.stamps_ns - 5 * 10**9)
    bench.run(1, chunks=(future, late))
    bench.run(1, chunks=(replace(old, observed_ns=0),))
    records = [record for out in bench.outputs for record in out.reports]
    assert [(r.late, r.executed, r.superseded) for r in records] == [(0, 0, 16), (16, 0, 0), (0, 0, 16)]
