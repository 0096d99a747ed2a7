"""How smooth a motion is and how well it follows another one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.poses import pose_distance, quat_inverse, quat_multiply, rotvec_from_quat
from numpy.typing import NDArray

from dp_bringup.control_bench.recorded_motion import RecordedMotion

Array = NDArray[np.float64]
#: Common delays tried: a soft servo trails whatever it is told.
_SHIFTS_S = 0.002 * np.arange(-25, 201)


@dataclass(frozen=True)
class MotionFigures:
    """Of one motion, sampled at the control period; norms of three axes.

    Attributes:
        velocity_step_m_s: largest change of velocity from one cycle to the next.
        velocity_step_rad_s: likewise of the angular velocity.
        jerk_m_s3: root mean square of the third difference over the period cubed.
        jerk_rad_s3: likewise of the orientation.
        error_rms_m: distance to the recorded motion at the same time.
        error_max_m: the largest.
        error_rms_rad: angle to it.
        shifted_rms_m: the same with the one delay (s) that makes its RMS smallest.
        shifted_max_m: the largest with that delay.
        shift_s: that delay.
    """

    velocity_step_m_s: float
    velocity_step_rad_s: float
    jerk_m_s3: float
    jerk_rad_s3: float
    error_rms_m: float
    error_max_m: float
    error_rms_rad: float
    shifted_rms_m: float
    shifted_max_m: float
    shift_s: float


def velocities(poses: Array, period_s: float) -> tuple[Array, Array]:
    """Linear and angular velocity (N-1, 3) between consecutive poses (N, 7), base frame."""
    linear = np.diff(poses[:, :3], axis=0) / period_s
    angular = rotvec_from_quat(quat_multiply(poses[1:, 3:], quat_inverse(poses[:-1, 3:]))) / period_s
    return linear, angular


def judge(poses: Array, times_s: Array, reference: RecordedMotion) -> MotionFigures:
    """Figures of a motion.

    Args:
        poses: (N, 7) at `times_s`, which are evenly spaced.
        times_s: (N,) s from the start of the reference.
        reference: what it should have done.
    """
    period_s = float(times_s[1] - times_s[0])
    linear, angular = velocities(poses, period_s)
    metres, radians = pose_distance(poses, reference.at(times_s))
    by_shift = [_distance(poses, times_s, reference, shift) for shift in _SHIFTS_S]
    best = int(np.argmin([_rms(distance) for distance in by_shift]))
    return MotionFigures(
        velocity_step_m_s=_largest_step(linear),
        velocity_step_rad_s=_largest_step(angular),
        jerk_m_s3=_jerk(linear, period_s),
        jerk_rad_s3=_jerk(angular, period_s),
        error_rms_m=_rms(metres),
        error_max_m=float(metres.max()),
        error_rms_rad=_rms(radians),
        shifted_rms_m=_rms(by_shift[best]),
        shifted_max_m=float(by_shift[best].max()),
        shift_s=float(_SHIFTS_S[best]),
    )


def _distance(poses: Array, times_s: Array, reference: RecordedMotion, shift_s: float) -> Array:
    place = np.clip((times_s - shift_s) * 1e3, 0.0, len(reference.poses) - 1)
    grid = np.arange(len(reference.poses))
    moved = np.stack([np.interp(place, grid, reference.poses[:, axis]) for axis in range(3)], axis=1)
    return np.linalg.norm(poses[:, :3] - moved, axis=1)


def _largest_step(velocity: Array) -> float:
    return float(np.linalg.norm(np.diff(velocity, axis=0), axis=1).max())


def _jerk(velocity: Array, period_s: float) -> float:
    return _rms(np.linalg.norm(np.diff(velocity, n=2, axis=0), axis=1)) / period_s**2


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
