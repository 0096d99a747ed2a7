"""Actions and proprioception as the network sees them: 10 numbers.

``[x, y, z, r00, r01, r02, r10, r11, r12, width]``: position in the base frame (m), first two rows of the rotation
matrix, distance between the fingers (m). At the interface with people it is
``[x, y, z, roll, pitch, yaw, gripper]`` (m, rad, m).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp_core import poses

ACTION_DIM = 10
ROTATION = slice(3, 9)


def encode_action(pose: ArrayLike, width: ArrayLike) -> NDArray[np.float64]:
    """Encode poses (..., 7) and gripper widths (...) in metres as (..., 10)."""
    p = np.asarray(pose, dtype=np.float64)
    w = np.broadcast_to(np.asarray(width, dtype=np.float64), p.shape[:-1])
    return np.concatenate([p[..., :3], poses.rot6d_from_quat(p[..., 3:]), w[..., None]], axis=-1)


def decode_action(action: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Decode (..., 10) into poses (..., 7) and widths (...) in metres.

    Raises:
        ValueError: wrong last dimension, or a 6-D rotation that names no rotation.
    """
    a = np.asarray(action, dtype=np.float64)
    if a.shape[-1] != ACTION_DIM:
        raise ValueError(f"action has {a.shape[-1]} numbers, expected {ACTION_DIM}: xyz, 6-D rotation, width")
    pose = np.concatenate([a[..., :3], poses.quat_from_rot6d(a[..., ROTATION])], axis=-1)
    return pose, a[..., 9].copy()


def readable_action(pose: ArrayLike, width: ArrayLike) -> NDArray[np.float64]:
    """``[x, y, z, roll, pitch, yaw, gripper]`` (..., 7) in metres and radians of poses and widths."""
    p = np.asarray(pose, dtype=np.float64)
    w = np.broadcast_to(np.asarray(width, dtype=np.float64), p.shape[:-1])
    return np.concatenate([p[..., :3], poses.rpy_from_quat(p[..., 3:]), w[..., None]], axis=-1)
