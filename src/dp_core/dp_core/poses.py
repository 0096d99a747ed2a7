"""Rigid poses and rotations in plain numpy.

Conventions (REP-103): metres, radians, quaternions as ``[x, y, z, w]``, a pose as
``pose7 = [x, y, z, qx, qy, qz, qw]`` with leading batch axes, ``T_base_ee`` is the pose of ``ee`` in ``base``.
Roll, pitch, yaw are fixed-axis rotations about x, y, z applied in that order (``R = Rz Ry Rx``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

IDENTITY_QUAT: Array = np.array([0.0, 0.0, 0.0, 1.0])
IDENTITY_QUAT.flags.writeable = False


def quat_normalise(quat: ArrayLike) -> Array:
    """Scale quaternions to unit norm.

    Args:
        quat: (..., 4) xyzw, not zero.

    Raises:
        ValueError: a quaternion is zero or not finite, so it names no rotation.
    """
    q = np.asarray(quat, dtype=np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if not np.all(norm > 1e-9) or not np.all(np.isfinite(norm)):
        raise ValueError(f"quaternion {q.tolist()} is zero or not finite; a unit quaternion (x, y, z, w) is needed")
    return q / norm


def quat_multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """Hamilton product ``a b``: first rotate by ``b``, then by ``a``. Shapes (..., 4), broadcast."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    ax, ay, az, aw = a[..., 0], a[..., 1], a[..., 2], a[..., 3]
    bx, by, bz, bw = b[..., 0], b[..., 1], b[..., 2], b[..., 3]
    return np.stack(
        [
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz,
        ],
        axis=-1,
    )


def quat_inverse(quat: ArrayLike) -> Array:
    """Inverse of unit quaternions (..., 4)."""
    return np.asarray(quat, dtype=np.float64) * np.array([-1.0, -1.0, -1.0, 1.0])


def quat_rotate(quat: ArrayLike, vector: ArrayLike) -> Array:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    q, v = np.asarray(quat, dtype=np.float64), np.asarray(vector, dtype=np.float64)
    u, w = q[..., :3], q[..., 3:]
    t = 2.0 * np.cross(u, v)
    return v + w * t + np.cross(u, t)


def quat_from_rotvec(rotvec: ArrayLike) -> Array:
    """Quaternion of rotation vectors (..., 3), axis times angle in radians. Exact at zero."""
    r = np.asarray(rotvec, dtype=np.float64)
    angle = np.linalg.norm(r, axis=-1, keepdims=True)
    half = 0.5 * angle
    # np.sinc(x) = sin(pi x)/(pi x): finite at zero angle.
    return np.concatenate([0.5 * np.sinc(half / np.pi) * r, np.cos(half)], axis=-1)


def rotvec_from_quat(quat: ArrayLike) -> Array:
    """Shortest rotation vector (..., 3), norm in [0, pi], of unit quaternions (..., 4)."""
    q = np.asarray(quat, dtype=np.float64)
    q = np.where(q[..., 3:] < 0.0, -q, q)
    sin_half = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sin_half, q[..., 3:])
    scale = np.where(sin_half > 1e-12, angle / np.maximum(sin_half, 1e-12), 2.0)
    return scale * q[..., :3]


def quat_slerp(a: ArrayLike, b: ArrayLike, u: ArrayLike) -> Array:
    """Spherical interpolation from ``a`` (u = 0) to ``b`` (u = 1) along the shorter arc.

    Args:
        a: (..., 4) unit quaternions.
        b: (..., 4) unit quaternions; either sign of the same rotation gives the same path.
        u: (...) fractions; values outside [0, 1] extrapolate.
    """
    a = np.asarray(a, dtype=np.float64)
    step = rotvec_from_quat(quat_multiply(quat_inverse(a), b))
    return quat_multiply(a, quat_from_rotvec(np.asarray(u, dtype=np.float64)[..., None] * step))


def matrix_from_quat(quat: ArrayLike) -> Array:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4)."""
    q = np.asarray(quat, dtype=np.float64)
    x, y, z, w = q[..., 0], q[..., 1], q[..., 2], q[..., 3]
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quat_from_matrix(matrix: ArrayLike) -> Array:
    """Unit quaternions (..., 4) with w >= 0 of rotation matrices (..., 3, 3).

    The largest of the four quaternion components is found first, so the result is accurate at every angle
    (Shepperd 1978).
    """
    m = np.asarray(matrix, dtype=np.float64)
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Each row holds 4 q_k q: the row with the largest diagonal is the best conditioned.
    k = np.empty((*m.shape[:-2], 4, 4))
    k[..., 0, 0] = 1 + m00 - m11 - m22
    k[..., 1, 1] = 1 - m00 + m11 - m22
    k[..., 2, 2] = 1 - m00 - m11 + m22
    k[..., 3, 3] = 1 + m00 + m11 + m22
    k[..., 0, 1] = k[..., 1, 0] = m[..., 0, 1] + m[..., 1, 0]
    k[..., 0, 2] = k[..., 2, 0] = m[..., 0, 2] + m[..., 2, 0]
    k[..., 1, 2] = k[..., 2, 1] = m[..., 1, 2] + m[..., 2, 1]
    k[..., 0, 3] = k[..., 3, 0] = m[..., 2, 1] - m[..., 1, 2]
    k[..., 1, 3] = k[..., 3, 1] = m[..., 0, 2] - m[..., 2, 0]
    k[..., 2, 3] = k[..., 3, 2] = m[..., 1, 0] - m[..., 0, 1]
    best = np.argmax(np.diagonal(k, axis1=-2, axis2=-1), axis=-1)
    q = np.take_along_axis(k, best[..., None, None], axis=-2)[..., 0, :]
    q = q / np.linalg.norm(q, axis=-1, keepdims=True)
    return np.where(q[..., 3:] < 0.0, -q, q)


def quat_from_rpy(rpy: ArrayLike) -> Array:
    """Unit quaternions (..., 4) of roll, pitch, yaw (..., 3) in radians."""
    half = 0.5 * np.asarray(rpy, dtype=np.float64)
    c, s = np.cos(half), np.sin(half)
    zero = np.zeros_like(c[..., 0])
    qx = np.stack([s[..., 0], zero, zero, c[..., 0]], axis=-1)
    qy = np.stack([zero, s[..., 1], zero, c[..., 1]], axis=-1)
    qz = np.stack([zero, zero, s[..., 2], c[..., 2]], axis=-1)
    return quat_multiply(qz, quat_multiply(qy, qx))


def rpy_from_quat(quat: ArrayLike) -> Array:
    """Roll, pitch, yaw (..., 3) in radians of unit quaternions (..., 4); pitch in [-pi/2, pi/2]."""
    m = matrix_from_quat(quat)
    pitch = np.arcsin(np.clip(-m[..., 2, 0], -1.0, 1.0))
    locked = np.abs(m[..., 2, 0]) > 1.0 - 1e-10
    # At gimbal lock only roll -/+ yaw is defined: put it all into roll, the usual choice.
    roll = np.where(locked, np.arctan2(-m[..., 1, 2], m[..., 1, 1]), np.arctan2(m[..., 2, 1], m[..., 2, 2]))
    yaw = np.where(locked, 0.0, np.arctan2(m[..., 1, 0], m[..., 0, 0]))
    return np.stack([roll, pitch, yaw], axis=-1)


def rot6d_from_quat(quat: ArrayLike) -> Array:
    """First two rows of the rotation matrix, flattened to (..., 6), dimensionless (Zhou et al. 2019)."""
    m = matrix_from_quat(quat)
    return m[..., :2, :].reshape(*m.shape[:-2], 6)


def quat_from_rot6d(rot6d: ArrayLike) -> Array:
    """Unit quaternions (..., 4) of 6-D rotations (..., 6), made orthonormal by Gram-Schmidt.

    Raises:
        ValueError: the two rows are zero or parallel, so they name no rotation.
    """
    r = np.asarray(rot6d, dtype=np.float64)
    first, second = r[..., :3], r[..., 3:]
    norm = np.linalg.norm(first, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        row0 = first / norm
        second = second - np.sum(row0 * second, axis=-1, keepdims=True) * row0
        norm1 = np.linalg.norm(second, axis=-1, keepdims=True)
        row1 = second / norm1
    if not (np.all(norm > 1e-6) and np.all(norm1 > 1e-6)):
        raise ValueError(f"6-D rotation {r.tolist()} has zero or parallel rows and names no rotation")
    return quat_from_matrix(np.stack([row0, row1, np.cross(row0, row1)], axis=-2))


def pose_multiply(a: ArrayLike, b: ArrayLike) -> Array:
    """Chain poses: ``T_a_c = T_a_b T_b_c``. Shapes (..., 7)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    position = a[..., :3] + quat_rotate(a[..., 3:], b[..., :3])
    return np.concatenate([position, quat_multiply(a[..., 3:], b[..., 3:])], axis=-1)


def pose_inverse(pose: ArrayLike) -> Array:
    """Inverse poses (..., 7)."""
    p = np.asarray(pose, dtype=np.float64)
    q = quat_inverse(p[..., 3:])
    return np.concatenate([-quat_rotate(q, p[..., :3]), q], axis=-1)


def interpolate_pose(a: ArrayLike, b: ArrayLike, u: ArrayLike) -> Array:
    """Straight line in position and slerp in rotation from ``a`` (u = 0) to ``b`` (u = 1); (..., 7)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    u = np.asarray(u, dtype=np.float64)
    position = a[..., :3] + u[..., None] * (b[..., :3] - a[..., :3])
    return np.concatenate([position, quat_slerp(a[..., 3:], b[..., 3:], u)], axis=-1)


def pose_distance(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Distance in position (m) and rotation (rad, in [0, pi]) between poses (..., 7)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    linear = np.linalg.norm(a[..., :3] - b[..., :3], axis=-1)
    angular = np.linalg.norm(rotvec_from_quat(quat_multiply(quat_inverse(a[..., 3:]), b[..., 3:])), axis=-1)
    return linear, angular


def pose_problem(pose: ArrayLike, unit_tolerance: float = 1e-2) -> str | None:
    """Say what is wrong with a single pose7, or None: not finite, or a quaternion that is not unit."""
    p = np.asarray(pose, dtype=np.float64)
    if p.shape != (7,):
        return f"has shape {p.shape}, expected (7,)"
    if not np.all(np.isfinite(p)):
        return f"is not finite: {p.tolist()}"
    norm = float(np.linalg.norm(p[3:]))
    if abs(norm - 1.0) > unit_tolerance:
        return f"has a quaternion of norm {norm:.4f}, expected 1"
    return None
