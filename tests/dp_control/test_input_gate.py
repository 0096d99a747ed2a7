"""The gates of the inputs: what is refused, what is counted, and how a stream recovers."""

import numpy as np
import pytest
from dp_control.input_gate import InputGate, StreamGate
from dp_core.contract import load_contract
from dp_core.poses import quat_from_rotvec, quat_multiply

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
MS = 1_000_000


def moved(x=0.0, y=0.0):
    """The first pose, somewhere else."""
    return np.array([0.5 + x, y, 0.3, 1.0, 0.0, 0.0, 0.0])


@pytest.fixture
def gate():
    return InputGate(CONTRACT)


def feed(gate, count, t_ns, pose=START, step_ns=10 * MS):
    """Good poses at 100 Hz; returns the time of the last."""
    for _ in range(count):
        t_ns += step_ns
        assert gate.pose.offer(t_ns, pose, t_ns, "fr3_link0") == ""
    return t_ns


@pytest.mark.parametrize(
    ("pose", "frame", "shift_ns", "reason", "text"),
    [
        (START, "world", 0, "frame", "is in frame 'world', expected 'fr3_link0'"),
        (START * np.nan, "fr3_link0", 0, "not finite", "is not finite"),
        (START * [1, 1, 1, 0, 0, 0, 0], "fr3_link0", 0, "value", "quaternion of norm 0.0000"),
        (START * [1, 1, 1, 1.2, 0, 0, 0], "fr3_link0", 0, "value", "quaternion of norm 1.2000"),
        (START[:6], "fr3_link0", 0, "size", "has shape (6,), expected (7,)"),
        (START, "fr3_link0", -10 * MS, "repeated", "repeats a stamp"),
        (START, "fr3_link0", -30 * MS, "older", "stamp that goes back"),
        (START, "fr3_link0", 200 * MS, "future", "is stamped 0.20 s in the future"),
        (moved(x=0.1), "fr3_link0", 0, "jump", "jumped by 0.100 m"),
    ],
)
def test_a_bad_pose_is_refused_counted_and_leaves_the_good_one(gate, pose, frame, shift_ns, reason, text):
    t = feed(gate, 5, 0)
    problem = gate.pose.offer(t + 10 * MS + shift_ns, pose, t + 10 * MS, frame)
    assert problem.startswith("robot/ee_pose") and text in problem
    assert gate.pose.refused == {reason: 1} and gate.pose.newest.t_ns == t
    feed(gate, 1, t)  # the next good one is taken


def test_the_other_sign_of_a_quaternion_is_no_jump(gate):
    t = feed(gate, 2, 0)
    feed(gate, 2, t, pose=START * [1, 1, 1, -1, -1, -1, -1])


def test_flips_by_half_a_turn_are_refused_and_starts_are_held_off(gate):
    t = feed(gate, 20, 0)
    flipped = np.concatenate([START[:3], quat_multiply(quat_from_rotvec([0, 0, np.pi]), START[3:])])
    for _ in range(5):
        t += 10 * MS
        assert "jumped by 0.000 m and 3.14 rad" in gate.pose.offer(t, flipped, t, "fr3_link0")
        t = feed(gate, 1, t)
    assert gate.inputs(t).stream_problems == ("robot/ee_pose jumped 0.01 s ago",)
    t = feed(gate, 40, t)
    assert gate.inputs(t).stream_problems == ()


def test_a_jump_that_stays_is_believed_after_50_ms(gate):
    t = feed(gate, 5, 0)
    elsewhere = moved(y=0.2)  # a scene that was reset, an arm that was guided while nobody looked
    outcomes = []
    for _ in range(8):
        t += 10 * MS
        outcomes.append(gate.pose.offer(t, elsewhere, t, "fr3_link0") == "")
    assert outcomes == [False] * 5 + [True] * 3


def test_the_rate_is_measured_on_the_stamps(gate):
    t = feed(gate, 60, 0, step_ns=40 * MS)
    assert gate.pose.rate_hz() == pytest.approx(25.0)
    assert gate.inputs(t).stream_problems == ("robot/ee_pose comes at 25 Hz, expected 100 Hz",)
    t = feed(gate, 60, t)
    assert gate.pose.rate_hz() == pytest.approx(100.0) and gate.inputs(t).stream_problems == ()


def test_a_clock_that_was_set_back_does_not_shut_the_stream_out(gate):
    t = feed(gate, 5, 100 * 10**9)
    assert gate.pose.offer(t - 5 * MS, START, t, "fr3_link0") != ""
    feed(gate, 5, 50 * 10**9)
    assert gate.pose.newest.t_ns == 50 * 10**9 + 50 * MS


def test_latency_is_taken_off_the_stamp():
    gate = StreamGate("x", 1, latency_s=0.02)
    assert gate.offer(100 * MS, np.ones(1), 100 * MS) == "" and gate.newest.t_ns == 80 * MS


def test_inputs_carry_the_newest_of_each_stream(gate):
    t = feed(gate, 3, 0)
    gate.width.offer(t, np.array([0.05]), t)
    gate.twist.offer(t, np.arange(6.0), t, "fr3_link0")
    gate.dead_man.offer(t, np.ones(1), t)
    inputs = gate.inputs(t)
    assert inputs.measured_width == 0.05 and inputs.dead_man.held and inputs.twist.value[5] == 5.0
    assert gate.joints is None and gate.wrench is None, "nobody asked for them"


def test_random_garbage_never_passes(gate):
    rng = np.random.default_rng(0)
    t = feed(gate, 5, 0)
    for _ in range(2000):
        t += 10 * MS
        pose = np.where(rng.random(7) < 0.3, rng.choice([np.nan, np.inf, -np.inf, 1e300, 0.0], 7), rng.normal(size=7))
        gate.pose.offer(t, pose, t, "fr3_link0")
        newest = gate.pose.newest.value
        assert np.all(np.isfinite(newest)) and abs(np.linalg.norm(newest[3:]) - 1) < 0.011
