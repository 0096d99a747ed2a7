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

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dp_core import rotations
from dp_core.allowed_region import ConeRegion, PositionRegion
from dp_core.limits import MotionLimits, SafetySpec
from dp_core.motion_shield import MotionShield, ShieldState, at_rest
from dp_core.poses import quat_from_rotvec, quat_inverse, quat_multiply, quat_normalise, rotvec_from_quat
from dp_core.rotations import Quaternion, Vector
from dp_core.stopping import Stop, basis, displacements, reach
from dp_core.tracking_law import TrackingLaw

Array = NDArray[np.float64]

# Inputs are clipped to this (SI units): their squares stay finite, and no limit is near it.
LARGEST_INPUT = 1e6


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
    linear_memory: tuple[Vector, Vector]
    angular_memory: tuple[Vector, Vector]
    reference_acceleration: Array | None


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
        self._linear, self._angular = MotionShield(*linear), MotionShield(*angular)
        self._linear_law, self._angular_law = TrackingLaw(*linear), TrackingLaw(*angular)
        self._position: Vector = rotations.ZERO
        self._quat: Quaternion = (0.0, 0.0, 0.0, 1.0)
        self._reference_acceleration: Array | None = None

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
            self._linear_law.memory, self._angular_law.memory, self._reference_acceleration,
        )  # fmt: skip

    def restore(self, state: LimiterState) -> None:
        """Go back to a state of :meth:`snapshot`."""
        self._position, self._quat = state.position, state.quat
        self._linear.restore(state.linear)
        self._angular.restore(state.angular)
        self._linear_law.memory, self._angular_law.memory = state.linear_memory, state.angular_memory
        self._reference_acceleration = state.reference_acceleration

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
            twist: (6,) wanted, base frame; zeros brake smoothly to rest. Finite.

        Returns:
            Names of the limits that acted.
        """
        wanted = _clipped(twist)
        self._reference_acceleration = None
        return self._move((wanted[0], wanted[1], wanted[2]), (wanted[3], wanted[4], wanted[5]), [])

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
            Names of the limits that acted.
        """
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

    def _wanted_linear(self, target: Vector, velocity: list[float], mean: list[float], names: list[str]) -> Vector:
        wanted = (velocity[0] + mean[0], velocity[1] + mean[1], velocity[2] + mean[2])
        target, wanted, outside = self._region.projected(target, wanted)
        names.extend(outside)
        before = rotations.add_scaled(target, wanted, -self._period_s)
        error = rotations.add_scaled(self._position, before, -1.0)
        return _closing(wanted, error, self._linear_law)

    def _wanted_angular(self, target: Quaternion, velocity: list[float], mean: list[float], names: list[str]) -> Vector:
        wanted = (velocity[0] + mean[0], velocity[1] + mean[1], velocity[2] + mean[2])
        target, wanted, outside = self._cone.projected(target, wanted)
        names.extend(outside)
        wanted, _ = self._angular_law.limited_speed(wanted)
        before = rotations.quat_turned(target, rotations.scaled(wanted, -self._period_s))
        return _closing(wanted, rotations.rotvec_between(before, self._quat), self._angular_law)

    def _move(self, linear: Vector, angular: Vector, names: list[str]) -> tuple[str, ...]:
        linear, fast = self._linear_law.limited_speed(linear)
        linear, walls = self._region.slowed(self._position, linear, self._linear_law.wall_speed)
        _advance(self._linear, self._linear_law, linear, fast, "linear", names, self._linear_problem)
        names.extend(walls)
        angular, fast = self._angular_law.limited_speed(angular)
        angular, walls = self._cone.slowed(self._quat, angular, self._angular_law.wall_speed)
        _advance(self._angular, self._angular_law, angular, fast, "angular", names, self._angular_problem)
        names.extend(walls)
        self._integrate()
        return tuple(dict.fromkeys(names))

    def _integrate(self) -> None:
        self._position = rotations.add_scaled(self._position, self._linear.velocity, self._period_s)
        self._quat = rotations.quat_turned(self._quat, rotations.scaled(self._angular.velocity, self._period_s))

    def _forget(self) -> None:
        self._reference_acceleration = None
        self._linear_law.forget(self._linear.velocity, self._linear.acceleration)
        self._angular_law.forget(self._angular.velocity, self._angular.acceleration)

    def _linear_problem(self, velocity: Vector, stop: Stop) -> str | None:
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

    def _angular_problem(self, velocity: Vector, stop: Stop) -> str | None:
        dt = self._period_s
        if self._cone.margin(self._quat) >= dt * rotations.norm(velocity) + reach(stop, dt):
            return None
        table, v, c = basis(stop.ticks), stop.velocity, stop.change
        turns = [rotations.scaled(velocity, dt)]
        for b0, b1 in zip(table.from_velocity[1:], table.from_acceleration[1:], strict=True):
            b0, b1 = dt * b0, dt * b1
            turns.append((b0 * v[0] + b1 * c[0], b0 * v[1] + b1 * c[1], b0 * v[2] + b1 * c[2]))
        travelled = dt * (rotations.norm(v) * table.sum_velocity + rotations.norm(c) * table.sum_acceleration)
        return self._cone.worsened(self._quat, turns, (travelled[-1] - travelled).tolist())


def _advance(shield, law, wanted, fast, kind, names, check) -> None:  # type: ignore[no-untyped-def]
    """One tick of one 3-vector: law, then shield; adds the names of what acted."""
    proposal, strong, jerky = law.acceleration(wanted, shield.velocity, shield.acceleration)
    if at_rest(wanted, rotations.ZERO) and at_rest(shield.velocity, shield.acceleration):
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


def _closing(reference: Vector, error: Vector, law: TrackingLaw) -> Vector:
    """Velocity that takes ``error`` (from the reference to the arm) to zero while the reference moves."""
    distance = rotations.norm(error)
    if distance == 0.0:
        return reference
    return rotations.add_scaled(reference, error, -law.closing_speed(distance) / distance)


def _clipped(values: Array) -> list[float]:
    return [min(max(float(x), -LARGEST_INPUT), LARGEST_INPUT) for x in values]


def _unit(quat: Quaternion, otherwise: Quaternion = (0.0, 0.0, 0.0, 1.0)) -> Quaternion:
    x, y, z, w = quat
    size = (x * x + y * y + z * z + w * w) ** 0.5
    return (x / size, y / size, z / size, w / size) if size > 1e-9 else otherwise


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
    linear = _old_closing(linear_error, target_twist[:3], limits.linear_acceleration_m_s2, dt_s)
    angular = _old_closing(angular_error, target_twist[3:], limits.angular_acceleration_rad_s2, dt_s)
    return follow_twist(motion, np.concatenate([linear, angular]), dt_s, limits)


def _old_closing(error: Array, target_velocity: Array, acceleration: float, dt_s: float) -> Array:
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
