"""A judge of commanded motion that knows only the poses: finite differences, in plain numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from dp_core.limits import MotionLimits, SafetySpec

TOLERANCE = 1e-9


def turns(quats: np.ndarray) -> np.ndarray:
    """Rotation vectors (n - 1, 3) between unit quaternions (n, 4), by the vector part of q2 q1*."""
    a, b = quats[:-1], quats[1:]
    vector = a[:, 3:] * b[:, :3] - b[:, 3:] * a[:, :3] - np.cross(b[:, :3], a[:, :3])
    scalar = np.sum(a * b, axis=1)
    vector = vector * np.where(scalar < 0.0, -1.0, 1.0)[:, None]
    sine = np.linalg.norm(vector, axis=1)
    angle = 2.0 * np.arctan2(sine, np.abs(scalar))
    return vector * np.where(sine > 1e-15, angle / np.maximum(sine, 1e-15), 2.0)[:, None]


def derivatives(poses: np.ndarray, dt: float) -> dict[str, np.ndarray]:
    """Norms of velocity, acceleration and jerk of poses (n, 7) at period ``dt``; at rest before the first."""
    still = np.zeros((1, 3))
    found = {}
    for kind, steps in (("linear", np.diff(poses[:, :3], axis=0)), ("angular", turns(poses[:, 3:]))):
        velocity = np.concatenate([still, steps / dt])
        acceleration = np.concatenate([still, np.diff(velocity, axis=0) / dt])
        jerk = np.diff(acceleration, axis=0) / dt
        for name, values in (("velocity", velocity), ("acceleration", acceleration), ("jerk", jerk)):
            found[f"{kind}_{name}"] = np.linalg.norm(values, axis=1)
    return found


def depth(positions: np.ndarray, low, high) -> np.ndarray:
    """How deep positions (n, 3) are inside a box; zero outside."""
    inside = np.minimum(positions - np.array(low), np.array(high) - positions).min(axis=1)
    return np.maximum(inside, 0.0)


def violations(poses: np.ndarray, limits: MotionLimits, safety: SafetySpec) -> dict[str, np.ndarray]:
    """By how much each pose (n, 7) violates each constraint of place (m, rad)."""
    p, low = poses[:, :3], np.array(limits.workspace_min_m)
    found = {}
    for axis in range(3):
        found[f"below {axis}"] = np.maximum(low[axis] - p[:, axis], 0.0)
        found[f"above {axis}"] = np.maximum(p[:, axis] - limits.workspace_max_m[axis], 0.0)
    if safety.table_height_m is not None:
        found["table"] = np.maximum(safety.table_height_m - p[:, 2], 0.0)
    for name, box in safety.keep_out.items():
        found[name] = depth(p, box.min_m, box.max_m)
    if safety.orientation_cone is not None:
        cone = safety.orientation_cone
        u, w = poses[:, 3:6], poses[:, 6:]
        tool = np.array(cone.tool_axis) / np.linalg.norm(cone.tool_axis)
        axis = tool + 2.0 * np.cross(u, np.cross(u, tool) + w * tool)
        cosine = axis @ np.array(cone.base_axis) / np.linalg.norm(cone.base_axis)
        found["cone"] = np.maximum(np.arccos(np.clip(cosine, -1.0, 1.0)) - cone.half_angle_rad, 0.0)
    return found


def judge(poses, dt: float, limits: MotionLimits, safety: SafetySpec) -> None:
    """Fail when a sequence of commanded poses that begins at rest breaks a limit.

    Violations of place may not grow: zero stays zero, and what starts outside may only come back.
    """
    poses = np.asarray(poses, dtype=np.float64)
    assert np.all(np.isfinite(poses))
    assert np.allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0, atol=1e-9)
    units = {"velocity": "s", "acceleration": "s2", "jerk": "s3"}
    for name, values in derivatives(poses, dt).items():
        kind, quantity = name.split("_")
        limit = getattr(limits, f"{name}_{'m' if kind == 'linear' else 'rad'}_{units[quantity]}")
        worst = int(np.argmax(values))
        assert values[worst] <= limit * (1 + TOLERANCE), f"{name} {values[worst]!r} > {limit} at sample {worst}"
    for name, values in violations(poses, limits, safety).items():
        grown = np.diff(values)
        # acos loses half of its digits near the axis of the cone, never near its edge.
        assert np.all(grown <= 1e-10), f"{name} grew by {grown.max()!r} at sample {int(np.argmax(grown)) + 1}"


@pytest.fixture(scope="session")
def judge_motion() -> Callable[..., None]:
    return judge


@pytest.fixture(scope="session")
def motion_derivatives() -> Callable[..., dict[str, np.ndarray]]:
    return derivatives
