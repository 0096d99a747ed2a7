"""Values taken from messages before they are gated."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from dp_control.subscriptions import chunk_from_message, joint_positions
from dp_core.chunk_schedule import ChunkError
from sensor_msgs.msg import JointState

from dp_msgs.msg import ActionChunk

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


def test_a_chunk_too_long_to_be_merged_in_one_cycle_is_refused_before_it_is_read():
    message = ActionChunk(chunk_id=7, ee_frame="ee")
    message.header.frame_id = "base"
    message.stamps = [Time(sec=i) for i in range(257)]
    with pytest.raises(ChunkError, match="chunk 7 has 257 actions, 256 at most"):
        chunk_from_message(message, "base", "ee")
