"""Where the commanded end effector may be: workspace box, table plane, keep-out boxes, orientation cone.

Each constraint offers three things. ``projected`` moves a target to the nearest allowed place. ``slowed`` limits the
part of a velocity that goes towards a boundary, so that the arm comes to rest on it. ``worsened`` judges a sequence
of samples: it names the constraint whose violation grows from one sample to the next. Inside the region the violation
is zero, so that nothing may leave it; a sequence that starts outside (an arm guided there by hand) may only come back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp_core.limits import KeepOutBox, OrientationCone, SafetySpec
from dp_core.rotations import Quaternion, Vector, add_scaled, cross, dot, norm, quat_turned, rotate

Array = NDArray[np.float64]
Speed = Callable[[float], float]

# Samples are judged against a region smaller by this, so that rounding never shows as a violation (m, rad).
ROUNDING = 1e-9
# Rounding of a sum of samples; a violation may grow by this.
NOISE = 1e-12
# Motion is led to this distance of a boundary; the last bit is left to the transients of following (m, rad).
INSET = 2e-5


@dataclass(frozen=True)
class _Face:
    """``sign * position[axis] <= sign * bound``."""

    name: str
    axis: int
    sign: float
    bound: float


class PositionRegion:
    """Box, table plane and keep-out boxes.

    Args:
        workspace_min_m: lower corner of the workspace box, base frame.
        workspace_max_m: upper corner.
        safety: table height and keep-out boxes.
    """

    def __init__(self, workspace_min_m: Vector, workspace_max_m: Vector, safety: SafetySpec) -> None:
        low = list(workspace_min_m)
        self._low_names = ["workspace"] * 3
        if safety.table_height_m is not None and safety.table_height_m > low[2]:
            low[2] = safety.table_height_m
            self._low_names[2] = "table"
        self._low: Vector = (low[0], low[1], low[2])
        self._high: Vector = workspace_max_m
        self._low_samples = np.array(self._low) + ROUNDING
        self._high_samples = np.array(self._high) - ROUNDING
        self._keep_out = [(f"keep_out:{name}", box) for name, box in sorted(safety.keep_out.items())]

    def margin(self, position: Vector) -> float:
        """Distance (m) within which nothing can be violated; negative outside."""
        margin = math.inf
        for p, low, high in zip(position, self._low, self._high, strict=True):
            margin = min(margin, p - low, high - p)
        for _, box in self._keep_out:
            margin = min(margin, _distance(box, position)[0])
        return margin - ROUNDING

    def worsened(self, positions: Array) -> str | None:
        """Name of a constraint that gets worse along samples (M, 3), or None."""
        if (positions.min(axis=0) >= self._low_samples).all() and (positions.max(axis=0) <= self._high_samples).all():
            return self._enters(positions)
        below = np.diff(np.maximum(self._low_samples - positions, 0.0), axis=0).max(axis=0)
        above = np.diff(np.maximum(positions - self._high_samples, 0.0), axis=0).max(axis=0)
        for axis in range(3):
            if below[axis] > NOISE:
                return self._low_names[axis]
            if above[axis] > NOISE:
                return "workspace"
        return self._enters(positions)

    def _enters(self, positions: Array) -> str | None:
        for name, box in self._keep_out:
            if _crosses(box, positions):
                return name
        return None

    def slowed(self, position: Vector, velocity: Vector, speed: Speed) -> tuple[Vector, tuple[str, ...]]:
        """Velocity whose part towards each boundary is at most ``speed(distance)``, and the names that acted.

        When nothing acts the very same velocity is returned.
        """
        names: tuple[str, ...] = ()
        v = list(velocity)
        for axis in range(3):
            if v[axis] > 0.0:
                allowed = speed(self._high[axis] - INSET - position[axis])
                if v[axis] > allowed:
                    v[axis] = allowed
                    names += ("workspace",)
            elif v[axis] < 0.0:
                allowed = speed(position[axis] - self._low[axis] - INSET)
                if v[axis] < -allowed:
                    v[axis] = -allowed
                    names += (self._low_names[axis],)
        if names:
            velocity = (v[0], v[1], v[2])
        for name, box in self._keep_out:
            distance, outward = _distance(box, position)
            towards = -dot(velocity, outward)
            if towards > 0.0:
                allowed = speed(distance - INSET)
                if towards > allowed:
                    velocity = add_scaled(velocity, outward, towards - allowed)
                    names += (name,)
        return velocity, names

    def projected(self, position: Vector, velocity: Vector) -> tuple[Vector, Vector, tuple[str, ...]]:
        """Nearest allowed place of a target and its velocity there, and the names that acted."""
        names: tuple[str, ...] = ()
        p, v = list(position), list(velocity)
        for axis in range(3):
            low, high = self._low[axis] + INSET, self._high[axis] - INSET
            if p[axis] < low:
                names += (self._low_names[axis],) if p[axis] < self._low[axis] else ()
                p[axis], v[axis] = low, 0.0
            elif p[axis] > high:
                names += ("workspace",) if p[axis] > self._high[axis] else ()
                p[axis], v[axis] = high, 0.0
        for name, box in self._keep_out:
            face = self._way_out(box, (p[0], p[1], p[2]))
            if face is not None:
                p[face.axis], v[face.axis] = face.bound + face.sign * INSET, 0.0
                names += (name,)
        return (p[0], p[1], p[2]), (v[0], v[1], v[2]), names

    def _way_out(self, box: KeepOutBox, position: Vector) -> _Face | None:
        """Nearest face of a keep-out box that leads into the workspace; None outside the box."""
        best, best_depth = None, math.inf
        for axis in range(3):
            low, high, p = box.min_m[axis], box.max_m[axis], position[axis]
            if not low - INSET < p < high + INSET:
                return None
            for sign, bound in ((-1.0, low), (1.0, high)):
                room = bound - self._low[axis] if sign < 0.0 else self._high[axis] - bound
                depth = abs(bound - p)
                if depth < best_depth and room > 2.0 * INSET:
                    best, best_depth = _Face("", axis, sign, bound), depth
        return best


class ConeRegion:
    """Orientation cone; without one, everything is allowed."""

    def __init__(self, cone: OrientationCone | None) -> None:
        self.active = cone is not None and cone.half_angle_rad < math.pi - 1e-3
        cone = cone or OrientationCone(math.pi)
        self._half = cone.half_angle_rad
        self._least_cosine = math.cos(cone.half_angle_rad - ROUNDING)
        self._tool = _unit(cone.tool_axis)
        self._base = _unit(cone.base_axis)

    def margin(self, quat: Quaternion) -> float:
        """Angle (rad) by which any turn stays inside; negative outside."""
        if not self.active:
            return math.inf
        return self._half - self._angle(rotate(quat, self._tool)) - 10.0 * ROUNDING

    def worsened(self, quat: Quaternion, turns: list[Vector], reaches: list[float]) -> str | None:
        """``orientation_cone`` when turning by ``turns`` (rotation vectors, one a sample) makes it worse, or None.

        Args:
            quat: where the samples begin.
            turns: rotation vectors of the base frame, one for each sample.
            reaches: for each sample, an upper bound on the angle of all turns after it.
        """
        axis = rotate(quat, self._tool)
        cosine = dot(axis, self._base)
        for turn, rest in zip(turns, reaches, strict=True):
            axis = _turned(axis, turn)
            before, cosine = cosine, dot(axis, self._base)
            if cosine < self._least_cosine and cosine < before - NOISE:
                return "orientation_cone"
            if self._half - self._angle(axis) - 10.0 * ROUNDING > rest:
                return None
        return None

    def slowed(self, quat: Quaternion, velocity: Vector, speed: Speed) -> tuple[Vector, tuple[str, ...]]:
        """Angular velocity whose part that tilts the tool outwards is at most ``speed(remaining angle)``."""
        if not self.active:
            return velocity, ()
        axis = rotate(quat, self._tool)
        outward = self._outward(axis)
        tilting = dot(velocity, outward)
        if tilting <= 0.0:
            return velocity, ()
        allowed = speed(self._half - INSET - self._angle(axis))
        if tilting <= allowed:
            return velocity, ()
        return add_scaled(velocity, outward, allowed - tilting), ("orientation_cone",)

    def projected(self, quat: Quaternion, velocity: Vector) -> tuple[Quaternion, Vector, tuple[str, ...]]:
        """Nearest allowed orientation of a target and its angular velocity there, and the names that acted."""
        if not self.active:
            return quat, velocity, ()
        axis = rotate(quat, self._tool)
        excess = self._angle(axis) - (self._half - INSET)
        if excess <= 0.0:
            return quat, velocity, ()
        outward = self._outward(axis)
        turned = quat_turned(quat, (-excess * outward[0], -excess * outward[1], -excess * outward[2]))
        names = ("orientation_cone",) if excess > INSET else ()
        return turned, add_scaled(velocity, outward, -max(dot(velocity, outward), 0.0)), names

    def _angle(self, axis: Vector) -> float:
        return math.atan2(norm(cross(self._base, axis)), dot(self._base, axis))

    def _outward(self, axis: Vector) -> Vector:
        """Axis of the turn that tilts the tool axis straight away from the cone's axis."""
        turn = cross(self._base, axis)
        length = norm(turn)
        if length > 1e-9:
            return (turn[0] / length, turn[1] / length, turn[2] / length)
        least = min(range(3), key=lambda i: abs(self._base[i]))
        return _unit(cross(self._base, (float(least == 0), float(least == 1), float(least == 2))))


def _turned(v: Vector, rotvec: Vector) -> Vector:
    """``v`` turned by a rotation vector (Rodrigues)."""
    angle2 = dot(rotvec, rotvec)
    if angle2 < 1e-10:
        a, b = 1.0 - angle2 / 6.0, 0.5 - angle2 / 24.0
    else:
        angle = math.sqrt(angle2)
        a, b = math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle2
    first = cross(rotvec, v)
    second = cross(rotvec, first)
    return (
        v[0] + a * first[0] + b * second[0],
        v[1] + a * first[1] + b * second[1],
        v[2] + a * first[2] + b * second[2],
    )


def _unit(v: Vector) -> Vector:
    length = norm(v)
    return (v[0] / length, v[1] / length, v[2] / length)


def _distance(box: KeepOutBox, position: Vector) -> tuple[float, Vector]:
    """Distance to a box (negative inside) and the direction away from it."""
    away = [0.0, 0.0, 0.0]
    deepest, nearest = -math.inf, (0, 1.0)
    for axis in range(3):
        low, high, p = box.min_m[axis], box.max_m[axis], position[axis]
        for sign, gap in ((-1.0, low - p), (1.0, p - high)):
            if gap > 0.0:
                away[axis] = sign * gap
            if gap > deepest:
                deepest, nearest = gap, (axis, sign)
    if deepest > 0.0:
        length = math.sqrt(away[0] * away[0] + away[1] * away[1] + away[2] * away[2])
        return length, (away[0] / length, away[1] / length, away[2] / length)
    outward = [0.0, 0.0, 0.0]
    outward[nearest[0]] = nearest[1]
    return deepest, (outward[0], outward[1], outward[2])


def _crosses(box: KeepOutBox, positions: Array) -> bool:
    """True when a sample goes deeper into the box, or the line between two samples outside it cuts it."""
    low, high = np.array(box.min_m) - ROUNDING, np.array(box.max_m) + ROUNDING
    if (positions.max(axis=0) <= low).any() or (positions.min(axis=0) >= high).any():
        return False
    depth = np.maximum(np.minimum(positions - low, high - positions).min(axis=1), 0.0)
    if (np.diff(depth) > NOISE).any():
        return True
    step = np.diff(positions, axis=0)
    step = np.where(np.abs(step) < 1e-300, 1e-300, step)
    first, second = (low - positions[:-1]) / step, (high - positions[:-1]) / step
    enter = np.minimum(first, second).max(axis=1)
    leave = np.maximum(first, second).min(axis=1)
    cut = (enter + 1e-9 < leave) & (enter < 1.0) & (leave > 0.0) & (depth[:-1] == 0.0)
    return bool(cut.any())
