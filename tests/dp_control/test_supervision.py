"""The faults, each on the virtual clock: what starts them, how the arm stops, how one goes on."""

import numpy as np
import pytest
from dp_control.core import Stamped
from dp_control.modes import Mode
from dp_control.supervision import separation
from dp_core.poses import pose_distance, quat_from_rotvec

PUSH = (0.2, 0, 0, 0, 0, 0)
LIMITS = {"force_limit_N": 30.0, "torque_limit_Nm": 5.0, "contact_time_s": 0.02}


def wrench(bench, *values):
    bench.extra["wrench"] = Stamped(bench.t + bench.period_ns, np.array(values, dtype=float))


def test_separation_agrees_with_the_general_formula():
    rng = np.random.default_rng(3)
    for _ in range(100):
        a, b = (np.concatenate([rng.normal(size=3), quat_from_rotvec(rng.normal(size=3))]) for _ in range(2))
        np.testing.assert_allclose(separation(a, -b * [-1, -1, -1, 1, 1, 1, 1]), pose_distance(a, b), atol=1e-7)


def test_a_stale_measured_pose_is_a_fault_that_brakes(bench):
    bench.enter(Mode.TELEOP).drive(50, *PUSH)
    bench.frozen_ns = bench.t
    out = bench.run(25)
    assert out.mode == Mode.TELEOP, "0.25 s are allowed"
    assert bench.run(1).mode == Mode.FAULT
    out = bench.run(60)
    assert out.pose is None and "robot/ee_pose is 0.26 s old (limit 0.25 s)" in out.text
    bench.frozen_ns = None
    bench.run(5, mode=Mode.STOPPED)
    assert not bench.enter(Mode.TELEOP).outputs[-1].text
    bench.assert_within_limits()


def test_a_measured_pose_from_the_future_neither_starts_nor_sustains_a_mode(bench):
    bench.frozen_ns = bench.t + 5 * 10**9
    bench.run(1, mode=Mode.TELEOP)
    assert bench.run(20).mode == Mode.STOPPED
    bench.frozen_ns = None
    bench.run(1, mode=Mode.STOPPED)
    bench.enter(Mode.TELEOP)
    bench.frozen_ns = bench.t + 5 * 10**9
    assert bench.run(2).mode == Mode.FAULT


def test_a_blocked_arm_is_a_fault_and_is_not_pushed_for_ever(bench):
    bench.enter(Mode.TELEOP)
    bench.blocked = True
    out = bench.drive(120, *PUSH)
    assert out.mode == Mode.FAULT and "m from its command (limit 0.15 m)" in out.text
    out = bench.run(200)
    assert out.pose is None and np.linalg.norm(out.commanded_pose[:3] - bench.pose[:3]) < 0.002
    bench.assert_within_limits()


def test_a_pose_that_has_just_jumped_is_a_fault_but_is_not_followed(bench):
    """Half a turn that no arm can have done: the command brakes instead of turning after it."""
    bench.enter(Mode.TELEOP).drive(40, *PUSH)
    x = bench.pose[0]
    bench.blocked, bench.pose = True, np.concatenate([bench.pose[:3], [0.0, 1.0, 0.0, 0.0]])
    bench.extra["stream_problems"] = ("robot/ee_pose jumped 0.05 s ago",)
    out = bench.drive(60, *PUSH)
    assert out.mode == Mode.FAULT and out.pose is None
    np.testing.assert_allclose(out.commanded_pose[3:], [1.0, 0.0, 0.0, 0.0], atol=1e-9)
    # 0.2 m/s is stopped within 0.2^2 / (2 * 6) m by the limit of acceleration, and a bit for the jerk.
    assert 0.0 < out.commanded_pose[0] - x < 0.015
    bench.assert_within_limits()


def test_an_arm_that_does_not_turn_is_a_fault(make_bench):
    bench = make_bench(safety={"track_error_rad": 0.3}).enter(Mode.TELEOP)
    bench.blocked = True
    out = bench.drive(80, 0, 0, 0, 0, 0, 1.0)
    assert out.mode == Mode.FAULT and "rad from its command (limit 0.3 rad)" in out.text


@pytest.mark.parametrize(
    ("values", "text"), [((0, 0, -40, 0, 0, 0), "force 40.0 N (limit 30.0 N)"), ((0, 0, 0, 6, 0, 0), "torque 6.0 Nm")]
)
def test_a_contact_that_lasts_is_a_fault_and_the_command_goes_back(make_bench, values, text):
    bench = make_bench(safety=LIMITS)
    wrench(bench, 0, 0, 0, 0, 0, 0)
    bench.hand = np.zeros(6)
    for i in range(10):
        wrench(bench, 0, 0, 20, 0, 0, 0)
        bench.run(1, **({"mode": Mode.TELEOP} if i == 0 else {}))
    bench.blocked = True
    for i in range(12):
        wrench(bench, *(values if i == 4 else (0, 0, -20, 0, 0, 0)))
        bench.drive(1, 0, 0, -0.1, 0, 0, 0)
    assert bench.core.mode == Mode.TELEOP, "one sample is noise"
    for _ in range(3):
        wrench(bench, *values)
        out = bench.run(1)
    assert out.mode == Mode.FAULT and text in out.text
    for _ in range(100):
        wrench(bench, *values)
        out = bench.run(1)
    assert out.pose is None and abs(out.commanded_pose[2] - bench.pose[2]) < 0.0015
    # Nothing starts while the contact lasts.
    for i in range(210):
        wrench(bench, *values)
        out = bench.run(1, **({"mode": Mode.STOPPED} if i == 0 else {"mode": Mode.HOLD} if i == 3 else {}))
    assert out.mode == Mode.STOPPED and any("the arm is in contact" in o.refused for o in bench.outputs)
    bench.assert_within_limits()


def test_a_wrench_that_is_not_heard_of_is_a_fault_where_a_limit_is_set(make_bench):
    bench = make_bench(safety=LIMITS)
    bench.run(205, mode=Mode.HOLD)
    assert any("measured wrench on robot/wrench never came" in out.refused for out in bench.outputs)
    wrench(bench, *np.zeros(6))
    for i in range(10):
        wrench(bench, *np.zeros(6))
        bench.run(1, mode=Mode.HOLD if i == 0 else None)
    assert bench.core.mode == Mode.HOLD
    out = bench.run(30)
    assert out.mode == Mode.FAULT and "robot/wrench is" in out.text


@pytest.mark.parametrize("source", ["robot", "arm"])
def test_problems_of_robot_and_back_end_are_faults_and_keep_a_mode_from_starting(bench, source):
    bench.enter(Mode.TELEOP).drive(40, *PUSH)
    bench.extra[f"{source}_problem"] = "reflex"
    out = bench.run(1)
    assert out.mode == Mode.FAULT and out.text == f"{source}: reflex" and out.pose is not None
    assert bench.run(60).pose is None
    bench.run(1100, resume=True)
    assert any(f"mode HOLD not reached: {source}: reflex" in o.refused for o in bench.outputs)
    bench.extra.clear()
    assert bench.run(10, resume=True).mode == Mode.HOLD
    bench.assert_within_limits()


def test_a_stream_that_is_too_slow_is_told_and_starts_nothing(bench):
    bench.extra["stream_problems"] = ("robot/ee_pose comes at 20 Hz, expected 100 Hz",)
    bench.run(205, mode=Mode.HOLD)
    assert any("comes at 20 Hz" in out.refused for out in bench.outputs) and bench.core.mode == Mode.STOPPED
    bench.extra.clear()
    bench.enter(Mode.HOLD)
    bench.extra["stream_problems"] = ("robot/ee_pose comes at 20 Hz, expected 100 Hz",)
    out = bench.run(5)
    assert out.mode == Mode.HOLD and "comes at 20 Hz" in out.text


def test_a_pose_far_outside_the_workspace_is_of_a_wrong_unit_and_starts_nothing(bench):
    bench.pose[:3] *= 1000.0  # millimetres
    bench.run(205, mode=Mode.HOLD)
    (refused,) = [out.refused for out in bench.outputs if out.refused]
    assert "measured pose on robot/ee_pose is" in refused and "outside the workspace (limit 0.5 m)" in refused
    assert all(out.pose is None for out in bench.outputs)
