"""Chunks on the absolute timeline; times and counts worked by hand."""

import numpy as np
import pytest
from dp_core.chunk_schedule import Chunk, ChunkError, ChunkSchedule
from dp_core.limits import MotionLimits, SafetySpec
from dp_core.motion_limits import Motion, MotionLimiter
from dp_core.poses import pose_distance, quat_from_rotvec, quat_inverse, quat_multiply, rotvec_from_quat

MS = 1_000_000
LIMITS = MotionLimits(0.6, 2.0, 6.0, 20.0, (0.25, -0.4, 0.005), (0.75, 0.4, 0.6))
REST = Motion.at_rest(np.array([0.0, 0, 0, 0, 0, 0, 1.0]))


def chunk(start_ms=0, n=16, x0=0.0, speed=0.1, chunk_id=0, widths=None):
    stamps = (start_ms + 100 * np.arange(n)) * MS
    poses = np.tile([0.0, 0, 0, 0, 0, 0, 1.0], (n, 1))
    poses[:, 0] = x0 + speed * (stamps - stamps[0]) * 1e-9
    return Chunk(chunk_id, int(stamps[0]), stamps.astype(np.int64), poses, np.zeros(n) if widths is None else widths, 8)


def curve(start_ms=0, n=16, seed=0, chunk_id=0):
    """A random smooth plan in all six directions."""
    rng = np.random.default_rng(seed)
    stamps = (start_ms + 100 * np.arange(n)) * MS
    phase, t = rng.uniform(0, 6, 6), 1e-9 * stamps[:, None]
    values = np.sin(2.0 * t + phase) * (0.05, 0.05, 0.05, 0.3, 0.3, 0.3)
    poses = np.concatenate([values[:, :3], quat_from_rotvec(values[:, 3:])], axis=1)
    return Chunk(chunk_id, int(stamps[0]), stamps.astype(np.int64), poses, np.zeros(n), 8)


def moving(x, speed):
    pose = REST.pose.copy()
    pose[0] = x
    return Motion(pose, np.array([speed, 0, 0, 0, 0, 0]))


def sampled(schedule, begin_ms, end_ms, step_us=1000):
    times = np.arange(begin_ms * 1000, end_ms * 1000, step_us) * 1000
    return times * 1e-9, [schedule.target(int(t)) for t in times]


def test_waypoint_i_belongs_to_its_absolute_time():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, REST)
    # From rest the fade of the first 0.3 s brings the arm up to speed; then the plan is followed at its times.
    for t_ms, x in ((300, 0.03), (450, 0.045), (1300, 0.13)):
        assert schedule.target(t_ms * MS).pose[0] == pytest.approx(x, abs=1e-12)
    assert schedule.target(1310 * MS).twist[0] == pytest.approx(0.1, rel=1e-9)


def test_action_latency_sends_early_and_makes_more_actions_late():
    schedule = ChunkSchedule(action_latency_ns=120 * MS)
    schedule.merge(chunk(), 250 * MS, moving(0.037, 0.1))
    # Now + latency = 370 ms: the actions of 0, 100, 200, 300 ms are late.
    assert schedule.record.late == 4
    assert schedule.target(480 * MS).pose[0] == pytest.approx(0.06, abs=1e-9)
    assert schedule.target(480 * MS).path_ns == 600 * MS


def test_a_waypoint_exactly_due_is_late():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 300 * MS, REST)
    assert schedule.record.late == 4


def test_a_chunk_that_is_all_late_is_refused():
    schedule = ChunkSchedule()
    record, taken = schedule.merge(chunk(), 1500 * MS, REST)
    assert not taken and "all 16 actions are late" in record.stop_reason and schedule.target(1500 * MS) is None


@pytest.mark.parametrize("start_ms", [400, 500])
def test_an_older_or_repeated_chunk_never_replaces_a_newer_one(start_ms):
    schedule = ChunkSchedule()
    schedule.merge(chunk(start_ms=500, chunk_id=2), 500 * MS, REST)
    record, taken = schedule.merge(chunk(start_ms=start_ms, chunk_id=1), 550 * MS, REST)
    assert not taken and "older than chunk 2" in record.stop_reason
    assert record.late + record.superseded == 16
    assert schedule.record.chunk.chunk_id == 2


def test_the_seam_fades_a_hand_worked_offset():
    schedule = ChunkSchedule(blend_ns=400 * MS)
    schedule.merge(chunk(), 0, REST)
    old = schedule.target(800 * MS).pose[0]
    _, taken = schedule.merge(chunk(start_ms=700, x0=0.12, chunk_id=1), 800 * MS, REST)
    # At 800 ms: old path 0.08, new path 0.12 + 0.01 = 0.13: a seam of 0.05 m; the command goes on from 0.08.
    assert taken and schedule.record.seam_position_m == pytest.approx(0.05, abs=1e-12)
    assert schedule.target(800 * MS).pose[0] == pytest.approx(old, abs=1e-12)
    # Half way a minimum-jerk curve has done half: new path 0.15 less 0.025, at 0.1 + 1.875 * 0.05 / 0.4 m/s.
    half = schedule.target(1000 * MS)
    assert half.pose[0] == pytest.approx(0.125, abs=1e-12) and half.twist[0] == pytest.approx(0.1 + 0.234375)
    assert schedule.target(1200 * MS).pose[0] == pytest.approx(0.17, abs=1e-12)


def test_a_large_seam_takes_longer_and_stays_modest():
    schedule = ChunkSchedule(blend_ns=100 * MS)
    schedule.merge(chunk(speed=0.0), 0, REST)
    schedule.merge(chunk(start_ms=500, x0=0.5, speed=0.0, chunk_id=1), 550 * MS, REST)
    _, targets = sampled(schedule, 550, 3000)
    # Half of 0.6 m/s, as peak of a minimum-jerk curve over 0.5 m: 1.875 * 0.5 / 0.3 = 3.1 s at least.
    assert max(t.twist[0] for t in targets) <= 0.3 + 1e-9
    assert schedule.target(5000 * MS).pose[0] == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(6))
def test_pose_velocity_and_acceleration_go_on_at_every_seam(seed):
    """Three chunks that disagree; the command at the first is in motion. Nothing steps, and rates are derivatives."""
    rng = np.random.default_rng(seed)
    begin = Motion(curve(seed=9).poses[0], rng.normal(size=6) * 0.2, rng.normal(size=6))
    schedule = ChunkSchedule()
    schedule.merge(curve(seed=seed), 50 * MS, begin)
    first = schedule.target(50 * MS)
    assert pose_distance(first.pose, begin.pose)[0] < 1e-12 and pose_distance(first.pose, begin.pose)[1] < 1e-7
    assert first.twist == pytest.approx(begin.twist, abs=1e-12)
    assert first.acceleration == pytest.approx(begin.acceleration, abs=1e-9)
    for k, now_ms in ((1, 333), (2, 777)):
        before = schedule.target(now_ms * MS)
        assert schedule.merge(curve(now_ms - 120, seed=seed + 10 * k, chunk_id=k), now_ms * MS, REST)[1]
        after = schedule.target(now_ms * MS)
        assert pose_distance(before.pose, after.pose)[1] < 1e-7 and before.pose[:3] == pytest.approx(after.pose[:3])
        assert after.twist == pytest.approx(before.twist, abs=1e-12)
        assert after.acceleration == pytest.approx(before.acceleration, abs=1e-9)
        _, targets = sampled(schedule, now_ms, now_ms + 400)
        poses = np.array([t.pose for t in targets])
        turn = rotvec_from_quat(quat_multiply(poses[2:, 3:], quat_inverse(poses[:-2, 3:])))
        velocity = np.concatenate([poses[2:, :3] - poses[:-2, :3], turn], axis=1) / 0.002
        twists = np.array([t.twist for t in targets])
        assert twists[1:-1] == pytest.approx(velocity, abs=2e-3)
        change = (twists[2:] - twists[:-2]) / 0.002
        assert np.array([t.acceleration for t in targets])[1:-1] == pytest.approx(change, abs=0.2)


def test_the_first_chunk_goes_on_from_a_command_one_period_old():
    schedule = ChunkSchedule(period_ns=10 * MS)
    schedule.merge(chunk(), 300 * MS, moving(0.029, 0.1))
    # The command of 290 ms is on the plan, so the plan goes on as if it had always been followed.
    for t_ms in (300, 310, 450):
        assert schedule.target(t_ms * MS).pose[0] == pytest.approx(1e-4 * t_ms, abs=1e-9)


def test_counts_of_a_replaced_chunk_add_up():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 150 * MS, REST)
    for t in range(150, 851, 10):
        schedule.target(t * MS)
    record, _ = schedule.merge(chunk(start_ms=800, chunk_id=1), 850 * MS, REST)
    # 0, 100 ms late; 200 ... 800 ms executed; 900 ... 1500 ms superseded.
    assert (record.late, record.executed, record.superseded) == (2, 7, 7)
    assert record.first_executed_ns == 200 * MS


def test_counts_of_a_cleared_chunk_add_up():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 150 * MS, REST)
    schedule.target(420 * MS)
    record = schedule.clear("mode changed")
    assert (record.late, record.executed, record.superseded, record.stop_reason) == (2, 3, 11, "mode changed")
    assert schedule.record is None and schedule.target(430 * MS) is None


def test_the_end_of_a_plan_is_rest_on_its_last_action():
    """0.1 m/s at the end: sqrt(6 * 0.1 / 75) = 89.4 ms of braking, half of it after the last action's time."""
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, moving(0.0, 0.1))
    times, targets = sampled(schedule, 1300, 1700)
    x = np.array([t.pose[0] for t in targets])
    assert np.all(np.diff(x) >= 0.0) and x.max() == pytest.approx(0.15, abs=1e-12)
    braking = [t for t, target in zip(times, targets, strict=True) if target.twist[0] < 0.1 - 1e-9]
    assert braking[0] == pytest.approx(1.5 - 0.0447, abs=2e-3)
    ended = [t for t, target in zip(times, targets, strict=True) if target.ended]
    assert ended[0] == pytest.approx(1.5 + 0.0447, abs=2e-3)
    assert next(t for t, target in zip(times, targets, strict=True) if target.exhausted) == pytest.approx(1.5)
    end = targets[-1]
    assert not np.any(end.twist) and not np.any(end.acceleration) and end.path_ns == 1500 * MS
    # Limits alone: half of 6 m/s^2 and of 150 m/s^3.
    assert min(t.acceleration[0] for t in targets) >= -3.0
    assert schedule.clear().executed == 15


def test_a_limiter_ends_where_the_plan_ends_without_passing_it():
    schedule, limiter = ChunkSchedule(), MotionLimiter(LIMITS, SafetySpec(), 0.01)
    limiter.start(np.r_[0.5, 0, 0.3, 0, 0, 0, 1])
    plan = chunk(x0=0.5, speed=0.15)
    plan.poses[:, 2] = 0.3
    schedule.merge(plan, 0, limiter.motion)
    xs = []
    for k in range(250):
        target = schedule.target(10 * k * MS)
        limiter.follow_pose(target.pose, target.twist, target.acceleration)
        xs.append(limiter.motion.pose[0])
    assert max(xs) <= 0.725 + 5e-6 and xs[-1] == pytest.approx(0.725, abs=1e-9) and limiter.motion.resting


def test_a_chunk_that_comes_while_braking_is_merged_at_its_own_time():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, moving(0.0, 0.1))
    before = schedule.target(1510 * MS)
    assert 0.0 < before.twist[0] < 0.1 and before.path_ns < 1510 * MS
    record, taken = schedule.merge(chunk(start_ms=1400, x0=0.14, chunk_id=1), 1510 * MS, REST)
    after = schedule.target(1510 * MS)
    assert taken and after.twist == pytest.approx(before.twist) and after.path_ns == 1510 * MS
    assert after.acceleration == pytest.approx(before.acceleration) and schedule.record.late == 2
    # The last action of the old chunk, due at 1500 ms, was not reached any more: 0 late, 14 passed.
    assert (record.late, record.executed, record.superseded) == (1, 14, 1)
    assert schedule.target(2000 * MS).pose[0] == pytest.approx(0.20, abs=1e-9)


def test_one_action_is_approached_by_its_time():
    schedule = ChunkSchedule()
    schedule.merge(chunk(start_ms=1000, n=1, x0=0.1), 0, REST)
    _, targets = sampled(schedule, 0, 1200)
    x = np.array([t.pose[0] for t in targets])
    # Minimum jerk over the second that there is: half way at half time.
    assert x[500] == pytest.approx(0.05) and x[1000] == pytest.approx(0.1) and np.all(np.diff(x) >= 0.0)
    assert targets[1001].ended and not targets[900].ended and schedule.record.executed == 1


def test_a_plan_in_the_future_begins_at_its_first_action_at_its_time():
    schedule = ChunkSchedule()
    schedule.merge(chunk(start_ms=1000, x0=0.1), 0, REST)
    _, targets = sampled(schedule, 0, 1300)
    assert targets[1000].pose[0] == pytest.approx(0.1, abs=2e-3) and targets[500].pose[0] == pytest.approx(
        0.05, abs=1e-3
    )
    assert targets[1200].pose[0] == pytest.approx(0.12, abs=1e-9)
    assert all(t.path_ns <= 1000 * MS for t in targets[:1000])


def test_too_little_plan_to_brake_on_is_approached_as_a_place():
    schedule = ChunkSchedule()
    schedule.merge(chunk(speed=0.4), 1450 * MS, moving(0.57, 0.4))
    _, targets = sampled(schedule, 1450, 2500)
    twists, changes = (np.array([getattr(t, f)[0] for t in targets]) for f in ("twist", "acceleration"))
    assert twists[0] == pytest.approx(0.4) and targets[-1].ended and targets[-1].pose[0] == pytest.approx(0.6)
    assert np.abs(changes).max() <= 3.6 + 1e-9, "the fade uses 60 % of the acceleration at most"


def test_a_clock_that_goes_back_does_not_move_the_path_back():
    schedule = ChunkSchedule()
    schedule.merge(chunk(), 0, REST)
    at = schedule.target(900 * MS)
    back = schedule.target(400 * MS)
    assert back.pose[0] == at.pose[0] and back.path_ns == at.path_ns
    assert schedule.merge(chunk(start_ms=50, x0=0.0, chunk_id=1), 400 * MS, REST)[1]
    assert schedule.target(400 * MS).path_ns == 900 * MS and schedule.record.late == 9


def test_gripper_widths_are_never_averaged_and_have_their_own_latency():
    widths = np.where(np.arange(16) < 5, 0.08, 0.0)
    schedule = ChunkSchedule()
    schedule.merge(chunk(widths=widths), 0, REST)
    seen = {schedule.target(t * MS).width for t in range(0, 1500, 7)}
    assert seen == {0.08, 0.0}
    for latency_ms in (0, 130):
        schedule = ChunkSchedule(gripper_latency_ns=latency_ms * MS)
        schedule.merge(chunk(widths=widths), 0, REST)
        assert schedule.target((499 - latency_ms) * MS).width == 0.08
        assert schedule.target((500 - latency_ms) * MS).width == 0.0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c["poses"].__setitem__((3, 0), np.nan), "not finite"),
        (lambda c: c["poses"].__setitem__((2, slice(3, 7)), 0.0), "norm 0.000"),
        (lambda c: c["stamps_ns"].__setitem__(4, c["stamps_ns"][3]), "not strictly increasing"),
        (lambda c: c.__setitem__("widths", np.zeros(3)), "one pose7 and one width"),
    ],
)
def test_bad_chunks_are_refused(spoil, message):
    good = chunk()
    fields = {
        "chunk_id": 7, "observed_ns": 0, "stamps_ns": good.stamps_ns.copy(), "poses": good.poses.copy(),
        "widths": good.widths.copy(), "committed": 8,
    }  # fmt: skip
    spoil(fields)
    with pytest.raises(ChunkError, match=message):
        Chunk(**fields)
