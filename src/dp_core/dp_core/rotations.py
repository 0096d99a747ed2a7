"""Vectors and rotations of plain floats, for the inner loop of control.

For one 3-vector, plain Python floats are several times quicker than numpy arrays, and allocate next to nothing. Vectors
are tuples (x, y, z), quaternions tuples (x, y, z, w); :mod:`dp_core.poses` has the same functions for arrays.
"""

from __future__ import annotations

import math

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

ZERO: Vector = (0.0, 0.0, 0.0)


def norm(v: Vector) -> float:
    """Euclidean norm."""
    return math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])


def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vector, b: Vector) -> Vector:
    """Vector product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def add_scaled(a: Vector, b: Vector, scale: float) -> Vector:
    """``a + scale b``."""
    return (a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2])


def scaled(v: Vector, scale: float) -> Vector:
    """``scale v``."""
    return (scale * v[0], scale * v[1], scale * v[2])


def quat_product(a: Quaternion, b: Quaternion) -> Quaternion:
    """Hamilton product: first rotate by ``b``, then by ``a``."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def quat_exp(rotvec: Vector) -> Quaternion:
    """Quaternion of a rotation vector (rad)."""
    angle = norm(rotvec)
    # Below 1e-4 rad the series is exact to the last bit and needs no division by the angle.
    k = 0.5 - angle * angle / 48.0 if angle < 1e-4 else math.sin(0.5 * angle) / angle
    return (k * rotvec[0], k * rotvec[1], k * rotvec[2], math.cos(0.5 * angle))


def quat_turned(q: Quaternion, rotvec: Vector) -> Quaternion:
    """``q`` turned by a rotation vector of the base frame (rad), of unit norm."""
    x, y, z, w = quat_product(quat_exp(rotvec), q)
    k = 1.0 / math.sqrt(x * x + y * y + z * z + w * w)
    return (k * x, k * y, k * z, k * w)


def rotvec_between(a: Quaternion, b: Quaternion) -> Vector:
    """Shortest rotation vector of the base frame (rad, norm in [0, pi]) that turns ``a`` into ``b``."""
    x, y, z, w = quat_product(b, (-a[0], -a[1], -a[2], a[3]))
    if w < 0.0:
        x, y, z, w = -x, -y, -z, -w
    sine = math.sqrt(x * x + y * y + z * z)
    k = 2.0 * math.atan2(sine, w) / sine if sine > 1e-12 else 2.0
    return (k * x, k * y, k * z)


def rotate(q: Quaternion, v: Vector) -> Vector:
    """``v`` turned by ``q``."""
    u = (q[0], q[1], q[2])
    t = cross(u, v)
    t = (2.0 * t[0], 2.0 * t[1], 2.0 * t[2])
    c = cross(u, t)
    return (v[0] + q[3] * t[0] + c[0], v[1] + q[3] * t[1] + c[1], v[2] + q[3] * t[2] + c[2])


def left_jacobian_times(rotvec: Vector, v: Vector) -> Vector:
    """Angular velocity (base frame) of a rotation ``exp(rotvec)`` whose rotation vector changes at rate ``v``."""
    angle2 = dot(rotvec, rotvec)
    if angle2 < 1e-6:
        b, c = 0.5 - angle2 / 24.0, 1.0 / 6.0 - angle2 / 120.0
    else:
        angle = math.sqrt(angle2)
        b, c = (1.0 - math.cos(angle)) / angle2, (angle - math.sin(angle)) / (angle2 * angle)
    first = cross(rotvec, v)
    second = cross(rotvec, first)
    return (
        v[0] + b * first[0] + c * second[0],
        v[1] + b * first[1] + c * second[1],
        v[2] + b * first[2] + c * second[2],
    )


def left_jacobian_solve(rotvec: Vector, v: Vector) -> Vector:
    """Inverse of :func:`left_jacobian_times`, for a rotation of at most pi."""
    angle2 = dot(rotvec, rotvec)
    if angle2 < 1e-6:
        c = 1.0 / 12.0 + angle2 / 720.0
    else:
        angle = math.sqrt(angle2)
        c = 1.0 / angle2 - 0.5 / (angle * math.tan(0.5 * angle))
    first = cross(rotvec, v)
    second = cross(rotvec, first)
    return (
        v[0] - 0.5 * first[0] + c * second[0],
        v[1] - 0.5 * first[1] + c * second[1],
        v[2] - 0.5 * first[2] + c * second[2],
    )
