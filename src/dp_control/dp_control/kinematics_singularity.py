"""Singularities of an arm, as constraints on joint velocities that keep it on its side of them.

Past a singularity the arm would be in another posture for the same pose (elbow or wrist flipped), from which it does
not come back the way it went. Singular values are those of the Jacobian with radians weighted against metres.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp_control.kinematics_limits import approach_speed
from dp_control.robot_model import RobotModel

Array = NDArray[np.float64]

# Weight of a radian against a metre, m.
RADIAN_M = 0.3
WEIGHT: Array = np.repeat([1.0, RADIAN_M], 3)
WEIGHT.flags.writeable = False
# Added to squares, so that the inverse exists at the singularity.
_REGULAR = 1e-8
# The approach of a singular value to the floor is limited, once it is seen.
_FLOOR = 0.02
_SEEN = 0.12
_BRAKING_PER_S2 = 0.5
_CREEP_PER_S = 0.05


class Singularity:
    """Singular values of the weighted Jacobian at one posture of the arm."""

    def __init__(self, jacobian: Array) -> None:
        """Decompose ``jacobian`` (6, n), rows already weighted with :data:`WEIGHT`."""
        self._jacobian = jacobian
        squares, self._axes = np.linalg.eigh(jacobian @ jacobian.T)
        self._values = np.sqrt(np.maximum(squares, 0.0))  # ascending
        self._inverse = 1.0 / (squares + _REGULAR)

    def null_space(self, velocity: Array) -> Array:
        """The part of joint velocities (n,) that leaves the end effector alone."""
        jacobian, axes = self._jacobian, self._axes
        return velocity - jacobian.T @ (axes @ (self._inverse * (axes.T @ (jacobian @ velocity))))

    def rows(self, model: RobotModel, joints: Array, base_to_ee: Array, period_s: float) -> tuple[Array, Array]:
        """Constraints ``rows @ velocity >= slowest`` on the joint velocities.

        Args:
            model: the arm.
            joints: (n,) rad.
            base_to_ee: (3, 3) rotation of base axes into those of the end effector.
            period_s: s.

        Returns:
            Gradients (k, n) of the small singular values, and lowest rates (k,) 1/s.
        """
        count = int(np.searchsorted(self._values, _SEEN))
        rows = np.empty((count, len(joints)))
        for index in range(count):
            axis = self._axes[:, index]
            motion = self._jacobian.T @ axis / max(self._values[index], _REGULAR)
            turned = WEIGHT * np.concatenate([base_to_ee @ axis[:3], base_to_ee @ axis[3:]])
            # With unit vectors u, v of a singular value u J v, its derivative is that of J alone.
            rows[index] = turned @ model.body_twist_derivative(joints, motion)
        return rows, -approach_speed(self._values[:count] - _FLOOR, _BRAKING_PER_S2, _CREEP_PER_S, period_s)
