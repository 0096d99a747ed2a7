"""No input makes the command leave its limits; what can be followed is followed exactly. Expected numbers by hand."""

import dataclasses

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_core.limits import KeepOutBox, MotionLimits, OrientationCone, SafetySpec
from dp_core.motion_limits import MotionLimiter
from dp_core.poses import pose_distance, quat_from_rotvec, quat_multiply
from hypothesis import given, settings
from hypothesis import strategies as st

SIM = load_contract("sim_franka").limits
DOWN = np.array([1.0, 0.0, 0.0, 0.0])
START = np.r_[0.5, 0.0, 0.3, DOWN]
NOTHING = SafetySpec()
STILL = np.zeros(6)
RATES = [100, 250, 500]


def limiter_at(pose=START, limits=SIM, safety=NOTHING, rate_hz=100):
    limiter = MotionLimiter(limits, safety, 1.0 / rate_hz)
    limiter.start(pose)
    return limiter


def played(limiter, steps, step):
    """Motions of ``steps`` calls of step(limiter, k), the start first."""
    motions, names = [limiter.motion], set()
    for k in range(steps):
        names.update(step(limiter, k))
        motions.append(limiter.motion)
    return motions, names


def poses_of(motions):
    return np.array([m.pose for m in motions])


def reversals(values, noise=1e-3):
    """How often a signal changes its sign, leaving out what nobody could feel."""
    felt = values[np.abs(values) > noise]
    return int(np.sum(np.diff(np.sign(felt)) != 0))


# Random inputs ---------------------------------------------------------------------------------------------------


def random_cell(rng):
    """Limits over all of their range, and a region with anything in it."""
    limits = MotionLimits(
        *(10.0 ** rng.uniform((-1.5, -1.0, -1.0, 0.0), (0.45, 1.0, 1.3, 2.0))),
        workspace_min_m=(0.25, -0.4, 0.005),
        workspace_max_m=(0.75, 0.4, 0.6),
        linear_jerk_m_s3=10.0 ** rng.uniform(0.5, 3.5),
        angular_jerk_rad_s3=10.0 ** rng.uniform(1.0, 4.0),
    )
    boxes = {}
    for i in range(rng.integers(0, 3)):
        centre, half = rng.uniform((0.25, -0.4, 0.0), (0.75, 0.4, 0.6)), rng.uniform(0.005, 0.15, 3)
        boxes[f"box{i}"] = KeepOutBox(tuple(centre - half), tuple(centre + half))
    safety = SafetySpec(
        table_height_m=rng.choice([None, 0.05]),
        orientation_cone=OrientationCone(rng.uniform(0.05, 3.0)) if rng.random() < 0.6 else None,
        keep_out=boxes,
    )
    return limits, safety


def any_command(rng, here):
    """A function that plays one random kind of command."""
    twist = rng.normal(size=6) * 10.0 ** rng.uniform(-2.0, rng.choice([1.0, 9.0]))
    target = np.r_[rng.uniform((0.1, -0.6, -0.2), (0.9, 0.6, 0.8)), rng.normal(size=4)]
    if rng.random() < 0.3:  # half a turn away
        target[3:] = quat_multiply(quat_from_rotvec(np.pi * np.eye(3)[rng.integers(3)]), here[3:])
    if rng.random() < 0.1:
        target[:3] *= 1e12
    commands = [
        lambda limiter, k: limiter.brake(),
        lambda limiter, k: limiter.follow_twist(twist),
        lambda limiter, k: limiter.follow_pose(target, STILL, STILL),
        lambda limiter, k: limiter.follow_pose(target, twist, rng.normal(size=6) * 100.0),
    ]
    return commands[rng.choice(4, p=(0.1, 0.4, 0.3, 0.2))]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([50, 100, 250, 500, 1000]))
def test_random_commands_never_break_a_limit(judge_motion, seed, rate_hz):
    rng = np.random.default_rng(seed)
    limits, safety = random_cell(rng)
    quat = DOWN + rng.normal(size=4) * rng.choice([0.0, 0.1, 1.0])
    start = np.r_[rng.uniform((0.2, -0.5, -0.05), (0.8, 0.5, 0.65)), quat / np.linalg.norm(quat)]
    limiter = limiter_at(start, limits, safety, rate_hz)
    poses = [start]
    for _ in range(8):
        motions, _ = played(limiter, int(rng.integers(1, 40)), any_command(rng, poses[-1]))
        poses.extend(poses_of(motions[1:]))
    judge_motion(poses, 1.0 / rate_hz, limits, safety)


def test_the_judge_sees_a_broken_limit(judge_motion):
    """The judge itself: 6.1 m/s^2 for one period, then 0.02 mm through a wall."""
    poses = np.tile(START, (6, 1))
    poses[3:, 0] += 0.03 * 0.01
    with pytest.raises(AssertionError, match="jerk"):
        judge_motion(poses, 0.01, SIM, NOTHING)
    loose = dataclasses.replace(SIM, linear_jerk_m_s3=10000.0)
    poses[3:, 0] = START[0] + 6.1e-4
    with pytest.raises(AssertionError, match="linear_acceleration"):
        judge_motion(poses, 0.01, loose, NOTHING)
    inside = np.tile(START, (6, 1))
    inside[:, 2] = 0.005
    inside[4:, 2] -= 2e-9
    with pytest.raises(AssertionError, match="below 2"):
        judge_motion(inside, 0.01, SIM, NOTHING)


# Velocity --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("speed", [0.01, 0.1, 0.25, 0.55])
def test_a_step_of_twist_rises_without_overshoot_and_in_time(rate_hz, speed):
    motions, _ = played(
        limiter_at(rate_hz=rate_hz), rate_hz // 2, lambda m, k: m.follow_twist(np.r_[0, speed, 0, STILL[:3]])
    )
    speeds = np.array([m.twist[1] for m in motions])
    assert np.all(np.diff(speeds) >= -1e-12) and speeds[-1] == pytest.approx(speed, rel=1e-4)
    # The limits allow v/A + A/J or 2 sqrt(v/J); settling to 1 % may take a quarter of a second beyond that.
    quickest = speed / 6.0 + 0.04 if speed > 0.24 else 2.0 * np.sqrt(speed / 150.0)
    assert np.argmax(speeds > 0.99 * speed) / rate_hz < quickest + 0.25


def test_the_first_period_is_limited_by_jerk_and_says_so():
    limiter = limiter_at()
    names = limiter.follow_twist(np.array([0.5, 0, 0, 0, 0, 0]))
    # 97 % of 150 m/s^3 over 10 ms.
    assert limiter.motion.acceleration[0] == pytest.approx(1.455)
    assert limiter.motion.twist[0] == pytest.approx(0.01455)
    assert "linear_jerk" in names and not any("angular" in name for name in names)


def test_a_twist_beyond_the_limit_keeps_its_direction():
    limiter = limiter_at()
    _, names = played(limiter, 40, lambda m, k: m.follow_twist(np.array([3.0, 4.0, 0, 0, 0, 0])))
    assert limiter.motion.twist[:2] == pytest.approx([0.36, 0.48], rel=2e-3) and "linear_velocity" in names


@pytest.mark.parametrize("rate_hz", RATES)
def test_braking_is_as_short_as_its_formula_and_ends_at_rest(rate_hz):
    """From 0.25 m/s: T = max(sqrt(6 v/J), 1.5 v/A) = 0.1 s of a cubic, over v T/2 = 12.5 mm."""
    limiter = limiter_at(rate_hz=rate_hz)
    played(limiter, rate_hz, lambda m, k: m.follow_twist(np.array([0, 0.25, 0, 0, 0, 0])))
    assert limiter.motion.twist[1] == pytest.approx(0.25, abs=1e-6)
    motions, _ = played(limiter, rate_hz // 2, lambda m, k: m.brake())
    ticks = next(k for k, m in enumerate(motions) if m.resting)
    assert ticks / rate_hz == pytest.approx(0.1, abs=1.01 / rate_hz)
    assert motions[-1].pose[1] - motions[0].pose[1] == pytest.approx(0.0125, abs=0.6 * 0.25 / rate_hz)
    assert np.all(np.diff([m.twist[1] for m in motions]) <= 1e-12)


def test_zero_twist_comes_to_rest_exactly():
    limiter = limiter_at(rate_hz=250)
    played(limiter, 100, lambda m, k: m.follow_twist(np.array([0.3, 0, 0, 0, 0, 1.0])))
    motions, _ = played(limiter, 250, lambda m, k: m.follow_twist(STILL))
    assert motions[-1].resting and not motions[0].resting
    assert min(m.twist[0] for m in motions) >= -1e-7, "the arm went back"


# Pose ------------------------------------------------------------------------------------------------------------


def smooth_reference(t_s):
    """A path with three continuous derivatives from rest: a sine of a smooth-started phase, in x and about z."""
    w = 4.0
    fade = t_s**4 / (t_s**4 + 0.05)
    return fade * 0.06 * np.sin(w * t_s), fade * 0.25 * np.sin(w * t_s)


def sampled_reference(t_s, h=1e-4):
    x, turn = np.array([smooth_reference(t_s + k * h) for k in (-1, 0, 1)]).T
    pose = np.r_[START[0] + x[1], START[1:3], quat_multiply(quat_from_rotvec(np.array([0, 0, turn[1]])), DOWN)]
    twist, change = np.zeros(6), np.zeros(6)
    twist[[0, 5]] = (x[2] - x[0]) / (2 * h), (turn[2] - turn[0]) / (2 * h)
    change[[0, 5]] = (x[2] - 2 * x[1] + x[0]) / h**2, (turn[2] - 2 * turn[1] + turn[0]) / h**2
    return pose, twist, change


@pytest.mark.parametrize(("rate_hz", "tolerance"), [(100, 2e-6), (250, 1e-7), (500, 2e-8)])
def test_a_reference_within_the_limits_is_followed_without_lag(rate_hz, tolerance):
    limiter, worst = limiter_at(rate_hz=rate_hz), 0.0
    for k in range(1, 3 * rate_hz):
        pose, twist, change = sampled_reference(k / rate_hz)
        assert limiter.follow_pose(pose, twist, change) == ()
        linear, angular = pose_distance(limiter.motion.pose, pose)
        worst = max(worst, float(linear), 0.1 * float(angular))
    # One period of lag at the 0.24 m/s of this path would be 2.4 mm at 100 Hz.
    assert worst < tolerance


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("distance", [0.0005, 0.02, 0.28])
def test_a_far_pose_is_reached_without_overshoot_or_chatter(judge_motion, rate_hz, distance):
    target = START.copy()
    target[2] += distance
    motions, _ = played(limiter_at(rate_hz=rate_hz), 2 * rate_hz, lambda m, k: m.follow_pose(target, STILL, STILL))
    left = target[2] - poses_of(motions)[:, 2]
    assert np.all(left > -1e-9) and left[-1] < 1e-6
    assert reversals(np.diff(left, 2) * rate_hz**2) == 1, "speeds up once, brakes once"
    judge_motion(poses_of(motions), 1.0 / rate_hz, SIM, NOTHING)


@pytest.mark.parametrize("rate_hz", RATES)
def test_half_a_turn_and_back_again(judge_motion, rate_hz):
    """The target flips by 180 degrees, also while the arm is on its way."""
    targets = [np.r_[START[:3], quat_multiply(quat_from_rotvec(np.array([0, 0, a])), DOWN)] for a in (np.pi, 0.0)]

    def step(limiter, k):
        return limiter.follow_pose(targets[(2 * k // rate_hz) % 2 if k < 2 * rate_hz else 0], STILL, STILL)

    motions, names = played(limiter_at(rate_hz=rate_hz), 5 * rate_hz, step)
    judge_motion(poses_of(motions), 1.0 / rate_hz, SIM, NOTHING)
    assert pose_distance(motions[-1].pose, targets[0])[1] < 1e-6 and "angular_velocity" in names


def test_a_jump_of_a_moving_reference_is_caught_up_within_the_limits(judge_motion):
    limiter = limiter_at(rate_hz=250)

    def step(m, k):
        pose = START.copy()
        pose[1] += 0.1 * (k + 1) * 0.004 + (0.05 if k >= 100 else 0.0)
        return m.follow_pose(pose, np.array([0, 0.1, 0, 0, 0, 0]), STILL)

    motions, _ = played(limiter, 400, step)
    judge_motion(poses_of(motions), 0.004, SIM, NOTHING)
    wanted = START[1] + 0.1 * 0.004 * 400 + 0.05
    assert motions[-1].pose[1] == pytest.approx(wanted, abs=1e-6)
    assert max(m.pose[1] - 0.1 * 0.004 * k - 0.05 for k, m in enumerate(motions)) < 1e-6, "overshoot"


def test_noise_of_the_reference_is_not_amplified_into_jerk(motion_derivatives):
    """0.1 ms of jitter in the times at which a sine at 0.2 m/s is evaluated: 20 um of noise."""
    rng = np.random.default_rng(0)
    limiter = limiter_at(rate_hz=250)
    motions, _ = played(
        limiter, 750, lambda m, k: m.follow_pose(*sampled_reference((k + 1) * 0.004 + 1e-4 * rng.normal()))
    )
    jerk = motion_derivatives(poses_of(motions), 0.004)["linear_jerk"]
    # Second differences of 20 um of noise over 4 ms, passed on as they are, would be 20e-6 * sqrt(20) / 0.004^3 = 1400.
    assert np.sqrt(np.mean(jerk**2)) < 40.0


# Region ----------------------------------------------------------------------------------------------------------


def pushed(twist, safety=NOTHING, rate_hz=250, start=START, seconds=2.0):
    limiter = limiter_at(start, safety=safety, rate_hz=rate_hz)
    return played(limiter, int(seconds * rate_hz), lambda m, k: m.follow_twist(np.asarray(twist, dtype=float)))


@pytest.mark.parametrize("rate_hz", RATES)
@pytest.mark.parametrize("speed", [0.1, 0.3, 0.6])
def test_pushing_at_a_wall_ends_at_rest_on_it_without_chatter(judge_motion, rate_hz, speed):
    motions, names = pushed([0, speed, 0, 0, 0, 0], rate_hz=rate_hz, seconds=5.0)
    poses = poses_of(motions)
    judge_motion(poses, 1.0 / rate_hz, SIM, NOTHING)
    assert 0.0 <= 0.4 - poses[-1, 1] < 1e-4 and abs(motions[-1].twist[1]) < 1e-6
    assert reversals(np.diff(poses[:, 1], 2) * rate_hz**2) == 1 and "workspace" in names


@pytest.mark.parametrize(
    ("twist", "safety", "name", "end"),
    [
        ([0.1, 0, -0.5, 0, 0, 0], SafetySpec(table_height_m=0.1), "table", (2, 0.1)),
        ([0.5, 0, 0, 0, 0, 0], SafetySpec(keep_out={"post": KeepOutBox((0.6, -0.1, 0.2), (0.65, 0.1, 0.4))}),
         "keep_out:post", (0, 0.6)),
    ],
)  # fmt: skip
def test_table_and_boxes_stop_the_arm_and_are_named(judge_motion, twist, safety, name, end):
    motions, names = pushed(twist, safety)
    judge_motion(poses_of(motions), 0.004, SIM, safety)
    assert name in names and abs(motions[-1].pose[end[0]] - end[1]) < 1e-4


@pytest.mark.parametrize("rate_hz", RATES)
def test_into_a_corner_each_axis_speeds_up_once_and_brakes_once(judge_motion, rate_hz):
    motions, _ = pushed([0.4, 0.4, 0.4, 0, 0, 0], rate_hz=rate_hz, seconds=3.0)
    poses = poses_of(motions)
    judge_motion(poses, 1.0 / rate_hz, SIM, NOTHING)
    assert poses[-1, :3] == pytest.approx((0.75, 0.4, 0.6), abs=1e-4)
    for axis in range(3):
        assert reversals(np.diff(poses[:, axis], 2) * rate_hz**2) == 1


def test_along_a_wall_the_arm_goes_on():
    """Held against the table, 0.1 m/s along it are 0.1 m/s."""
    motions, _ = pushed([0.1, 0, -0.2, 0, 0, 0], SafetySpec(table_height_m=0.25), seconds=1.5)
    assert motions[-1].twist[0] == pytest.approx(0.1, rel=1e-6) and abs(motions[-1].pose[2] - 0.25) < 1e-4


def test_a_thin_wall_is_not_jumped_over(judge_motion):
    """3 m/s at 50 Hz is 6 cm a period; the box is 1 cm thick."""
    fast = dataclasses.replace(SIM, linear_velocity_m_s=3.0, linear_acceleration_m_s2=50.0, linear_jerk_m_s3=10000.0)
    safety = SafetySpec(keep_out={"sheet": KeepOutBox((0.6, -0.3, 0.0), (0.61, 0.3, 0.6))})
    limiter = limiter_at(limits=fast, safety=safety, rate_hz=50)
    motions, names = played(limiter, 100, lambda m, k: m.follow_twist(np.array([3.0, 0, 0, 0, 0, 0])))
    judge_motion(poses_of(motions), 0.02, fast, safety)
    assert motions[-1].pose[0] <= 0.6 and "keep_out:sheet" in names


def test_the_cone_stops_tilting_but_not_turning(judge_motion):
    safety = SafetySpec(orientation_cone=OrientationCone(0.5))
    motions, names = pushed([0, 0, 0, 1.0, 0, 0.8], safety, seconds=3.0)
    judge_motion(poses_of(motions), 0.004, SIM, safety)
    assert "orientation_cone" in names
    tool = [quat_multiply(quat_multiply(m.pose[3:], [0, 0, 1.0, 0]), m.pose[3:] * [-1, -1, -1, 1])[2] for m in motions]
    tilts = np.arccos(-np.array(tool))
    assert max(tilts) == pytest.approx(0.5, abs=1e-3)
    assert np.linalg.norm(motions[-1].twist[3:]) > 0.5, "turning about the cone's axis stays free"


def test_a_target_outside_is_approached_to_the_nearest_allowed_pose():
    safety = SafetySpec(table_height_m=0.1, orientation_cone=OrientationCone(0.4))
    tilted = quat_multiply(quat_from_rotvec(np.array([1.0, 0, 0])), DOWN)
    limiter = limiter_at(safety=safety, rate_hz=250)
    _, names = played(limiter, 500, lambda m, k: m.follow_pose(np.r_[0.6, 0.5, 0.0, tilted], STILL, STILL))
    nearest = np.r_[0.6, 0.4, 0.1, quat_multiply(quat_from_rotvec(np.array([0.4, 0, 0])), DOWN)]
    linear, angular = pose_distance(limiter.motion.pose, nearest)
    assert linear < 1e-4 and angular < 1e-4 and {"workspace", "table", "orientation_cone"} <= names


def test_an_arm_that_starts_outside_may_only_come_back(judge_motion):
    safety = SafetySpec(table_height_m=0.35, orientation_cone=OrientationCone(0.2))
    start = np.r_[START[:3], quat_multiply(quat_from_rotvec(np.array([0.5, 0, 0])), DOWN)]
    out, _ = pushed([0, 0, -0.3, 0.5, 0, 0], safety, start=start, seconds=0.5)
    assert np.allclose(out[-1].pose, start, atol=1e-12)
    back, _ = pushed([0, 0, 0.3, -0.5, 0, 0], safety, start=start, seconds=0.5)
    judge_motion(poses_of(back), 0.004, SIM, safety)
    assert back[-1].pose[2] > 0.4 and pose_distance(back[-1].pose, START)[1] < 0.35
    aside, _ = pushed([0.1, 0, 0, 0, 0, 0.2], safety, start=start, seconds=1.0)
    assert aside[-1].pose[0] > 0.57, "motion that makes nothing worse is free"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_followed(judge_motion, bad):
    limiter = limiter_at(rate_hz=250)
    motions, _ = played(limiter, 100, lambda m, k: m.follow_twist(np.array([0.2, 0, 0, 0, 0, 0.5])))
    spoilt = STILL.copy()
    spoilt[3] = bad
    for step in (lambda m, k: m.follow_twist(spoilt), lambda m, k: m.follow_pose(START, STILL, spoilt)):
        more, names = played(limiter, 100, step)
        assert names == {"not_finite"}
        motions += more[1:]
    judge_motion(poses_of(motions), 0.004, SIM, NOTHING)
    assert motions[-1].resting


# State -----------------------------------------------------------------------------------------------------------


def test_a_restored_limiter_goes_on_as_if_nothing_had_been_tried():
    tried, plain = limiter_at(rate_hz=250), limiter_at(rate_hz=250)
    for k in range(300):
        before = tried.snapshot()
        tried.follow_pose(START + 0.1, STILL, STILL)
        tried.brake()
        tried.restore(before)
        pose, twist, change = sampled_reference((k + 1) * 0.004)
        assert tried.follow_pose(pose, twist, change) == plain.follow_pose(pose, twist, change)
        for a, b in zip(dataclasses.astuple(tried.motion), dataclasses.astuple(plain.motion), strict=True):
            assert a.tobytes() == b.tobytes()


def test_a_period_must_be_positive():
    with pytest.raises(ValueError, match="period_s"):
        MotionLimiter(SIM, NOTHING, 0.0)
