"""Fades of seams that follow one another: plans that agree are followed however often they are merged."""

import numpy as np
import pytest
from dp_core.chunk_schedule import Chunk, ChunkSchedule
from dp_core.limits import MotionLimits
from dp_core.motion_limits import Motion
from dp_core.poses import pose_distance, quat_from_rotvec

MS = 1_000_000
STEP_MS = 10
LIMITS = MotionLimits(0.6, 2.0, 6.0, 20.0, (-5.0, -5.0, -5.0), (5.0, 5.0, 5.0))


def straight(times_s, speed=0.3, turning=0.0):
    """Poses (n, 7) along x at a constant speed, turning about it."""
    along = np.outer(times_s, (1.0, 0.0, 0.0))
    return np.concatenate([speed * along, quat_from_rotvec(turning * along)], axis=1)


def swinging(times_s, speed):
    """Poses (n, 7) that swing by 0.25 m along x with a largest speed."""
    x = 0.25 * np.sin(speed / 0.25 * np.asarray(times_s))
    return np.stack([x, *np.zeros((5, len(x))), np.ones_like(x)], axis=1)


def follow(plan, begin, every_ms, seconds=4.0, noise_m=0.0):
    """References (n, 7) of one plan in chunks that are 0.1 s old, beside what the plan asks for at these times."""
    schedule = ChunkSchedule(limits=LIMITS, period_ns=STEP_MS * MS)
    rng = np.random.default_rng(0)
    times_ms = np.arange(0, round(1000 * seconds), STEP_MS)
    found = []
    for t_ms in times_ms:
        if t_ms % every_ms == 0:
            stamps_ms = t_ms - 100 + 100 * np.arange(16)
            poses = plan(1e-3 * stamps_ms)
            poses[:, :3] += noise_m * rng.normal(size=3)
            stamps = (stamps_ms * MS).astype(np.int64)
            assert schedule.merge(Chunk(int(t_ms), int(stamps[0]), stamps, poses, np.zeros(16), 8), t_ms * MS, begin)[1]
        found.append(schedule.target(int(t_ms) * MS).pose)
    return np.array(found), plan(1e-3 * times_ms)


def at(x, turn=0.0):
    return Motion.at_rest(np.r_[x, 0.0, 0.0, quat_from_rotvec(np.array([turn, 0.0, 0.0]))])


PLANS = {
    "slow, far off": (lambda t: straight(t, 0.3), at(-0.3)),
    "1.3 times the limit": (lambda t: straight(t, 0.78), at(-0.1)),
    "twice the limit": (lambda t: straight(t, 1.2), at(0.0)),
    "swings within the limit, far off": (lambda t: swinging(t, 0.5), at(-0.3)),
    "swings at 1.3 times the limit": (lambda t: swinging(t, 0.78), at(0.0)),
    "turns at 1.3 times the limit": (lambda t: straight(t, 0.0, 2.6), at(0.0, -0.5)),
}


@pytest.mark.parametrize("every_ms", [100, 250, 500, 800])
@pytest.mark.parametrize("name", PLANS)
def test_a_plan_that_is_merged_again_and_again_is_caught_up_with(name, every_ms):
    """The difference at the beginning is gone after 3.5 s, and meanwhile the reference never goes far aside."""
    found, asked = follow(*PLANS[name], every_ms)
    metres, radians = pose_distance(found, asked)
    assert metres[350:].max() < 1e-3 and radians[350:].max() < 1e-3
    assert metres.max() < metres[0] + 0.35 and radians.max() < radians[0] + 0.8


def test_merging_often_changes_nothing_while_the_plans_agree():
    """A straight plan is the same spline in each chunk: merged ten times a second or once, the reference is one."""
    plan, begin = PLANS["1.3 times the limit"]
    often, _ = follow(plan, begin, 100, seconds=1.2)
    once, _ = follow(plan, begin, 5000, seconds=1.2)
    # 1.2 s: the end of the first chunk, on which the one that is merged once brakes, is 0.2 s away.
    assert often[:, :3] == pytest.approx(once[:, :3], abs=1e-6)
    assert np.abs(once[-1, :3] - plan([1.19])[0, :3]).max() < 1e-6, "the fade has ended meanwhile"


@pytest.mark.parametrize("every_ms", [100, 250])
def test_plans_that_scatter_are_followed_within_their_scatter(every_ms):
    """Chunks scatter by 3 cm (one sigma in each direction); 4 sigma in space would be 0.2 m."""
    found, asked = follow(lambda t: swinging(t, 0.4), at(0.0), every_ms, noise_m=0.03)
    assert pose_distance(found, asked)[0].max() < 0.15


def test_a_plan_that_turns_elsewhere_gets_a_fade_of_its_own():
    """At 0.5 s the plan of rest at 0.2 m becomes one of rest at -0.2 m: the fade of 0.2 m does not go on."""
    schedule = ChunkSchedule(limits=LIMITS)
    for now_ms, x in ((0, 0.2), (500, -0.2)):
        stamps = (now_ms + 100 * np.arange(40)).astype(np.int64) * MS
        poses = np.tile([x, 0, 0, 0, 0, 0, 1.0], (40, 1))
        schedule.merge(Chunk(now_ms, int(stamps[0]), stamps, poses, np.zeros(40), 8), now_ms * MS, at(0.0))
    x = np.array([schedule.target(t * MS).pose[0] for t in range(500, 3900, 10)])
    # Minimum jerk over 0.2 m at 0.3 m/s is 1.25 s at least: at 0.5 s of it, 0.065 m and at most 0.3 m/s.
    assert x.max() < 0.13 and x[-1] == pytest.approx(-0.2, abs=1e-6)
