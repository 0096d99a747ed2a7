"""Distances between the links of an arm, as constraints on joint velocities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp_control.kinematics_limits import approach_speed
from dp_control.robot_model import RobotModel, RobotModelError, import_pinocchio

Array = NDArray[np.float64]

# Links this many joints apart or more can touch; nearer ones overlap at their common joint or are kept apart by its
# limits.
_JOINTS_APART = 3
_SEEN_M = 0.15
# Braking of the approach.
_BRAKING_M_S2 = 1.0
_CREEP_M_S = 0.05
# Links nearer than that part with this time constant, slowly: the arm may have been started so.
_RETURN_S = 0.2
_RETURN_M_S = 0.005


class SelfCollision:
    """Keeps the collision shapes of a URDF apart. One thread.

    Attributes:
        distance_m: kept between any two links that can touch.
    """

    def __init__(self, model: RobotModel, distance_m: float = 0.02) -> None:
        """Pair the shapes of ``model``.

        Raises:
            RobotModelError: the URDF has no two shapes that can touch, or a mesh is not found.
        """
        self._pin = import_pinocchio()
        self.distance_m = distance_m
        self._model = model.pinocchio_model
        self._data = self._model.createData()
        self._shapes = model.collision_geometry()
        objects = self._shapes.geometryObjects
        supports = self._model.supports
        for i, first in enumerate(objects):
            for j in range(i + 1, len(objects)):
                # Joints between two links: those on one's way to the root and not on the other's.
                between = set(supports[first.parentJoint]) ^ set(supports[objects[j].parentJoint])
                if len(between) >= _JOINTS_APART:
                    self._shapes.addCollisionPair(self._pin.CollisionPair(i, j))
        if len(self._shapes.collisionPairs) == 0:
            raise RobotModelError(f"robot.self_collision: {model.path} has no collision shapes that can touch")
        self._results = self._shapes.createData()
        self._pairs = [(pair.first, pair.second) for pair in self._shapes.collisionPairs]

    def distances(self, joints: ArrayLike) -> Array:
        """Distance (k,) m of each pair at ``joints`` (n,) rad; negative where they overlap."""
        q = np.asarray(joints, dtype=np.float64)
        self._pin.computeDistances(self._model, self._data, self._shapes, self._results, q)
        return np.array([result.min_distance for result in self._results.distanceResults])

    def nearest(self, joints: ArrayLike) -> tuple[float, str, str]:
        """Smallest distance in m, and the names of the two shapes."""
        distances = self.distances(joints)
        index = int(distances.argmin())
        names = [self._shapes.geometryObjects[i].name for i in self._pairs[index]]
        return float(distances[index]), names[0], names[1]

    def rows(self, joints: Array, period_s: float) -> tuple[Array, Array]:
        """Constraints ``rows @ velocity >= slowest`` on the joint velocities.

        Returns:
            Gradients (k, n) m/rad of the distances of near pairs, and lowest rates (k,) m/s: such that the approach
            can brake, and positive where a pair is nearer than ``distance_m``.
        """
        distances = self.distances(joints)
        near = np.flatnonzero(distances < _SEEN_M)
        self._pin.computeJointJacobians(self._model, self._data, joints)
        rows = np.array([self._gradient(index) for index in near.tolist()]).reshape(len(near), len(joints))
        left = distances[near] - self.distance_m
        slowest = -approach_speed(left, _BRAKING_M_S2, _CREEP_M_S, period_s)
        return rows, slowest + np.clip(-left / _RETURN_S, 0.0, _RETURN_M_S)

    def _gradient(self, index: int) -> Array:
        """Derivative (n,) m/rad of a pair's distance by the joints."""
        result = self._results.distanceResults[index]
        first, second = (self._shapes.geometryObjects[i].parentJoint for i in self._pairs[index])
        normal = result.normal  # from the first shape to the second
        return normal @ (
            self._point_jacobian(second, result.getNearestPoint2())
            - self._point_jacobian(first, result.getNearestPoint1())
        )

    def _point_jacobian(self, joint: int, point: Array) -> Array:
        """Jacobian (3, n) m/rad of a point that moves with ``joint``, root axes."""
        if joint == 0:
            return np.zeros((3, self._model.nv))
        axes = self._pin.ReferenceFrame.LOCAL_WORLD_ALIGNED
        jacobian = self._pin.getJointJacobian(self._model, self._data, joint, axes)
        lever = point - self._data.oMi[joint].translation
        return jacobian[:3] - self._pin.skew(lever) @ jacobian[3:]
