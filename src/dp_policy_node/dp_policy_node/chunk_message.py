"""Network actions to a dp_msgs/ActionChunk with absolute times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.actions import decode_action
from dp_core.contract import Contract
from dp_ros.messages import array_to_pose, ns_to_stamp
from numpy.typing import NDArray

from dp_msgs.msg import ActionChunk


@dataclass(frozen=True)
class Ledger:
    """One inference: times in ns on the ROS clock, and its parts.

    Attributes:
        observed_ns: t_obs.
        capture_oldest_ns: acquisition of the oldest camera frame used.
        capture_newest_ns: of the newest.
        received_ns: receipt of the newest frame.
        aligned_ns: all streams had reached t_obs and were sampled there.
        started_ns: the observation is handed to the network.
        ended_ns: the actions are there.
        encode_ms: wall time for frames that were not encoded yet.
        denoise_ms: wall time of the rest of the network.
        given: leading actions given to the network, because they will have run before the chunk arrives.
    """

    observed_ns: int
    capture_oldest_ns: int
    capture_newest_ns: int
    received_ns: int
    aligned_ns: int
    started_ns: int
    ended_ns: int
    encode_ms: float = 0.0
    denoise_ms: float = 0.0
    given: int = 0


def chunk_message(
    actions: NDArray[np.float32], contract: Contract, ledger: Ledger, chunk_id: int, committed: int, policy_id: str
) -> ActionChunk:
    """Build a chunk; action i belongs to ``observed_ns + i * period``.

    Args:
        actions: (Tp, 10) in physical units, see :mod:`dp_core.actions`.
        contract: frames, period and gripper range.
        ledger: times so far; ``published`` is left to the caller.
        chunk_id: counter.
        committed: actions meant to be executed.
        policy_id: checkpoint hash.

    Raises:
        ValueError: not finite, or a rotation that is none.
    """
    if not np.all(np.isfinite(actions)):
        raise ValueError(f"chunk {chunk_id}: the network's output is not finite")
    poses, widths = decode_action(actions)
    message = ActionChunk(chunk_id=chunk_id, ee_frame=contract.ee_frame, committed=committed, policy_id=policy_id)
    message.header.frame_id = contract.base_frame
    message.header.stamp = ns_to_stamp(ledger.observed_ns)
    period_ns = contract.action.period_ns
    message.stamps = [ns_to_stamp(ledger.observed_ns + i * period_ns) for i in range(len(poses))]
    message.poses = [array_to_pose(pose) for pose in poses]
    gripper = contract.gripper
    message.gripper_widths = np.clip(widths, gripper.min_width_m, gripper.max_width_m).tolist()
    message.capture_oldest = ns_to_stamp(ledger.capture_oldest_ns)
    message.capture_newest = ns_to_stamp(ledger.capture_newest_ns)
    message.received = ns_to_stamp(ledger.received_ns)
    message.aligned = ns_to_stamp(ledger.aligned_ns)
    message.inference_started = ns_to_stamp(ledger.started_ns)
    message.inference_ended = ns_to_stamp(ledger.ended_ns)
    message.encode_ms, message.denoise_ms = ledger.encode_ms, ledger.denoise_ms
    message.given = ledger.given
    return message
