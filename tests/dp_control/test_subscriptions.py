"""Values taken from messages before they are gated."""

import numpy as np
from dp_control.subscriptions import joint_positions
from sensor_msgs.msg import JointState

NAMES = ("a", "b", "c")


def test_joint_positions_come_in_the_order_of_the_contract():
    message = JointState(name=["c", "finger", "a", "b"], position=[3.0, 9.0, 1.0, 2.0])
    np.testing.assert_array_equal(joint_positions(message, NAMES), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        joint_positions(JointState(name=list(NAMES), position=[1.0, 2.0, 3.0]), NAMES), [1, 2, 3]
    )


def test_a_joint_without_a_position_is_no_number_so_that_the_gate_refuses_it():
    assert np.isnan(joint_positions(JointState(name=["a", "b"], position=[1.0, 2.0]), NAMES)[2])
    assert np.isnan(joint_positions(JointState(name=list(NAMES), position=[1.0]), NAMES)[1:]).all()
