"""Random cells for fault episodes: rates, limits, regions, ages and latencies that a contract allows."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from dp_core.contract import Contract, load_contract
from dp_core.limits import KeepOutBox, MotionLimits, OrientationCone, SafetySpec
from numpy.typing import NDArray

RATES_HZ = (100.0, 250.0, 500.0)
RATE_SHARES = (0.55, 0.3, 0.15)
#: How often an arm begins outside its region, as after guiding it by hand.
OUTSIDE_SHARE = 0.08


def random_cell(rng: np.random.Generator) -> Contract:
    """A contract like the simulated cell's with everything that control depends on drawn anew."""
    base = _base()
    rate = float(rng.choice(RATES_HZ, p=RATE_SHARES))
    dead_man = tuple(mode for mode in ("teleop", "policy") if rng.random() < 0.2)
    return replace(
        base,
        limits=_limits(rng),
        action=replace(
            base.action, rate_hz=float(rng.choice([5, 10, 20])), latency_s=_maybe(rng, 0.3, 0.0, 0.1) or 0.0
        ),
        gripper=replace(base.gripper, latency_s=_maybe(rng, 0.3, 0.0, 0.3) or 0.0),
        control=replace(
            base.control,
            rate_hz=rate,
            input_max_age_s=rng.uniform(0.05, 0.3),
            state_max_age_s=rng.uniform(0.05, 0.3),
            track_error_m=_log_uniform(rng, 0.02, 0.4),
        ),
        teleop=replace(base.teleop, clutch_button=1),
        safety=_safety(rng, dead_man),
    )


@cache
def _base() -> Contract:
    return load_contract("sim_franka")


def random_start(rng: np.random.Generator, contract: Contract) -> NDArray[np.float64]:
    """Where the arm is at first: pose7, mostly inside the region, tool near the axis of the cone."""
    limits, cone = contract.limits, contract.safety.orientation_cone
    low, high = np.array(limits.workspace_min_m), np.array(limits.workspace_max_m)
    margin = -0.15 if rng.random() < OUTSIDE_SHARE else 0.02
    position = rng.uniform(low + margin * (high - low), high - margin * (high - low))
    reach = math.pi if cone is None else 0.8 * cone.half_angle_rad
    if rng.random() < OUTSIDE_SHARE:
        reach = math.pi
    tilt, azimuth, spin = rng.uniform(0, reach), rng.uniform(0, 2 * math.pi), rng.uniform(0, 2 * math.pi)
    # Tool straight down, turned by `tilt` about a horizontal axis, and spun about the tool's own axis.
    axis = np.array([math.cos(azimuth), math.sin(azimuth), 0.0]) * math.sin(0.5 * tilt)
    tilted = _product(np.append(axis, math.cos(0.5 * tilt)), np.array([1.0, 0.0, 0.0, 0.0]))
    quat = _product(tilted, np.array([0.0, 0.0, math.sin(0.5 * spin), math.cos(0.5 * spin)]))
    return np.concatenate([position, quat / np.linalg.norm(quat)])


def _limits(rng: np.random.Generator) -> MotionLimits:
    centre = np.array([0.5, 0.0, 0.35])
    half = rng.uniform([0.08, 0.1, 0.1], [0.25, 0.4, 0.34])
    return MotionLimits(
        linear_velocity_m_s=_log_uniform(rng, 0.05, 1.7),
        angular_velocity_rad_s=_log_uniform(rng, 0.2, 4.0),
        linear_acceleration_m_s2=_log_uniform(rng, 0.5, 15.0),
        angular_acceleration_rad_s2=_log_uniform(rng, 2.0, 40.0),
        linear_jerk_m_s3=_log_uniform(rng, 10.0, 5000.0),
        angular_jerk_rad_s3=_log_uniform(rng, 40.0, 8000.0),
        workspace_min_m=_vector(centre - half),
        workspace_max_m=_vector(centre + half),
    )


def _safety(rng: np.random.Generator, dead_man: tuple[str, ...]) -> SafetySpec:
    boxes = {}
    for i in range(int(rng.choice(3, p=[0.5, 0.3, 0.2]))):
        middle, half = rng.uniform([0.35, -0.25, 0.05], [0.65, 0.25, 0.5]), rng.uniform(0.02, 0.12, 3)
        boxes[f"box{i}"] = KeepOutBox(_vector(middle - half), _vector(middle + half))
    return SafetySpec(
        table_height_m=_maybe(rng, 0.4, 0.0, 0.25),
        orientation_cone=OrientationCone(rng.uniform(0.3, 1.6)) if rng.random() < 0.4 else None,
        keep_out=boxes,
        force_limit_N=_maybe(rng, 0.4, 10.0, 60.0),
        torque_limit_Nm=_maybe(rng, 0.2, 2.0, 15.0),
        contact_time_s=rng.uniform(0.0, 0.05),
        dead_man=dead_man,
        takeover=bool(rng.random() < 0.8),
        track_error_rad=_log_uniform(rng, 0.1, 1.0),
        input_lost_s=rng.uniform(0.2, 1.0),
    )


def _vector(values: NDArray[Any]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _maybe(rng: np.random.Generator, share: float, low: float, high: float) -> float | None:
    """A uniform number with probability ``share``, else None."""
    value = rng.uniform(low, high)
    return float(value) if rng.random() < share else None


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hamilton product of two quaternions xyzw."""
    v = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(v, a[3] * b[3] - a[:3] @ b[:3])
