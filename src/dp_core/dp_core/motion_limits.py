"""Limits on velocity, acceleration, jerk and place of a commanded end-effector pose.

:class:`MotionLimiter` is the last thing that a command passes. Each period it is asked to follow a twist (a person's)
or a moving pose (a plan's), or to brake. Whatever it is asked, finite differences of its poses at the control period
keep the limits of :class:`dp_core.limits.MotionLimits` (norms of linear and angular velocity, acceleration and jerk)
and its positions and orientations those of the workspace, the table, the keep-out boxes and the orientation cone. An
arm that starts outside its region may only come back.

The guarantee is that of :class:`dp_core.motion_shield.MotionShield`: no motion is begun without a verified stop. What
is proposed to the shield comes from :class:`dp_core.tracking_law.TrackingLaw`, which follows a feasible reference
exactly and slows down before boundaries, so that the shield itself rarely acts. Integration is semi-implicit
(a, then v, then the pose), which makes finite differences of the poses equal to the limited quantities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp_core import rotations
from dp_core.allowed_region import ConeRegion, PositionRegion
from dp_core.limits import MotionLimits, SafetySpec
from dp_core.motion_shield import MotionShield, RegionCheck, ShieldState, at_rest
from dp_core.rotations import Quaternion, Vector
from dp_core.stopping import AnyStop, SplitStop, basis, displacements, reach
from dp_core.tracking_law import TrackingLaw

Array = NDArray[np.float64]

# Inputs are clipped to this (SI units): their squares stay finite, and no limit is near it.
LARGEST_INPUT = 1e6

NOT_FINITE = "not_finite"

# Wanted velocity, and what would have been wanted a period ago.
_Wanted = tuple[Vector, Vector]


@dataclass(frozen=True)
class Motion:
    """Commanded pose7, twist (6,) and acceleration (6,), base frame: linear m/s, then angular rad/s; per s likewise."""

    pose: Array
    twist: Array
    acceleration: Array = field(default_factory=lambda: np.zeros(6))

    @staticmethod
    def at_rest(pose: Array) -> Motion:
        """A motion standing still at ``pose``."""
        return Motion(np.array(pose, dtype=np.float64), np.zeros(6), np.zeros(6))

    @property
    def resting(self) -> bool:
        """True when nothing moves."""
        return not np.any(self.twist)


class LimiterState(NamedTuple):
    """Everything a limiter remembers; see :meth:`MotionLimiter.snapshot`."""

    position: Vector
    quat: Quaternion
    linear: ShieldState
    angular: ShieldState
    linear_plan: Vector
    angular_plan: Vector
    reference_acceleration: Array | None
    references: tuple[Vector | None, Vector | None]


class MotionLimiter:
    """Commanded motion, one period at a time. One thread; deterministic; starts at the base frame's origin, at rest.

    Args:
        limits: velocity, acceleration, jerk and workspace.
        safety: table, keep-out boxes and cone; its other fields are not read.
        period_s: control period, constant.
    """

    def __init__(self, limits: MotionLimits, safety: SafetySpec, period_s: float) -> None:
        if not period_s > 0.0:
            raise ValueError(f"period_s: {period_s!r} must be > 0")
        self._period_s = period_s
        self._region = PositionRegion(limits.workspace_min_m, limits.workspace_max_m, safety)
        self._cone = ConeRegion(safety.orientation_cone)
        linear = (limits.linear_velocity_m_s, limits.linear_acceleration_m_s2, limits.linear_jerk_m_s3, period_s)
        angular = (
            limits.angular_velocity_rad_s,
            limits.angular_acceleration_rad_s2,
            limits.angular_jerk_rad_s3,
            period_s,
        )
        self._linear, self._angular = MotionShield(*linear, corners=True), MotionShield(*angular)
        self._linear_law, self._angular_law = TrackingLaw(*linear), TrackingLaw(*angular)
        self._position: Vector = rotations.ZERO
        self._quat: Quaternion = (0.0, 0.0, 0.0, 1.0)
        self._reference_acceleration: Array | None = None
        # Mean velocities of the references over the last period, while poses are followed.
        self._references: tuple[Vector | None, Vector | None] = (None, None)

    @property
    def motion(self) -> Motion:
        """The motion commanded last."""
        return Motion(
            np.array(self._position + self._quat),
            np.array(self._linear.velocity + self._angular.velocity),
            np.array(self._linear.acceleration + self._angular.acceleration),
        )

    def start(self, pose: Array) -> None:
        """Begin at rest at ``pose`` (7,), inside the region or not."""
        x, y, z, qx, qy, qz, qw = map(float, pose)
        self._position = (x, y, z)
        self._quat = _unit((qx, qy, qz, qw))
        self._linear.rest()
        self._angular.rest()
        self._forget()

    def snapshot(self) -> LimiterState:
        """State to go back to with :meth:`restore` after a step that was only tried."""
        return LimiterState(
            self._position, self._quat, self._linear.state, self._angular.state,
            self._linear_law.planned, self._angular_law.planned, self._reference_acceleration, self._references,
        )  # fmt: skip

    def restore(self, state: LimiterState) -> None:
        """Go back to a state of :meth:`snapshot`."""
        self._position, self._quat = state.position, state.quat
        self._linear.restore(state.linear)
        self._angular.restore(state.angular)
        self._linear_law.planned, self._angular_law.planned = state.linear_plan, state.angular_plan
        self._reference_acceleration, self._references = state.reference_acceleration, state.references

    def brake(self) -> tuple[str, ...]:
        """One period of the verified stop; at rest it stays. Nothing is limited, so no names."""
        self._linear.brake()
        self._angular.brake()
        self._forget()
        self._integrate()
        return ()

    def follow_twist(self, twist: Array) -> tuple[str, ...]:
        """One period towards a twist.

        Args:
            twist: (6,) wanted, base frame; zeros brake smoothly to rest.

        Returns:
            Names of the limits that acted; a twist that is not finite is not followed: ``not_finite``, braking.
        """
        if not _finite(twist):
            return (*self.brake(), NOT_FINITE)
        vx, vy, vz, wx, wy, wz = _clipped(twist)
        self._reference_acceleration, self._references = None, (None, None)
        linear, angular = (vx, vy, vz), (wx, wy, wz)
        return self._move((linear, linear), (angular, angular), [])

    def follow_pose(self, pose: Array, twist: Array, acceleration: Array) -> tuple[str, ...]:
        """One period towards a moving pose.

        A reference that keeps the limits is followed without lag; one that does not, or is far away, is approached
        within them and met without overshoot. Evaluate the reference on the loop's nominal times: jitter of the time
        of evaluation is a jitter of the reference.

        Args:
            pose: (7,) reference at the end of this period; outside the region, the nearest place in it is followed.
            twist: (6,) its velocity, base frame.
            acceleration: (6,) its acceleration.

        Returns:
            Names of the limits that acted; a reference that is not finite is not followed: ``not_finite``, braking.
        """
        if not (_finite(pose) and _finite(twist) and _finite(acceleration)):
            return (*self.brake(), NOT_FINITE)
        names: list[str] = []
        target, velocity, change = _clipped(pose), _clipped(twist), np.clip(acceleration, -LARGEST_INPUT, LARGEST_INPUT)
        # Mean of the reference's velocity over the period: exact while its jerk is constant.
        last = change if self._reference_acceleration is None else self._reference_acceleration
        self._reference_acceleration = change
        mean = ((change / -3.0 - last / 6.0) * self._period_s).tolist()
        linear = self._wanted_linear((target[0], target[1], target[2]), velocity[:3], mean[:3], names)
        quat = _unit((target[3], target[4], target[5], target[6]), self._quat)
        angular = self._wanted_angular(quat, velocity[3:], mean[3:], names)
        return self._move(linear, angular, names)

    def _wanted_linear(self, target: Vector, velocity: list[float], mean: list[float], names: list[str]) -> _Wanted:
        reference = (velocity[0] + mean[0], velocity[1] + mean[1], velocity[2] + mean[2])
        target, reference, outside = self._region.projected(target, reference)
        names.extend(outside)
        before = rotations.add_scaled(target, reference, -self._period_s)
        error = rotations.add_scaled(self._position, before, -1.0)
        last, self._references = self._references[0] or reference, (reference, self._references[1])
        return self._linear_law.closing_velocities(self._linear.velocity, reference, last, error)

    def _wanted_angular(
        self, target: Quaternion, velocity: list[float], mean: list[float], names: list[str]
    ) -> _Wanted:
        reference = (velocity[0] + mean[0], velocity[1] + mean[1], velocity[2] + mean[2])
        target, reference, outside = self._cone.projected(target, reference)
        names.extend(outside)
        reference, _ = self._angular_law.limited_speed(reference)
        before = rotations.quat_turned(target, rotations.scaled(reference, -self._period_s))
        error = rotations.rotvec_between(before, self._quat)
        last, self._references = self._references[1] or reference, (self._references[0], reference)
        return self._angular_law.closing_velocities(self._angular.velocity, reference, last, error)

    def _move(self, linear: _Wanted, angular: _Wanted, names: list[str]) -> tuple[str, ...]:
        """One tick towards the wanted velocities (now, and a period ago)."""
        law, speed = self._linear_law, self._linear_law.wall_speed
        wanted, fast = law.limited_speed(linear[0])
        wanted, walls = self._region.slowed(self._position, wanted, speed)
        before = rotations.add_scaled(self._position, self._linear.velocity, -self._period_s)
        last, _ = self._region.slowed(before, law.limited_speed(linear[1])[0], speed)
        _advance(self._linear, law, (wanted, last), fast, "linear", names, self._linear_problem)
        names.extend(walls)
        law, speed = self._angular_law, self._angular_law.wall_speed
        wanted, fast = law.limited_speed(angular[0])
        last = law.limited_speed(angular[1])[0]
        if self._cone.active:
            wanted, walls = self._cone.slowed(self._quat, wanted, speed)
            turned = rotations.quat_turned(self._quat, rotations.scaled(self._angular.velocity, -self._period_s))
            last, _ = self._cone.slowed(turned, last, speed)
            names.extend(walls)
        _advance(self._angular, law, (wanted, last), fast, "angular", names, self._angular_problem)
        self._integrate()
        return tuple(dict.fromkeys(names))

    def _integrate(self) -> None:
        self._position = rotations.add_scaled(self._position, self._linear.velocity, self._period_s)
        self._quat = rotations.quat_turned(self._quat, rotations.scaled(self._angular.velocity, self._period_s))

    def _forget(self) -> None:
        self._reference_acceleration, self._references = None, (None, None)
        self._linear_law.planned, self._angular_law.planned = self._linear.acceleration, self._angular.acceleration

    def _linear_problem(self, velocity: Vector, stop: AnyStop) -> str | None:
        """Constraint on the position that the next step and its stop would violate, or None."""
        dt = self._period_s
        if self._region.margin(self._position) >= dt * rotations.norm(velocity) + reach(stop, dt):
            return None
        start = np.array(self._position)
        moved = displacements(stop, dt)
        positions = np.empty((len(moved) + 1, 3))
        positions[0] = start
        np.add(moved, start + dt * np.array(velocity), out=positions[1:])
        return self._region.worsened(positions)

    def _angular_problem(self, velocity: Vector, stop: AnyStop) -> str | None:
        dt = self._period_s
        if self._cone.margin(self._quat) >= dt * rotations.norm(velocity) + reach(stop, dt):
            return None
        if isinstance(stop, SplitStop):
            return "orientation_cone"  # axes of the base frame have no walls in rotation; never planned
        table, v, c = basis(stop.ticks), stop.velocity, stop.change
        turns = [rotations.scaled(velocity, dt)]
        for b0, b1 in zip(table.from_velocity[1:], table.from_acceleration[1:], strict=True):
            b0, b1 = dt * b0, dt * b1
            turns.append((b0 * v[0] + b1 * c[0], b0 * v[1] + b1 * c[1], b0 * v[2] + b1 * c[2]))
        travelled = dt * (rotations.norm(v) * table.sum_velocity + rotations.norm(c) * table.sum_acceleration)
        return self._cone.worsened(self._quat, turns, (travelled[-1] - travelled).tolist())


def _advance(
    shield: MotionShield,
    law: TrackingLaw,
    wanted: _Wanted,
    fast: bool,
    kind: str,
    names: list[str],
    check: RegionCheck,
) -> None:
    """One tick of one 3-vector: law, then shield; adds the names of what acted."""
    proposal, strong, jerky = law.acceleration(wanted[0], wanted[1], shield.velocity, shield.acceleration)
    if at_rest(wanted[0], rotations.ZERO) and at_rest(shield.velocity, shield.acceleration):
        proposal = rotations.scaled(shield.velocity, -1.0 / law.period_s)
    problem = shield.propose(proposal, check)
    if fast or problem == "velocity":
        names.append(f"{kind}_velocity")
    if strong:
        names.append(f"{kind}_acceleration")
    if jerky:
        names.append(f"{kind}_jerk")
    if problem is not None and problem != "velocity":
        names.append(problem)


def _finite(values: Array) -> bool:
    return all(map(math.isfinite, values))


def _clipped(values: Array) -> list[float]:
    return [min(max(float(x), -LARGEST_INPUT), LARGEST_INPUT) for x in values]


def _unit(quat: Quaternion, otherwise: Quaternion = (0.0, 0.0, 0.0, 1.0)) -> Quaternion:
    x, y, z, w = quat
    size = (x * x + y * y + z * z + w * w) ** 0.5
    return (x / size, y / size, z / size, w / size) if size > 1e-9 else otherwise
