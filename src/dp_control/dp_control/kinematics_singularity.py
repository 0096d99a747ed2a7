"""Singularities of an arm: how near, how much damping, and constraints that keep it on its side of them.

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
# Below this singular value the joints are damped, up to the weight at zero.
_DAMPED = 0.06
_DAMPING = 2.5e-3
_BASE_DAMPING = 1e-8
# The approach of a singular value to the floor is limited, once it is seen.
_FLOOR = 0.02
_SEEN = 0.12
_BRAKING_PER_S2 = 0.5
_CREEP_PER_S = 0.05


class Singularity:
    """Singular values of the weighted Jacobian at one posture of the arm.

    Attributes:
        damping: weight of the joint velocities' squares.
        damped: True when near enough to a singularity to be damped.
    """

    def __init__(self, jacobian: Array, damping: float = 0.0) -> None:
        """Decompose ``jacobian`` (6, n), rows already weighted with :data:`WEIGHT`; ``damping`` is added to its own."""
        self._jacobian = jacobian
        squares, self._axes = np.linalg.eigh(jacobian @ jacobian.T)
        self._values = np.sqrt(np.maximum(squares, 0.0))  # ascending
        near = max(0.0, 1.0 - squares[0] / _DAMPED**2)
        self.damped = near > 0.0
        self.damping = _BASE_DAMPING + _DAMPING * near + damping
        self._inverse = 1.0 / (squares + self.damping)

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
        near = np.flatnonzero((self._values < _SEEN) & (self._values > 1e-6))
        rows = np.empty((len(near), len(joints)))
        for row, index in enumerate(near.tolist()):
            axis = self._axes[:, index]
            motion = self._jacobian.T @ axis / self._values[index]
            turned = WEIGHT * np.concatenate([base_to_ee @ axis[:3], base_to_ee @ axis[3:]])
            # With unit vectors u, v of a singular value u J v, its derivative is that of J alone.
            rows[row] = turned @ model.body_twist_derivative(joints, motion)
        return rows, -approach_speed(self._values[near] - _FLOOR, _BRAKING_PER_S2, _CREEP_PER_S, period_s)
