"""The control law on a virtual clock: modes, holding, faults, limits."""

import numpy as np
import pytest
from dp_control.core import ControlCore, ControlInputs, Stamped
from dp_control.gripper import GripperChannel
from dp_control.modes import Mode
from dp_core.chunk_schedule import Chunk, ChunkSchedule
from dp_core.contract import load_contract

CONTRACT = load_contract("sim_franka")
PERIOD = CONTRACT.control.period_ns
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


class Bench:
    """Drives the core; the arm follows its command perfectly one cycle later."""

    def __init__(self):
        self.core = ControlCore(CONTRACT)
        self.t = 10**9
        self.pose = START.copy()
        self.width = 0.08
        self.frozen_ns = None
        self.outputs = []

    def run(self, cycles, mode=None, twist=None, chunks=(), widths=()):
        for i in range(cycles):
            self.t += PERIOD
            measured_ns = self.t if self.frozen_ns is None else self.frozen_ns
            stamped = None if twist is None else Stamped(self.t, np.array(twist, dtype=float))
            first = i == 0
            out = self.core.step(
                ControlInputs(
                    Stamped(measured_ns, self.pose.copy()), self.width, stamped, chunks if first else (),
                    widths if first else (), mode if first else None,
                ),
                self.t,
            )  # fmt: skip
            if out.pose is not None:
                if self.outputs and self.outputs[-1].pose is not None:
                    speed = np.linalg.norm(out.pose[:3] - self.outputs[-1].pose[:3]) / (PERIOD * 1e-9)
                    assert speed <= CONTRACT.limits.linear_velocity_m_s * 1.001
                self.pose = out.pose.copy()
            self.outputs.append(out)
        return self.outputs[-1]


@pytest.fixture
def bench():
    return Bench()


def started(bench, mode):
    assert bench.run(10, mode=mode).mode == mode
    return bench


def straight_chunk(t0, speed=0.1, n=16, chunk_id=0, width=0.08):
    stamps = t0 + np.arange(n, dtype=np.int64) * CONTRACT.action.period_ns
    poses = np.tile(START, (n, 1))
    poses[:, 1] = speed * (stamps - t0) * 1e-9
    return Chunk(chunk_id, int(t0), stamps, poses, np.full(n, width), 8)


def test_nothing_is_sent_before_a_mode_is_asked_for(bench):
    out = bench.run(5, twist=[0.2, 0, 0, 0, 0, 0])
    assert out.mode == Mode.STOPPED and all(o.pose is None for o in bench.outputs)


def test_a_running_mode_starts_at_the_measured_pose_taken_after_the_request(bench):
    bench.run(1, mode=Mode.TELEOP)
    assert bench.core.mode == Mode.STOPPED, "the sample at the request may be from before it"
    bench.pose = START + np.array([0.02, 0, 0, 0, 0, 0, 0])
    out = bench.run(6)
    assert out.mode == Mode.TELEOP
    np.testing.assert_allclose(out.pose, bench.pose)


def test_without_a_measured_pose_no_mode_is_entered(bench):
    bench.frozen_ns = bench.t
    bench.run(1, mode=Mode.TELEOP)
    bench.run(201)
    assert bench.core.mode == Mode.STOPPED
    assert any("no measured pose on robot/ee_pose" in o.refused for o in bench.outputs)
    assert all(o.pose is None for o in bench.outputs)


def test_teleop_integrates_the_twist(bench):
    started(bench, Mode.TELEOP)
    y0 = bench.pose[1]
    bench.run(100, twist=[0, 0.1, 0, 0, 0, 0])
    # 1 s at 0.1 m/s, less what the start at 6 m/s^2 costs (under one cycle's worth: 1 mm).
    assert bench.pose[1] - y0 == pytest.approx(0.1, abs=0.0015)


def test_teleop_holds_when_its_input_stops(bench):
    started(bench, Mode.TELEOP)
    bench.run(50, twist=[0.2, 0, 0, 0, 0, 0])
    last = Stamped(bench.t, np.array([0.2, 0, 0, 0, 0, 0]))
    poses = []
    for _ in range(60):
        bench.t += PERIOD
        out = bench.core.step(ControlInputs(Stamped(bench.t, bench.pose), 0.08, last), bench.t)
        bench.pose = out.pose.copy()
        poses.append(out.pose[0])
    assert not out.input_alive and "no teleop/twist newer than" in out.text
    assert poses[-1] == poses[-10]
    # At most max age plus the braking distance v^2 / (2 a).
    assert poses[-1] - poses[0] <= 0.2 * CONTRACT.control.input_max_age_s + 0.04 / 12 + 0.003


def test_policy_follows_a_chunk_and_holds_at_its_end(bench):
    started(bench, Mode.POLICY)
    t0 = bench.t
    bench.run(80, chunks=(straight_chunk(t0),))
    assert bench.pose[1] == pytest.approx(0.08, abs=1e-3)
    out = bench.run(200)
    assert bench.pose[1] == pytest.approx(0.15, abs=1e-6)
    assert not out.input_alive and "no newer chunk" in out.text


def test_a_late_chunk_is_reported_and_not_executed(bench):
    started(bench, Mode.POLICY)
    bench.run(400)
    bench.run(1, chunks=(straight_chunk(bench.t - 3 * 10**9),))
    assert "are late" in bench.outputs[-1].reports[0].stop_reason
    np.testing.assert_allclose(bench.run(20).pose, START)


def test_chunks_outside_policy_mode_do_nothing(bench):
    started(bench, Mode.TELEOP)
    bench.run(30, chunks=(straight_chunk(bench.t, speed=0.3),))
    np.testing.assert_allclose(bench.pose, START)


def test_stop_brakes_first_and_then_sends_nothing(bench):
    started(bench, Mode.TELEOP)
    bench.run(50, twist=[0.3, 0, 0, 0, 0, 0])
    bench.run(1, mode=Mode.STOPPED, twist=[0.3, 0, 0, 0, 0, 0])
    assert bench.outputs[-1].pose is not None
    out = bench.run(30, twist=[0.3, 0, 0, 0, 0, 0])
    assert out.mode == Mode.STOPPED and out.pose is None


def test_a_stale_measured_pose_is_a_fault_that_brakes(bench):
    started(bench, Mode.TELEOP)
    bench.run(50, twist=[0.2, 0, 0, 0, 0, 0])
    bench.frozen_ns = bench.t
    out = bench.run(60, twist=[0.2, 0, 0, 0, 0, 0])
    assert out.mode == Mode.FAULT and out.pose is None and "robot/ee_pose is" in out.text
    bench.frozen_ns = None
    out = bench.run(1, mode=Mode.TELEOP)
    assert "cannot follow FAULT" in out.refused
    assert bench.run(5, mode=Mode.STOPPED).mode == Mode.STOPPED
    assert started(bench, Mode.TELEOP).outputs[-1].text == "no teleop/twist newer than 0.15 s: holding"


def test_a_blocked_arm_is_a_fault(bench):
    started(bench, Mode.TELEOP)
    held = bench.pose.copy()
    for _ in range(120):
        bench.run(1, twist=[0.2, 0, 0, 0, 0, 0])
        bench.pose = held.copy()
    assert bench.core.mode == Mode.FAULT and "m from its command" in bench.outputs[-1].text


def test_unknown_modes_are_refused_with_the_valid_ones(bench):
    assert "valid: HOLD (0), TELEOP (1), POLICY (2), STOPPED (3)" in bench.run(1, mode=9).refused


def test_teleop_gripper_is_sent_once_per_change(bench):
    started(bench, Mode.TELEOP)
    bench.run(5, twist=[0] * 6, widths=(0.0,))
    bench.run(5, twist=[0] * 6, widths=(0.0,))
    assert sum(o.gripper_changed for o in bench.outputs) == 1 and bench.outputs[-1].width == 0.0


def test_gripper_hysteresis():
    gripper = GripperChannel(CONTRACT.gripper)
    gripper.start(0.079)
    changes = [gripper.follow(w) for w in (0.08, 0.04, 0.03, 0.02, 0.035, 0.05, 0.06)]
    assert changes == [False, False, False, True, False, False, True]
    assert gripper.width == 0.08


def test_a_closed_gripper_on_an_object_stays_closed_when_a_mode_starts():
    gripper = GripperChannel(CONTRACT.gripper)
    gripper.start(0.08)
    gripper.command(0.0)
    gripper.start(0.04)
    assert gripper.width == 0.0
    gripper.start(0.0795)
    assert gripper.width == 0.08


def test_a_stop_cannot_be_undone_while_the_arm_brakes(bench):
    started(bench, Mode.TELEOP)
    bench.run(50, twist=[0.3, 0, 0, 0, 0, 0])
    bench.run(1, mode=Mode.STOPPED, twist=[0.3, 0, 0, 0, 0, 0])
    out = bench.run(1, mode=Mode.TELEOP, twist=[0.3, 0, 0, 0, 0, 0])
    assert "being stopped" in out.refused
    assert bench.run(30, twist=[0.3, 0, 0, 0, 0, 0]).mode == Mode.STOPPED


def test_a_stop_is_reached_even_when_a_fault_comes_first(bench):
    started(bench, Mode.TELEOP)
    bench.run(50, twist=[0.3, 0, 0, 0, 0, 0])
    bench.frozen_ns = bench.t - 10**9
    bench.run(1, mode=Mode.STOPPED)
    assert bench.outputs[-1].mode == Mode.FAULT
    assert bench.run(30).mode == Mode.STOPPED and bench.core.pending is None


def test_chunks_from_the_future_or_from_before_the_mode_are_refused(bench):
    started(bench, Mode.POLICY)
    bench.run(
        1, chunks=(straight_chunk(bench.t + 3600 * 10**9, chunk_id=1), straight_chunk(bench.t - 10**9, chunk_id=2))
    )
    reasons = [report.stop_reason for report in bench.outputs[-1].reports]
    assert "in the future: the clocks differ" in reasons[0] and "before this mode began" in reasons[1]
    bench.run(80, chunks=(straight_chunk(bench.t, chunk_id=3),))
    assert bench.pose[1] == pytest.approx(0.08, abs=1e-3), "a refused chunk must not keep out a good one"


def test_a_measured_pose_from_the_future_neither_starts_nor_sustains_a_mode(bench):
    bench.frozen_ns = bench.t + 5 * 10**9
    bench.run(1, mode=Mode.TELEOP)
    assert bench.run(20).mode == Mode.STOPPED
    bench.frozen_ns = None
    bench.run(1, mode=Mode.STOPPED)
    started(bench, Mode.TELEOP)
    bench.frozen_ns = bench.t + 5 * 10**9
    assert bench.run(2).mode == Mode.FAULT


def test_a_clock_that_goes_back_is_a_fault(bench):
    started(bench, Mode.POLICY)
    bench.run(20, chunks=(straight_chunk(bench.t, speed=0.3),))
    bench.t -= 5 * 10**9
    assert bench.run(1).mode == Mode.FAULT and "clock went back by 4.99 s" in bench.outputs[-1].text


def test_a_blocked_arm_is_not_pushed_for_ever(bench):
    started(bench, Mode.TELEOP)
    held = bench.pose.copy()
    for _ in range(300):
        out = bench.run(1, twist=[0.2, 0, 0, 0, 0, 0])
        bench.pose = held.copy()
    assert out.mode == Mode.FAULT and out.pose is None
    assert np.linalg.norm(out.commanded_pose[:3] - held[:3]) < 0.011


def test_asking_for_the_present_mode_again_keeps_the_plan(bench):
    started(bench, Mode.POLICY)
    bench.run(40, chunks=(straight_chunk(bench.t),))
    out = bench.run(40, mode=Mode.POLICY)
    assert not out.refused and bench.pose[1] == pytest.approx(0.08, abs=1e-3)


def test_the_gripper_has_its_own_latency():
    schedule = ChunkSchedule(action_latency_ns=0, gripper_latency_ns=250_000_000)
    chunk = straight_chunk(0)
    closing = Chunk(0, 0, chunk.stamps_ns, chunk.poses, np.where(np.arange(16) < 8, 0.08, 0.0), 8)
    schedule.merge(closing, 0, START)
    widths = {t_ms: schedule.target(t_ms * 1_000_000).width for t_ms in (540, 550, 560)}
    # The fingers close in the world at 800 ms, so the command goes out at 550 ms.
    assert widths == {540: 0.08, 550: 0.0, 560: 0.0}
