"""Smoothness and error of motions known in closed form."""

import numpy as np
import pytest
from dp_bringup.control_bench.motion_figures import judge, velocities
from dp_bringup.control_bench.recorded_motion import RecordedMotion
from dp_core.poses import quat_from_rotvec

DT = 0.004


def motion_of(y, seconds, angle=None):
    """A recording each millisecond of y(t), turning about z by angle(t)."""
    t = np.arange(round(seconds * 1000) + 1) / 1000.0
    return RecordedMotion(0, poses_of(y, t, angle), np.zeros(len(t)), np.zeros(7))


def poses_of(y, t, angle=None):
    poses = np.zeros((len(t), 7))
    poses[:, 1] = y(t)
    turn = np.zeros((len(t), 3))
    turn[:, 2] = 0.0 if angle is None else angle(t)
    poses[:, 3:] = quat_from_rotvec(turn)
    return poses


def test_jerk_and_velocity_step_of_polynomials():
    t = np.arange(200) * DT
    cubic = poses_of(lambda t: 3.0 * t**3 / 6.0, t, lambda t: 2.0 * t**2 / 2.0)
    figures = judge(cubic, t, motion_of(lambda t: 3.0 * t**3 / 6.0, 1.0, lambda t: t**2))
    assert figures.jerk_m_s3 == pytest.approx(3.0, rel=1e-5)
    # The last change of velocity is that of the acceleration at the second last sample.
    assert figures.velocity_step_m_s == pytest.approx(3.0 * t[-2] * DT, rel=1e-6)
    assert figures.velocity_step_rad_s == pytest.approx(2.0 * DT, rel=1e-6)
    assert figures.jerk_rad_s3 < 1e-3
    assert figures.error_rms_m < 1e-12 and figures.error_rms_rad < 1e-8 and figures.shift_s == 0.0


def test_a_delay_is_found_and_taken_out():
    t = np.arange(600) * DT
    wave = lambda t: 0.1 * np.sin(2.0 * t)  # noqa: E731
    figures = judge(poses_of(lambda t: wave(np.maximum(t - 0.08, 0.0)), t), t, motion_of(wave, 2.5))
    assert figures.shift_s == pytest.approx(0.08)
    assert figures.shifted_rms_m < 1e-6
    assert figures.error_max_m == pytest.approx(0.2 * 0.08, rel=0.05)


def test_velocities_are_those_of_the_base_frame():
    t = np.arange(5) * DT
    linear, angular = velocities(poses_of(lambda t: 0.2 * t, t, lambda t: -0.5 * t), DT)
    np.testing.assert_allclose(linear, np.tile([0, 0.2, 0], (4, 1)), atol=1e-12)
    np.testing.assert_allclose(angular, np.tile([0, 0, -0.5], (4, 1)), atol=1e-9)
