"""How long the inverse kinematics takes, and how well it tracks, on a path of teleoperation's speed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from dp_core.poses import quat_from_rotvec, quat_multiply
from numpy.typing import ArrayLike, NDArray

from dp_control.interfaces import ArmKinematics

Array = NDArray[np.float64]

# Amplitudes and angular frequencies of the path.
_SHIFT_M = np.array([0.10, 0.20, 0.08])
_TURN_RAD = np.array([0.3, 0.0, 0.4])
_RATES_RAD_S = np.array([2.0, 1.5, 2.5])
# A joint that goes from accelerating to braking by more than this between two solves chatters.
ABRUPT_RAD_S2 = 10.0


@dataclass(frozen=True)
class SolveFigures:
    """Of all solves: durations in s (median, 99th percentile, longest), largest residuals, smoothness of the joints.

    Attributes:
        acceleration_rad_s2: largest change of a joint's velocity between two solves, per second.
        reversals: solves at which a joint's acceleration changes sign by more than :data:`ABRUPT_RAD_S2`.
    """

    p50_s: float
    p99_s: float
    longest_s: float
    residual_m: float
    residual_rad: float
    acceleration_rad_s2: float
    reversals: int


def tracking_path(home: Array, duration_s: float, period_s: float, swing_m: ArrayLike = _SHIFT_M) -> list[Array]:
    """Poses (pose7) that swing around ``home`` on all axes, from rest: up to some 0.35 m/s and 0.8 rad/s.

    Args:
        home: pose7 in the middle.
        duration_s: of the path.
        period_s: between two poses.
        swing_m: (3,) amplitudes; larger ones leave the arm's reach, and are faster.
    """
    poses = []
    for t in np.arange(0.0, duration_s, period_s):
        share = min(t, 1.0)
        swing = share**3 * (10.0 - 15.0 * share + 6.0 * share**2) * np.sin(_RATES_RAD_S * t)
        turn = quat_multiply(quat_from_rotvec(_TURN_RAD * swing), home[3:])
        poses.append(np.concatenate([home[:3] + np.asarray(swing_m) * swing, turn]))
    return poses


def measure(
    kinematics: ArmKinematics,
    start: ArrayLike,
    clock: Callable[[], float],
    duration_s: float = 20.0,
    period_s: float = 0.004,
    swing_m: ArrayLike = _SHIFT_M,
) -> SolveFigures:
    """Solve along :func:`tracking_path` around the pose at ``start`` (n,) rad.

    Args:
        kinematics: what is measured; started anew.
        start: joints (n,) rad in the middle of the workspace.
        clock: s, monotonic, such as ``time.perf_counter``.
        duration_s: of the path.
        period_s: of control.
        swing_m: (3,) amplitudes of the path.
    """
    joints = np.array(start, dtype=np.float64)
    kinematics.start(joints)
    times, left, velocities = [], np.zeros(2), [np.zeros(len(joints))]
    for pose in tracking_path(kinematics.forward(joints), duration_s, period_s, swing_m):
        before = clock()
        solution = kinematics.solve(pose, period_s)
        times.append(clock() - before)
        left = np.maximum(left, [solution.residual_m, solution.residual_rad])
        velocities.append(solution.velocity)
    p50, p99 = np.percentile(times, [50, 99])
    changes = np.diff(velocities, axis=0) / period_s
    jumps = np.abs(np.diff(changes, axis=0)) > ABRUPT_RAD_S2
    reversals = int(np.sum(np.any(jumps & (changes[1:] * changes[:-1] < 0.0), axis=1)))
    return SolveFigures(
        p50_s=float(p50),
        p99_s=float(p99),
        longest_s=float(max(times)),
        residual_m=float(left[0]),
        residual_rad=float(left[1]),
        acceleration_rad_s2=float(np.abs(changes).max()),
        reversals=reversals,
    )
