"""Conversions between messages and numbers."""

import numpy as np
import pytest
from dp_ros.messages import joint_sum, ns_to_stamp, pose_to_array, stamp_to_ns, stamped_pose
from sensor_msgs.msg import JointState


@pytest.mark.parametrize("t_ns", [0, 1, 999_999_999, 1_000_000_000, 1_763_700_000_123_456_789])
def test_stamps_are_exact(t_ns):
    assert stamp_to_ns(ns_to_stamp(t_ns)) == t_ns


def test_pose_round_trip():
    pose = np.array([0.1, -0.2, 0.3, 0.5, -0.5, 0.5, 0.5])
    message = stamped_pose(pose, "fr3_link0", 1_500_000_000)
    assert (message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec) == (
        "fr3_link0",
        1,
        5 * 10**8,
    )
    np.testing.assert_array_equal(pose_to_array(message.pose), pose)


def test_the_width_is_the_sum_of_the_finger_joints_in_any_order():
    message = JointState(name=["b", "other", "a"], position=[0.02, 9.0, 0.021])
    assert joint_sum(message, ("a", "b")) == pytest.approx(0.041)
    with pytest.raises(ValueError, match="joint 'c' is not in the message; it has: b, other, a"):
        joint_sum(message, ("c",))


def test_names_without_positions_are_refused():
    with pytest.raises(ValueError, match="joint 'b' has no position: 2 names, 1 "):
        joint_sum(JointState(name=["a", "b"], position=[0.02]), ("a", "b"))
