"""Poses against scipy-free closed forms, worked by hand, and their own inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core import actions, poses

angles = st.floats(-3.1, 3.1)
unit = st.builds(lambda r: poses.quat_from_rotvec(np.array(r)), st.tuples(angles, angles, angles))


def test_quarter_turn_about_z_by_hand():
    quat = poses.quat_from_rpy([0.0, 0.0, np.pi / 2])
    np.testing.assert_allclose(quat, [0, 0, np.sqrt(0.5), np.sqrt(0.5)], atol=1e-12)
    np.testing.assert_allclose(poses.quat_rotate(quat, [1.0, 0.0, 0.0]), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(poses.matrix_from_quat(quat), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(poses.rot6d_from_quat(quat), [0, -1, 0, 1, 0, 0], atol=1e-12)


def test_roll_pitch_yaw_are_applied_about_fixed_axes_in_that_order():
    # Roll a quarter: y -> z. Then pitch a quarter: z -> x. So y ends on x.
    quat = poses.quat_from_rpy([np.pi / 2, np.pi / 2, 0.0])
    np.testing.assert_allclose(poses.quat_rotate(quat, [0.0, 1.0, 0.0]), [1, 0, 0], atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(unit)
def test_rotation_round_trips(quat):
    for back in (
        poses.quat_from_matrix(poses.matrix_from_quat(quat)),
        poses.quat_from_rot6d(poses.rot6d_from_quat(quat)),
        poses.quat_from_rotvec(poses.rotvec_from_quat(quat)),
        poses.quat_from_rpy(poses.rpy_from_quat(quat)),
    ):
        assert abs(abs(float(back @ quat)) - 1.0) < 1e-9


@settings(max_examples=100, deadline=None)
@given(unit, unit, st.floats(0, 1))
def test_slerp_is_constant_speed_along_the_shorter_arc(a, b, u):
    total = poses.pose_distance(np.r_[0, 0, 0, a], np.r_[0, 0, 0, b])[1]
    part = poses.pose_distance(np.r_[0, 0, 0, a], np.r_[0, 0, 0, poses.quat_slerp(a, b, np.float64(u))])[1]
    assert part == pytest.approx(u * total, abs=1e-7)
    same = poses.quat_slerp(a, -b, np.float64(u))
    assert abs(float(same @ poses.quat_slerp(a, b, np.float64(u)))) == pytest.approx(1.0, abs=1e-7)


def test_gripper_down_near_pi_does_not_flip():
    """The rotation vector changes sign across pi; slerp must not go the long way round."""
    a = poses.quat_from_rpy([np.pi - 0.01, 0, 0])
    b = poses.quat_from_rpy([-np.pi + 0.01, 0, 0])
    half = poses.quat_slerp(a, b, np.float64(0.5))
    assert poses.pose_distance(np.r_[0, 0, 0, a], np.r_[0, 0, 0, half])[1] == pytest.approx(0.01, abs=1e-9)


def test_pose_chain_by_hand_and_inverse():
    a = np.r_[1.0, 0, 0, poses.quat_from_rpy([0, 0, np.pi / 2])]
    b = np.r_[1.0, 0, 0, 0, 0, 0, 1.0]
    np.testing.assert_allclose(poses.pose_multiply(a, b)[:3], [1, 1, 0], atol=1e-12)
    np.testing.assert_allclose(poses.pose_multiply(a, poses.pose_inverse(a)), [0, 0, 0, 0, 0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("bad", [[0, 0, 0, 0], [np.nan, 0, 0, 1]])
def test_a_quaternion_that_is_no_rotation_is_refused(bad):
    with pytest.raises(ValueError, match="zero or not finite"):
        poses.quat_normalise(bad)
    assert poses.pose_problem([0, 0, 0, *bad]) is not None


def test_pose_problem_accepts_a_good_pose():
    assert poses.pose_problem([0.1, 0.2, 0.3, 0, 0, 0, 1]) is None


def test_action_round_trip_and_layout():
    pose = np.r_[0.1, 0.2, 0.3, poses.quat_from_rpy([0, 0, np.pi / 2])]
    action = actions.encode_action(pose, 0.04)
    np.testing.assert_allclose(action, [0.1, 0.2, 0.3, 0, -1, 0, 1, 0, 0, 0.04], atol=1e-12)
    back, width = actions.decode_action(action)
    assert poses.pose_distance(pose, back)[1] < 1e-9 and width == pytest.approx(0.04)
    np.testing.assert_allclose(actions.readable_action(pose, 0.04), [0.1, 0.2, 0.3, 0, 0, np.pi / 2, 0.04], atol=1e-12)


def test_a_network_output_without_rotation_is_refused():
    with pytest.raises(ValueError, match="zero or parallel"):
        actions.decode_action(np.zeros(10))
    with pytest.raises(ValueError, match="expected 10"):
        actions.decode_action(np.zeros(7))
