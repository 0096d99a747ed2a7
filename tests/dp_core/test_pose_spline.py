"""The spline against straight lines, hand-worked coefficients, and its own finite differences."""

import numpy as np
import pytest
from dp_core.pose_spline import PoseSpline
from dp_core.poses import pose_distance, quat_from_rotvec, quat_inverse, quat_multiply, rotvec_from_quat
from hypothesis import given, settings
from hypothesis import strategies as st

DOWN = np.array([1.0, 0.0, 0.0, 0.0])


def pose7(point):
    return np.array(point.position + point.quat)


def waypoints(seed, n, turn=0.3):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.uniform(0.03, 0.2, n))
    position = np.cumsum(rng.normal(size=(n, 3)) * 0.02, axis=0)
    quats = quat_multiply(quat_from_rotvec(np.cumsum(rng.normal(size=(n, 3)) * turn, axis=0)), DOWN)
    return times, np.concatenate([position, quats * rng.choice([-1.0, 1.0], (n, 1))], axis=1)


def differences(path, t, h):
    """Velocity and acceleration (6,) of a path's poses and velocities by central differences."""
    a, b = path(t - h), path(t + h)
    turn = rotvec_from_quat(quat_multiply(np.array(b.quat), quat_inverse(np.array(a.quat))))
    velocity = np.r_[np.array(b.position) - a.position, turn] / (2 * h)
    change = np.r_[np.array(b.linear) - a.linear, np.array(b.angular) - a.angular] / (2 * h)
    return velocity, change


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 16))
def test_passes_through_its_waypoints_with_true_derivatives(seed, n):
    times, poses = waypoints(seed, n)
    spline = PoseSpline(times, poses)
    for t, pose in zip(times, poses, strict=True):
        linear, angular = pose_distance(pose7(spline.at(t)), pose)
        assert linear < 1e-12 and angular < 1e-7
    for t in np.random.default_rng(seed).uniform(times[0] - 0.05, times[-1] + 0.05, 8):
        if np.min(np.abs(t - times)) < 1e-4:
            continue  # the third derivative jumps at waypoints
        point = spline.at(t)
        velocity, change = differences(spline.at, t, 1e-5)
        assert np.r_[point.linear, point.angular] == pytest.approx(velocity, rel=1e-4, abs=1e-5)
        assert np.r_[point.linear_rate, point.angular_rate] == pytest.approx(change, rel=1e-3, abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_velocity_and_acceleration_are_continuous_at_waypoints(seed):
    times, poses = waypoints(seed, 8)
    spline = PoseSpline(times, poses)
    for t in times:
        before, after = spline.at(t - 1e-9), spline.at(t + 1e-9)
        for field in ("linear", "angular", "linear_rate", "angular_rate"):
            assert getattr(before, field) == pytest.approx(getattr(after, field), rel=1e-5, abs=1e-4), field


def test_a_straight_line_at_constant_speed_is_exact():
    times = np.array([0.0, 0.1, 0.25, 0.3, 0.5])
    poses = np.zeros((5, 7))
    poses[:, 1], poses[:, 3:] = 0.2 * times, DOWN
    spline = PoseSpline(times, poses)
    for t in (-0.1, 0.0, 0.07, 0.28, 0.5, 0.7):
        point = spline.at(t)
        assert point.position == pytest.approx((0.0, 0.2 * t, 0.0), abs=1e-15)
        assert point.linear == pytest.approx((0.0, 0.2, 0.0), abs=1e-14)
        assert point.linear_rate == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
        assert point.quat == pytest.approx(DOWN) and point.angular == pytest.approx((0.0, 0.0, 0.0), abs=1e-15)


def test_three_waypoints_worked_by_hand():
    """0, 1, 0 at 0, 1, 2 s: the natural spline is 1.5 t - 0.5 t^3, so 0.6875 at 0.5 s and curvature -3 at 1 s."""
    poses = np.zeros((3, 7))
    poses[:, 0], poses[:, 6] = (0.0, 1.0, 0.0), 1.0
    spline = PoseSpline(np.array([0.0, 1.0, 2.0]), poses)
    assert spline.at(0.5).position[0] == pytest.approx(0.6875) and spline.at(0.5).linear[0] == pytest.approx(1.125)
    assert spline.at(1.0).linear_rate[0] == pytest.approx(-3.0) and spline.at(0.0).linear_rate[0] == 0.0


def test_a_steady_turn_is_followed_closely():
    """2 rad/s at 10 Hz: the angle is right to 2e-5 rad and the speed to 1 % away from the natural ends."""
    times = np.arange(11) * 0.1
    quats = quat_multiply(quat_from_rotvec(np.outer(2.0 * times, [0, 0, 1.0])), DOWN)
    spline = PoseSpline(times, np.concatenate([np.zeros((11, 3)), quats], axis=1))
    for t in np.linspace(0.35, 0.65, 13):
        exact = quat_multiply(quat_from_rotvec(np.array([0, 0, 2.0 * t])), DOWN)
        assert pose_distance(pose7(spline.at(t)), np.r_[0, 0, 0, exact])[1] < 2e-5
        assert spline.at(t).angular == pytest.approx((0, 0, 2.0), abs=0.02)


def test_one_waypoint_is_a_path_at_rest():
    spline = PoseSpline(np.array([0.0]), np.r_[0.1, 0.2, 0.3, DOWN][None])
    for t in (-1.0, 0.0, 5.0):
        point = spline.at(t)
        assert pose7(point) == pytest.approx(np.r_[0.1, 0.2, 0.3, DOWN]) and not any(point.linear + point.angular)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_half_turns_between_waypoints_stay_finite_unit_and_bounded(seed):
    times, poses = waypoints(seed, 8, turn=3.0)
    poses[::2, 3:] = quat_multiply(quat_from_rotvec(np.array([0, 0, np.pi])), poses[1::2, 3:])
    spline = PoseSpline(times, poses)
    for t in np.linspace(times[0], times[-1], 200):
        point = spline.at(t)
        assert np.linalg.norm(point.quat) == pytest.approx(1.0)
        assert np.linalg.norm(point.angular) < 4000.0 and np.all(np.isfinite(point.angular_rate))
