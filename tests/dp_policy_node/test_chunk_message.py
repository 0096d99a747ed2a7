"""Actions to messages and back through control's own check."""

import numpy as np
import pytest
from dp_control.subscriptions import chunk_from_message
from dp_core.actions import encode_action
from dp_core.chunk_schedule import ChunkError
from dp_core.contract import load_contract
from dp_core.poses import quat_from_rpy
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_ros.messages import stamp_to_ns

CONTRACT = load_contract("sim_franka")
LEDGER = Ledger(
    *(5_000_000_000, 4_900_000_000, 5_000_000_000, 5_010_000_000, 5_015_000_000, 5_020_000_000, 5_040_000_000),
    encode_ms=7.5,
    denoise_ms=12.5,
    given=2,
)


def actions():
    poses = np.tile(np.r_[0.5, 0.0, 0.2, quat_from_rpy([np.pi, 0, 0.3])], (16, 1))
    poses[:, 0] += np.arange(16) * 0.01
    return encode_action(poses, np.linspace(-0.01, 0.1, 16)).astype(np.float32), poses


def test_action_i_belongs_to_t_obs_plus_i_periods_and_survives_the_trip():
    values, poses = actions()
    message = chunk_message(values, CONTRACT, LEDGER, 3, 8, "abc")
    chunk = chunk_from_message(message, "fr3_link0", "fr3_hand_tcp")
    assert chunk.chunk_id == 3 and chunk.committed == 8 and chunk.policy_id == "abc"
    np.testing.assert_array_equal(chunk.stamps_ns, 5_000_000_000 + np.arange(16) * 100_000_000)
    np.testing.assert_allclose(chunk.poses[:, :3], poses[:, :3], atol=1e-6)
    assert np.all(np.abs(np.sum(chunk.poses[:, 3:] * poses[:, 3:], axis=1)) > 1 - 1e-9)
    assert chunk.widths.min() == 0.0 and chunk.widths.max() == CONTRACT.gripper.max_width_m
    assert stamp_to_ns(message.inference_started) == 5_020_000_000 and stamp_to_ns(message.aligned) == 5_015_000_000
    assert (message.encode_ms, message.denoise_ms, message.given) == (7.5, 12.5, 2)


def test_an_output_that_is_not_finite_is_refused():
    values, _ = actions()
    values[4, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        chunk_message(values, CONTRACT, LEDGER, 0, 8, "")


@pytest.mark.parametrize(("frame", "ee"), [("world", "fr3_hand_tcp"), ("fr3_link0", "flange")])
def test_control_refuses_a_chunk_in_another_frame(frame, ee):
    message = chunk_message(actions()[0], CONTRACT, LEDGER, 0, 8, "")
    message.header.frame_id, message.ee_frame = frame, ee
    with pytest.raises(ChunkError, match="expected 'fr3_hand_tcp' in 'fr3_link0'"):
        chunk_from_message(message, "fr3_link0", "fr3_hand_tcp")
