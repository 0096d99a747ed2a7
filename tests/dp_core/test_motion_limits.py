"""No input makes the command leave its limits."""

import dataclasses

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_core.motion_limits import Motion, follow_pose, follow_twist
from dp_core.poses import pose_distance, quat_from_rotvec, quat_from_rpy
from hypothesis import given, settings
from hypothesis import strategies as st

LIMITS = load_contract("sim_franka").limits
DT = 0.01
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


def check_step(before, after, limits=LIMITS, dt=DT):
    """One step: velocity, acceleration, workspace; from the poses themselves, not from the reported twist."""
    linear = (after.pose[:3] - before.pose[:3]) / dt
    assert np.linalg.norm(linear) <= limits.linear_velocity_m_s * (1 + 1e-9)
    assert pose_distance(before.pose, after.pose)[1] / dt <= limits.angular_velocity_rad_s * (1 + 1e-6)
    assert np.linalg.norm(after.twist[3:] - before.twist[3:]) / dt <= limits.angular_acceleration_rad_s2 * (1 + 1e-9)
    assert np.all(after.pose[:3] >= np.array(limits.workspace_min_m) - 1e-9)
    assert np.all(after.pose[:3] <= np.array(limits.workspace_max_m) + 1e-9)


axis = st.floats(-5, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(axis, axis, axis, axis, axis, axis), min_size=1, max_size=60), st.integers(1, 8))
def test_random_twists_stay_within_the_limits(twists, repeat):
    motion = Motion.at_rest(START)
    for twist in twists:
        for _ in range(repeat):
            after, _ = follow_twist(motion, np.array(twist), DT, LIMITS)
            check_step(motion, after)
            motion = after


def test_acceleration_is_limited_and_named():
    motion, active = follow_twist(Motion.at_rest(START), np.array([0.5, 0, 0, 0, 0, 0]), DT, LIMITS)
    assert motion.twist[0] == pytest.approx(LIMITS.linear_acceleration_m_s2 * DT)
    assert active == ("linear_acceleration",)


def test_the_wall_stops_the_arm_without_a_jolt():
    """Push at the wall at full speed: it stops on it, and never brakes harder than the limit."""
    motion = Motion.at_rest(START)
    for _ in range(300):
        after, active = follow_twist(motion, np.array([0, 0, -0.6, 0, 0, 0]), DT, LIMITS)
        assert abs(after.twist[2] - motion.twist[2]) / DT <= LIMITS.linear_acceleration_m_s2 * (1 + 1e-6)
        motion = after
    assert motion.pose[2] == pytest.approx(LIMITS.workspace_min_m[2], abs=1e-4)
    assert "workspace" in active


def test_zero_twist_brakes_to_rest():
    motion = Motion(START, np.array([0.6, 0, 0, 0, 0, 2.0]))
    steps = 0
    while not motion.resting:
        motion, _ = follow_twist(motion, np.zeros(6), DT, LIMITS)
        steps += 1
        assert steps < 100
    # v^2 / (2 a) = 0.36 / 12 = 0.03 m, less what the last step of each period shortens it.
    assert 0.02 < motion.pose[0] - START[0] <= 0.03


def test_a_moving_target_within_the_limits_is_met_without_lag():
    motion = Motion.at_rest(START)
    speed = 0.2
    for i in range(1, 101):
        target = START.copy()
        target[1] = speed * DT * i
        motion, _ = follow_pose(motion, target, np.array([0, speed, 0, 0, 0, 0]), DT, LIMITS)
    assert motion.pose[1] == pytest.approx(target[1], abs=1e-6)


def test_a_far_target_is_reached_without_overshoot():
    motion = Motion.at_rest(START)
    target = np.r_[0.7, 0.2, 0.5, quat_from_rpy([np.pi, 0.0, 1.0])]
    previous = np.inf
    for _ in range(300):
        after, _ = follow_pose(motion, target, np.zeros(6), DT, LIMITS)
        check_step(motion, after)
        distance = float(pose_distance(after.pose, target)[0])
        assert distance <= previous + 1e-9
        motion, previous = after, distance
    linear, angular = pose_distance(motion.pose, target)
    assert linear < 1e-4 and angular < 1e-3


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(axis, axis, axis, axis, axis, axis), min_size=1, max_size=40))
def test_random_targets_stay_within_the_limits(jumps):
    motion = Motion.at_rest(START)
    for jump in jumps:
        target = np.r_[START[:3] + np.array(jump[:3]), quat_from_rotvec(np.array(jump[3:]))]
        for _ in range(5):
            after, _ = follow_pose(motion, target, np.array(jump), DT, LIMITS)
            check_step(motion, after)
            motion = after


def test_an_arm_that_starts_outside_the_box_may_only_come_back():
    low = dataclasses.replace(LIMITS, workspace_min_m=(0.25, -0.4, 0.35))
    motion, _ = follow_twist(Motion.at_rest(START), np.array([0, 0, -0.3, 0, 0, 0]), DT, low)
    assert motion.pose[2] == START[2]
    motion, _ = follow_twist(Motion.at_rest(START), np.array([0, 0, 0.3, 0, 0, 0]), DT, low)
    assert motion.pose[2] > START[2]
