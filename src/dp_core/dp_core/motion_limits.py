"""Velocity, acceleration and workspace limits on a commanded end-effector pose.

One state, :class:`Motion` (pose and twist in the base frame), and two pure steps: :func:`follow_twist` for
teleoperation and :func:`follow_pose` for plans. Whatever comes in, the commanded pose stays inside the workspace and
within the limits of :class:`dp_core.contract.MotionLimits`; linear and angular parts are limited by their norms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp_core.limits import MotionLimits
from dp_core.poses import quat_from_rotvec, quat_inverse, quat_multiply, quat_normalise, rotvec_from_quat

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """Commanded pose7 (base frame) and twist (6,): linear m/s, then angular rad/s, in the base frame."""

    pose: Array
    twist: Array

    @staticmethod
    def at_rest(pose: Array) -> Motion:
        """A motion standing still at ``pose``."""
        return Motion(np.array(pose, dtype=np.float64), np.zeros(6))

    @property
    def resting(self) -> bool:
        """True when nothing moves."""
        return not np.any(self.twist)


def follow_twist(motion: Motion, twist: Array, dt_s: float, limits: MotionLimits) -> tuple[Motion, tuple[str, ...]]:
    """Move with the wanted twist for one period.

    Args:
        motion: state of the last period.
        twist: (6,) wanted twist in the base frame; zeros brake to a stop.
        dt_s: period, s.
        limits: see the module.

    Returns:
        The next motion and the names of the limits that were active.
    """
    active: list[str] = []
    linear = _limited(np.asarray(twist[:3], dtype=np.float64), limits.linear_velocity_m_s, "linear_velocity", active)
    angular = _limited(
        np.asarray(twist[3:], dtype=np.float64), limits.angular_velocity_rad_s, "angular_velocity", active
    )
    linear = _towards(motion.twist[:3], linear, limits.linear_acceleration_m_s2 * dt_s, "linear_acceleration", active)
    angular = _towards(
        motion.twist[3:], angular, limits.angular_acceleration_rad_s2 * dt_s, "angular_acceleration", active
    )
    linear = _keep_inside(motion.pose[:3], linear, dt_s, limits, active)
    pose = np.empty(7)
    pose[:3] = motion.pose[:3] + linear * dt_s
    pose[3:] = quat_normalise(quat_multiply(quat_from_rotvec(angular * dt_s), motion.pose[3:]))
    return Motion(pose, np.concatenate([linear, angular])), tuple(active)


def follow_pose(
    motion: Motion, target: Array, target_twist: Array, dt_s: float, limits: MotionLimits
) -> tuple[Motion, tuple[str, ...]]:
    """Move towards a target pose that itself moves with ``target_twist``.

    A target within the limits is met exactly, without lag; one beyond them is approached at the limits and met
    without overshoot (the closing speed is kept below what the acceleration limit can still brake).

    Args:
        motion: state of the last period.
        target: pose7 wanted at the end of this period.
        target_twist: (6,) velocity of the target; zeros for a target at rest.
        dt_s: period, s.
        limits: see the module.
    """
    linear_error = np.asarray(target[:3], dtype=np.float64) - motion.pose[:3]
    angular_error = rotvec_from_quat(quat_multiply(target[3:], quat_inverse(motion.pose[3:])))
    linear = _closing(linear_error, target_twist[:3], limits.linear_acceleration_m_s2, dt_s)
    angular = _closing(angular_error, target_twist[3:], limits.angular_acceleration_rad_s2, dt_s)
    return follow_twist(motion, np.concatenate([linear, angular]), dt_s, limits)


def _closing(error: Array, target_velocity: Array, acceleration: float, dt_s: float) -> Array:
    """Velocity that closes ``error`` on a target moving with ``target_velocity``."""
    feed_forward = np.asarray(target_velocity, dtype=np.float64)
    # error is measured against the target at the END of the period, so the part due to its motion is taken out.
    remaining = error - feed_forward * dt_s
    distance = float(np.linalg.norm(remaining))
    if distance < 1e-12:
        return feed_forward
    # Discrete braking: the largest v with v dt + v^2 / (2 a) <= distance, so that it can still stop on the target.
    step = acceleration * dt_s
    speed = min(distance / dt_s, 0.5 * (-step + np.sqrt(step * step + 8.0 * acceleration * distance)))
    return feed_forward + remaining * (speed / distance)


def _limited(vector: Array, limit: float, name: str, active: list[str]) -> Array:
    norm = float(np.linalg.norm(vector))
    if norm <= limit:
        return vector
    active.append(name)
    return vector * (limit / norm)


def _towards(current: Array, wanted: Array, step: float, name: str, active: list[str]) -> Array:
    change = wanted - current
    norm = float(np.linalg.norm(change))
    if norm <= step:
        return wanted
    active.append(name)
    return current + change * (step / norm)


def _keep_inside(position: Array, velocity: Array, dt_s: float, limits: MotionLimits, active: list[str]) -> Array:
    """Slow each axis in time to stop at the wall of the workspace box."""
    low, high = np.asarray(limits.workspace_min_m), np.asarray(limits.workspace_max_m)
    a = limits.linear_acceleration_m_s2 / np.sqrt(3.0)  # three axes may brake at once
    step = a * dt_s
    allowed = []
    for room in (high - position, position - low):
        braking = 0.5 * (-step + np.sqrt(step * step + 8.0 * a * np.maximum(room, 0.0)))
        # Outside the box (it can start there) no motion farther out.
        allowed.append(np.where(room > 0.0, np.minimum(braking, room / dt_s), 0.0))
    kept = np.clip(velocity, -allowed[1], allowed[0])
    if np.any(kept != velocity):
        active.append("workspace")
    return kept
