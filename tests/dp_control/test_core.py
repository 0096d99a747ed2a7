"""The control law on a virtual clock: each row of the table of modes, holding, the clock, limits."""

import numpy as np
import pytest
from dp_control.core import Stamped
from dp_control.modes import RUNNING, Mode
from dp_core.contract import load_contract

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
MOVING = [0.2, 0, 0, 0, 0, 0]


def test_nothing_is_sent_before_a_mode_is_asked_for(bench):
    out = bench.drive(5, *MOVING)
    assert out.mode == Mode.STOPPED and all(o.pose is None for o in bench.outputs)


@pytest.mark.parametrize("mode", sorted(RUNNING))
def test_from_stopped_a_mode_starts_at_rest_at_the_pose_measured_after_the_request(bench, mode):
    assert not bench.run(1, mode=mode).reached
    assert bench.core.mode == Mode.STOPPED, "the sample at the request may be from before it"
    bench.pose = START + np.array([0.02, 0, 0, 0, 0, 0, 0])
    out = bench.run(5)
    assert out.mode == mode and sum(o.reached for o in bench.outputs) == 1
    np.testing.assert_allclose(out.pose, bench.pose, atol=1e-12)
    assert not np.any(out.twist)


@pytest.mark.parametrize("target", sorted(RUNNING))
@pytest.mark.parametrize("source", sorted(RUNNING))
def test_between_running_modes_the_command_goes_on_without_a_jump(bench, source, target):
    bench.enter(source)
    bench.run(1, chunks=(bench.chunk(speed=0.3),))
    bench.hand = np.array([0, 0.3, 0, 0, 0, 0]) if source == Mode.TELEOP else None
    bench.run(40)
    bench.hand = None
    out = bench.run(1, mode=target)
    assert out.mode == target and out.reached and not out.intervention
    bench.run(60)
    bench.assert_within_limits()
    if source != target:
        assert not np.any(bench.outputs[-1].twist), "the old mode's motion must have been braked"


@pytest.mark.parametrize("source", [*sorted(RUNNING), Mode.FAULT])
def test_stop_brakes_first_and_then_sends_nothing(bench, source):
    bench.enter(Mode.TELEOP if source == Mode.FAULT else source)
    bench.drive(40, *MOVING, chunks=(bench.chunk(speed=0.2),) if source == Mode.POLICY else ())
    if source == Mode.FAULT:
        bench.extra["robot_problem"] = "reflex"
        bench.run(1)
        assert bench.core.mode == Mode.FAULT
    out = bench.run(1, mode=Mode.STOPPED)
    moving = source in (Mode.TELEOP, Mode.FAULT)
    assert not moving or (out.pose is not None and not out.reached)
    out = bench.run(30)
    assert out.mode == Mode.STOPPED and out.pose is None and out.commanded_pose is None and not out.text
    bench.assert_within_limits()


def test_a_stop_cannot_be_undone_while_the_arm_brakes(bench):
    bench.enter(Mode.TELEOP).drive(50, 0.3, 0, 0, 0, 0, 0)
    bench.run(1, mode=Mode.STOPPED)
    assert "being stopped" in bench.run(1, mode=Mode.TELEOP).refused
    assert "nothing to do in TELEOP" in bench.run(1, resume=True).refused
    assert bench.run(30).mode == Mode.STOPPED


def test_a_stop_is_reached_even_when_a_fault_comes_first(bench):
    bench.enter(Mode.TELEOP).drive(50, 0.3, 0, 0, 0, 0, 0)
    bench.frozen_ns = bench.t - 10**9
    bench.run(1, mode=Mode.STOPPED)
    assert bench.outputs[-1].mode == Mode.FAULT
    out = bench.run(30)
    assert out.mode == Mode.STOPPED and bench.core.pending is None and sum(o.reached for o in bench.outputs[10:]) == 1


@pytest.mark.parametrize("source", [Mode.STOPPED, Mode.FAULT])
def test_resume_leads_from_stopped_and_fault_to_hold_at_the_measured_pose(bench, source):
    bench.enter(Mode.TELEOP).drive(30, *MOVING)
    if source == Mode.FAULT:
        bench.frozen_ns = bench.t - 10**9
    bench.run(30, **({} if source == Mode.FAULT else {"mode": Mode.STOPPED}))
    assert bench.core.mode == source
    bench.frozen_ns = None
    bench.pose = bench.pose + np.array([0.0, 0.05, 0.0, 0, 0, 0, 0])  # guided by hand meanwhile
    out = bench.run(10, resume=True)
    assert out.mode == Mode.HOLD and not out.text
    np.testing.assert_allclose(out.pose[:3], bench.pose[:3], atol=1e-12)


def test_resume_out_of_a_moving_fault_waits_until_the_arm_has_braked(bench):
    bench.enter(Mode.TELEOP).drive(50, 0.4, 0, 0, 0, 0, 0)
    bench.extra["robot_problem"] = "reflex"
    bench.run(1)
    bench.extra.clear()
    bench.run(1, resume=True)
    assert bench.core.mode == Mode.FAULT and bench.core.pending == Mode.HOLD
    assert bench.run(40).mode == Mode.HOLD
    bench.assert_within_limits()


def test_resume_is_refused_where_there_is_nothing_to_resume(bench):
    bench.enter(Mode.HOLD)
    assert "it goes on from STOPPED or FAULT" in bench.run(1, resume=True).refused


def test_a_fault_is_not_left_for_a_running_mode_by_set_mode(bench):
    bench.enter(Mode.TELEOP)
    bench.extra["arm_problem"] = "nobody listens"
    assert bench.run(1).mode == Mode.FAULT
    out = bench.run(1, mode=Mode.TELEOP)
    assert "cannot follow FAULT; valid: STOPPED (3); control/resume goes on" in out.refused


def test_unknown_modes_are_refused_with_the_valid_ones(bench):
    assert "valid: HOLD (0), TELEOP (1), POLICY (2), STOPPED (3)" in bench.run(1, mode=9).refused


def test_without_a_measured_pose_no_mode_is_entered(bench):
    bench.frozen_ns = bench.t
    bench.run(202, mode=Mode.TELEOP)
    assert bench.core.mode == Mode.STOPPED and bench.core.pending is None
    assert "mode TELEOP not reached: no measured pose on robot/ee_pose" in bench.outputs[-1].refused
    assert all(o.pose is None for o in bench.outputs)


def test_asking_for_the_present_mode_again_keeps_the_plan(bench):
    bench.enter(Mode.POLICY)
    bench.run(40, chunks=(bench.chunk(),))
    assert bench.run(1, mode=Mode.POLICY).reached
    bench.run(39)
    assert bench.pose[1] == pytest.approx(0.08, abs=1e-3)


def test_teleop_integrates_the_twist(bench):
    bench.enter(Mode.TELEOP)
    out = bench.drive(100, 0, 0.1, 0, 0, 0, 0)
    # 1 s at 0.1 m/s, less what the smooth start costs (under 0.1 s).
    assert bench.pose[1] == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(out.twist, [0, 0.1, 0, 0, 0, 0], atol=1e-6)


def test_teleop_gripper_is_sent_once_per_change(bench):
    bench.enter(Mode.TELEOP)
    bench.run(5, widths=(0.0,))
    bench.run(5, widths=(0.0,))
    assert sum(o.gripper_changed for o in bench.outputs) == 1 and bench.outputs[-1].width == 0.0


def test_missed_periods_are_made_up_within_the_limits_and_a_long_pause_is_not(make_bench):
    even, late = make_bench(), make_bench()
    for bench in (even, late):
        bench.enter(Mode.TELEOP).drive(60, 0.3, 0, 0, 0, 0, 0)
    even.run(3)
    late.run(1, periods=3)
    np.testing.assert_allclose(late.pose, even.pose, atol=1e-12)
    x = late.pose[0]
    late.run(1, periods=10)
    assert late.core.counters["restarts from rest"] == 1
    # From rest, in one period of 10 ms: h v with v <= j h^2 = 15 mm/s.
    assert 0.0 <= late.pose[0] - x < 1e-9 * late.period_ns * 0.016
    assert late.core.mode == Mode.TELEOP


def test_a_clock_that_goes_back_is_a_fault(bench):
    bench.enter(Mode.POLICY)
    bench.run(20, chunks=(bench.chunk(speed=0.3),))
    bench.run(1, mode=Mode.STOPPED)  # a stop under way when it happens: times from before must not hold anything up
    bench.t -= 5 * 10**9
    assert bench.run(1).mode == Mode.FAULT and "clock went back by 5.00 s" in bench.outputs[-1].text
    assert bench.run(60).mode == Mode.STOPPED
    assert bench.run(10, resume=True).mode == Mode.HOLD
    bench.assert_within_limits()


def test_no_mode_starts_in_the_cycle_in_which_the_clock_was_set(bench):
    bench.run(6, mode=Mode.TELEOP)
    bench.run(5, mode=Mode.STOPPED)
    bench.run(5, mode=Mode.TELEOP)
    assert bench.core.pending == Mode.TELEOP, "the pose is to be newer than the request by 50 ms"
    bench.t += 10**9  # by this clock the pose is newer now
    assert bench.run(1).mode == Mode.STOPPED, "neither TELEOP nor FAULT"
    assert bench.run(1).mode == Mode.TELEOP


def test_a_clock_that_jumps_ahead_is_a_fault_and_a_stall_of_the_process_is_none(bench):
    bench.enter(Mode.TELEOP)
    assert bench.run(1, periods=100).mode == Mode.TELEOP  # both clocks went on: 1 s was lost
    bench.t += 10**9
    assert bench.run(1).mode == Mode.FAULT and "clock jumped ahead by 1.00 s" in bench.outputs[-1].text


def test_a_gripper_problem_is_told_and_the_arm_goes_on(bench):
    bench.enter(Mode.TELEOP)
    bench.extra["gripper_problem"] = "grasp refused"
    out = bench.drive(20, *MOVING)
    assert out.text == "gripper: grasp refused" and out.mode == Mode.TELEOP and out.twist[0] > 0.1


def test_inputs_that_are_not_numbers_never_reach_the_arm(bench):
    bench.enter(Mode.TELEOP)
    bench.drive(30, np.nan, 0.1, 0, 0, 0, 0)
    np.testing.assert_allclose(bench.pose, START, atol=1e-12)
    bench.extra["measured_pose"] = Stamped(bench.t, np.full(7, np.nan))
    bench.extra, bad = {}, bench.extra["measured_pose"]
    out = bench.core.step(bench.inputs(), bench.t + bench.period_ns)
    assert out.mode == Mode.TELEOP
    out = bench.core.step(type(bench.inputs())(measured_pose=bad), bench.t + 2 * bench.period_ns)
    assert out.mode == Mode.FAULT and "is not finite" in out.text and np.all(np.isfinite(out.commanded_pose))


def test_a_request_that_runs_out_while_another_is_refused_is_answered_too(bench):
    bench.frozen_ns = bench.t
    bench.run(1, mode=Mode.HOLD)
    for _ in range(210):  # somebody asks for nonsense in each cycle
        assert "mode 99" in bench.run(1, mode=99).refused, "the answer to another request"
    assert "mode HOLD not reached" in bench.run(1).refused and bench.core.pending is None


def test_after_a_failure_the_arm_brakes_within_its_limits_and_nothing_is_sent_any_more(bench):
    bench.enter(Mode.TELEOP).drive(60, *MOVING)
    while bench.outputs[-1].pose is not None:
        bench.t += bench.period_ns
        bench.outputs.append(bench.core.abandon("broken", bench.t))
        assert len(bench.outputs) < 150
    assert bench.outputs[-1].mode == Mode.FAULT and bench.outputs[-1].text == "broken"
    assert not np.any(bench.outputs[-1].twist)
    bench.assert_within_limits()
