"""Cartesian impedance law for a torque-controlled arm.

The end effector behaves like a mass on a spring towards the target pose:

    F   = K (x_target - x) - D v                        (6,) newton | newton metre, base frame
    tau = J^T F + (I - J^T J^T+) tau_posture + bias     (n,) newton metre

The same law as Franka's Cartesian impedance example and crisp_controllers. It runs inside the physics loop of the
simulator and in the effort back end, so it is pure numpy without input or output, and cheap (about 12 us).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp_core.configuration import ConfigurationError

Array = NDArray[np.float64]

_PROJECTOR_REGULARISATION = 1e-6
# The posture changes slowly: its torque is computed anew at every tenth call only.
_POSTURE_EVERY = 10


@dataclass(frozen=True)
class ImpedanceGains:
    """Stiffness and limits of the law.

    Attributes:
        translational_stiffness_N_m: spring of the position, N/m.
        rotational_stiffness_Nm_rad: spring of the orientation, Nm/rad.
        damping_ratio: 1 is critical damping for the effective inertia given to `damping_from_stiffness`.
        posture_stiffness_Nm_rad: joint spring in the null space towards the posture.
        torque_limit_Nm: largest torque per joint.
        torque_rate_limit_Nm_s: largest change of each joint's torque per second (Franka: 1000).
    """

    translational_stiffness_N_m: float = 3000.0
    rotational_stiffness_Nm_rad: float = 150.0
    damping_ratio: float = 1.0
    posture_stiffness_Nm_rad: float = 10.0
    torque_limit_Nm: tuple[float, ...] = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
    torque_rate_limit_Nm_s: float = 1000.0

    def __post_init__(self) -> None:
        """Refuse values without physical meaning."""
        for name in ("translational_stiffness_N_m", "rotational_stiffness_Nm_rad", "torque_rate_limit_Nm_s"):
            if not getattr(self, name) > 0.0:
                raise ConfigurationError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.damping_ratio < 0.0 or self.posture_stiffness_Nm_rad < 0.0:
            raise ConfigurationError("damping_ratio and posture_stiffness_Nm_rad must be >= 0")
        if not self.torque_limit_Nm or min(self.torque_limit_Nm) <= 0.0:
            raise ConfigurationError(f"torque_limit_Nm must be positive for each joint, got {self.torque_limit_Nm}")

    @property
    def stiffness(self) -> Array:
        """(6,) float64, N/m of x y z, then Nm/rad about x y z."""
        return np.repeat((self.translational_stiffness_N_m, self.rotational_stiffness_Nm_rad), 3).astype(float)


def damping_from_stiffness(stiffness: Array, effective_inertia: Array, ratio: float = 1.0) -> Array:
    """Damping per axis for a damping ratio: ``D = 2 ratio sqrt(K m)``.

    Args:
        stiffness: (6,) N/m | Nm/rad.
        effective_inertia: (6,) kg | kg m2 seen along each axis at the end effector.
        ratio: 1 is critical damping.

    Returns:
        (6,) N s/m | Nm s/rad.
    """
    return 2.0 * ratio * np.sqrt(np.asarray(stiffness, float) * np.asarray(effective_inertia, float))


class CartesianImpedance:
    """The law with its one piece of memory, the last torque (for the rate limit). Not thread-safe."""

    def __init__(self, gains: ImpedanceGains, effective_inertia: Array, posture: Array, period_s: float) -> None:
        """Allocate everything; `torque` allocates little.

        Args:
            gains: see `ImpedanceGains`.
            effective_inertia: (6,) kg | kg m2, see `damping_from_stiffness`.
            posture: (n,) rad, the null-space posture.
            period_s: time between two calls of `torque`, s.
        """
        joints = len(gains.torque_limit_Nm)
        self.gains = gains
        self.stiffness = gains.stiffness
        self.damping = damping_from_stiffness(self.stiffness, effective_inertia, gains.damping_ratio)
        self.posture = np.array(posture, dtype=float)
        if self.posture.shape != (joints,):
            raise ValueError(f"posture has shape {self.posture.shape}, the torque limits name {joints} joints")
        self._posture_damping = 2.0 * np.sqrt(gains.posture_stiffness_Nm_rad)
        self._highest = np.array(gains.torque_limit_Nm)
        self._lowest = -self._highest
        self._step_Nm = gains.torque_rate_limit_Nm_s * period_s
        self._regularisation = _PROJECTOR_REGULARISATION * np.eye(6)
        self._last = np.zeros(joints)
        self._error, self._force = np.zeros(6), np.zeros(6)
        self._tau, self._change, self._posture_torque = np.zeros(joints), np.zeros(joints), np.zeros(joints)
        self._calls = 0

    def reset(self, torque: Array) -> None:
        """Start the rate limit from `torque` (n,) Nm, usually the gravity bias at rest."""
        self._last[:] = torque
        self._calls = 0

    def torque(
        self,
        jacobian: Array,
        pose: tuple[Array, Array],
        joints: tuple[Array, Array],
        target: tuple[Array, Array],
        bias: Array,
    ) -> Array:
        """Joint torques of one control period.

        Args:
            jacobian: (6, n) linear over angular, end effector in the base frame.
            pose: measured position (3,) m and quat_xyzw (4,), base frame.
            joints: position (n,) rad and velocity (n,) rad/s.
            target: target position (3,) m and quat_xyzw (4,), base frame.
            bias: (n,) Nm gravity and Coriolis torque, added as it is.

        Returns:
            (n,) Nm within the torque and torque-rate limits; a view that the next call overwrites.
        """
        if self._calls % _POSTURE_EVERY == 0:
            self._update_posture_torque(jacobian, *joints)
        self._calls += 1
        error, force, tau, change = self._error, self._force, self._tau, self._change
        np.subtract(target[0], pose[0], out=error[:3])
        error[3:] = rotation_error(target[1], pose[1])
        np.multiply(self.stiffness, error, out=force)
        force -= self.damping * (jacobian @ joints[1])
        np.matmul(force, jacobian, out=tau)
        tau += bias
        tau += self._posture_torque
        np.maximum(tau, self._lowest, out=tau)
        np.minimum(tau, self._highest, out=tau)
        np.subtract(tau, self._last, out=change)
        np.maximum(change, -self._step_Nm, out=change)
        np.minimum(change, self._step_Nm, out=change)
        self._last += change
        return self._last

    def _update_posture_torque(self, jacobian: Array, position: Array, velocity: Array) -> None:
        """Spring and damper towards the posture, without what would move the end effector."""
        posture = self.gains.posture_stiffness_Nm_rad * (self.posture - position) - self._posture_damping * velocity
        gram = jacobian @ jacobian.T + self._regularisation
        self._posture_torque[:] = posture - np.linalg.solve(gram, jacobian @ posture) @ jacobian


def rotation_error(target_xyzw: Array, measured_xyzw: Array) -> tuple[float, float, float]:
    """Rotation vector (rad, base frame) that turns `measured` into `target`, along the short way."""
    tx, ty, tz, tw = target_xyzw.tolist()
    mx, my, mz, mw = measured_xyzw.tolist()
    w = tw * mw + tx * mx + ty * my + tz * mz
    x = -tw * mx + tx * mw - ty * mz + tz * my
    y = -tw * my + tx * mz + ty * mw - tz * mx
    z = -tw * mz - tx * my + ty * mx + tz * mw
    sine = (x * x + y * y + z * z) ** 0.5
    if sine < 1e-9:
        return 0.0, 0.0, 0.0
    scale = 2.0 * math.atan2(sine, abs(w)) / sine
    if w < 0.0:
        scale = -scale
    return scale * x, scale * y, scale * z
