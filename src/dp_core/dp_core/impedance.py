"""Cartesian impedance law for a torque-controlled arm.

The end effector behaves like a mass on a spring towards the target pose:

    F   = K clip(x_target - x) + D (v_target - v)       (6,) newton | newton metre, base frame
    tau = J^T F + (I - J^T J^T+) tau_posture + bias     (n,) newton metre

The same law as Franka's Cartesian impedance example and crisp_controllers (which have v_target = 0). It runs inside the
physics loop of the simulator and in the effort back end, so it is pure numpy without input or output, and cheap (about
12 us). Nothing in it compensates friction: static friction of the joints adds a dead band of friction / stiffness.

**Bias.** The law adds ``bias`` as it is, so the caller decides who carries the arm. Where the robot adds gravity by
itself (Franka's FCI: effort commands exclude gravity and friction) the bias is the Coriolis torque ``C(q, dq) dq``
alone; where nobody does (Gazebo, MuJoCo, raw effort interfaces) it is ``C(q, dq) dq + g(q)``, the whole of what inverse
dynamics gives at zero acceleration. Gravity counted twice lifts the arm, gravity left out drops it.

**Damping.** The damping ratio is defined against the inertia seen at the end effector, ``Lambda = (J M^-1 J^T)^-1``.
``diagonal``: ``D = 2 ratio sqrt(K m)`` for each axis with the diagonal of Lambda at one posture, fixed. ``inertia``:
the whole of Lambda at the present posture, ``D = 2 ratio L (L^-1 K L^-T)^1/2 L^T`` with ``Lambda = L L^T``, which gives
each of the six modes of (Lambda, K) exactly that ratio (double diagonalisation: Albu-Schaeffer, Ott, Frese, Hirzinger,
"Cartesian impedance control of redundant robots", ICRA 2003); its caller renews it at a low rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp_core.configuration import ConfigurationError, require_choice

Array = NDArray[np.float64]

DAMPING_DESIGNS = ("diagonal", "inertia")

_PROJECTOR_REGULARISATION = 1e-6
# Caps the inertia near a singularity at 10 t, where no torque moves the tool anyway.
_MOBILITY_REGULARISATION = 1e-4
# A loop of 1 kHz or faster computes the torque of the posture, a third of the work, at every tenth call only: the
# posture is soft. In a slower loop that would be old enough to drive the null space instead of damping it.
_FAST_PERIOD_S = 0.0015
_FAST_POSTURE_EVERY = 10


@dataclass(frozen=True)
class ImpedanceGains:
    """Stiffness and limits of the law.

    Attributes:
        translational_stiffness_N_m: spring of the position, N/m.
        rotational_stiffness_Nm_rad: spring of the orientation, Nm/rad.
        damping_ratio: 1 is critical damping for the inertia seen at the end effector.
        damping: what that inertia is: diagonal (its diagonal at one posture) or inertia (the whole matrix, renewed as
            the arm moves); see the module.
        posture_stiffness_Nm_rad: joint spring in the null space towards the posture.
        torque_limit_Nm: largest torque per joint.
        torque_rate_limit_Nm_s: largest change of each joint's torque per second (Franka: 1000).
        error_clip_m: the spring stretches no farther than this, so that a far target pulls with a bounded force;
            None does not clip.
        error_clip_rad: the same for the orientation.
        feed_forward: damp against the target's twist, where the caller has it, instead of against zero: removes the
            lag D/K behind a moving target.
    """

    translational_stiffness_N_m: float = 3000.0
    rotational_stiffness_Nm_rad: float = 150.0
    damping_ratio: float = 1.0
    damping: str = "diagonal"
    posture_stiffness_Nm_rad: float = 10.0
    torque_limit_Nm: tuple[float, ...] = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
    torque_rate_limit_Nm_s: float = 1000.0
    error_clip_m: float | None = None
    error_clip_rad: float | None = None
    feed_forward: bool = False

    def __post_init__(self) -> None:
        """Refuse values without physical meaning."""
        for name in ("translational_stiffness_N_m", "rotational_stiffness_Nm_rad", "torque_rate_limit_Nm_s"):
            if not getattr(self, name) > 0.0:
                raise ConfigurationError(f"{name} must be > 0, got {getattr(self, name)}")
        if self.damping_ratio < 0.0 or self.posture_stiffness_Nm_rad < 0.0:
            raise ConfigurationError("damping_ratio and posture_stiffness_Nm_rad must be >= 0")
        require_choice("damping", self.damping, DAMPING_DESIGNS)
        for name in ("error_clip_m", "error_clip_rad"):
            if getattr(self, name) is not None and not getattr(self, name) > 0.0:
                raise ConfigurationError(f"{name} must be > 0 or empty, got {getattr(self, name)}")
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


def damping_matrix(stiffness: Array, inertia: Array, ratio: float = 1.0) -> Array:
    """Damping that gives every mode of ``inertia a + D v + diag(stiffness) x = 0`` the same damping ratio.

    Args:
        stiffness: (6,) N/m | Nm/rad.
        inertia: (6, 6) kg | kg m2 at the end effector, symmetric and positive definite.
        ratio: 1 is critical damping.

    Returns:
        (6, 6) symmetric and positive definite, N s/m | Nm s/rad.
    """
    lower = np.linalg.cholesky(inertia)
    half = np.linalg.solve(lower, np.diag(np.sqrt(stiffness)))
    modes, vectors = np.linalg.eigh(half @ half.T)
    factor = lower @ vectors
    return np.asarray(2.0 * ratio * (factor * np.sqrt(np.maximum(modes, 0.0))) @ factor.T)


def end_effector_inertia(jacobian: Array, mass: Array) -> Array:
    """``(J M^-1 J^T)^-1``, (6, 6) kg | kg m2, of a (6, n) Jacobian and an (n, n) joint-space mass matrix."""
    mobility = jacobian @ np.linalg.solve(mass, jacobian.T) + _MOBILITY_REGULARISATION * np.eye(6)
    inertia = np.linalg.inv(mobility)
    return np.asarray(0.5 * (inertia + inertia.T))


class CartesianImpedance:
    """The law with its one piece of memory, the last torque (for the rate limit). Not thread-safe.

    Attributes:
        damping: (6, 6) in use.
    """

    def __init__(self, gains: ImpedanceGains, effective_inertia: Array, posture: Array, period_s: float) -> None:
        """Allocate everything; `torque` allocates little.

        Args:
            gains: see `ImpedanceGains`.
            effective_inertia: (6,) kg | kg m2, see `damping_from_stiffness`; in use until `design_damping` is called.
            posture: (n,) rad, the null-space posture.
            period_s: time between two calls of `torque`, s.
        """
        joints = len(gains.torque_limit_Nm)
        self.gains = gains
        self.stiffness = gains.stiffness
        self.damping = np.diag(damping_from_stiffness(self.stiffness, effective_inertia, gains.damping_ratio))
        self.set_posture(posture)
        self._posture_damping = 2.0 * np.sqrt(gains.posture_stiffness_Nm_rad)
        self._highest = np.array(gains.torque_limit_Nm)
        self._lowest = -self._highest
        self._step_Nm = gains.torque_rate_limit_Nm_s * period_s
        self._posture_every = _FAST_POSTURE_EVERY if period_s < _FAST_PERIOD_S else 1
        self._regularisation = _PROJECTOR_REGULARISATION * np.eye(6)
        self._clips = gains.error_clip_m is not None or gains.error_clip_rad is not None
        self._last = np.zeros(joints)
        self._error, self._force, self._velocity = np.zeros(6), np.zeros(6), np.zeros(6)
        self._tau, self._change, self._posture_torque = np.zeros(joints), np.zeros(joints), np.zeros(joints)
        self._calls = 0

    def set_posture(self, posture: Array) -> None:
        """New null-space posture, (n,) rad."""
        self.posture = np.array(posture, dtype=float)
        joints = len(self.gains.torque_limit_Nm)
        if self.posture.shape != (joints,):
            raise ValueError(f"posture has shape {self.posture.shape}, the torque limits name {joints} joints")

    def reset(self, torque: Array) -> None:
        """Start the rate limit from `torque` (n,) Nm, usually the bias at rest."""
        self._last[:] = torque
        self._calls = 0

    def design_damping(self, jacobian: Array, mass: Array) -> None:
        """Renew the damping for the present posture; does nothing with the fixed design (about 45 us).

        Args:
            jacobian: (6, n) as in `torque`.
            mass: (n, n) kg m2, the joint-space mass matrix.
        """
        if self.gains.damping == "inertia":
            inertia = end_effector_inertia(jacobian, mass)
            self.damping = damping_matrix(self.stiffness, inertia, self.gains.damping_ratio)

    def torque(
        self,
        jacobian: Array,
        pose: tuple[Array, Array],
        joints: tuple[Array, Array],
        target: tuple[Array, Array],
        bias: Array,
        twist: Array | None = None,
    ) -> Array:
        """Joint torques of one control period.

        Args:
            jacobian: (6, n) linear over angular, end effector in the base frame.
            pose: measured position (3,) m and quat_xyzw (4,), base frame.
            joints: position (n,) rad and velocity (n,) rad/s.
            target: target position (3,) m and quat_xyzw (4,), base frame.
            bias: (n,) Nm, added as it is: what the robot does not add by itself, see the module.
            twist: (6,) m/s | rad/s of the target, base frame; heeded where the gains ask for feed-forward.

        Returns:
            (n,) Nm within the torque and torque-rate limits; a view that the next call overwrites.
        """
        if self._calls % self._posture_every == 0:
            self._update_posture_torque(jacobian, *joints)
        self._calls += 1
        error, force, velocity, tau = self._error, self._force, self._velocity, self._tau
        np.subtract(target[0], pose[0], out=error[:3])
        error[3:] = rotation_error(target[1], pose[1])
        if self._clips:
            self._clip(error)
        np.multiply(self.stiffness, error, out=force)
        np.matmul(jacobian, joints[1], out=velocity)
        if twist is not None and self.gains.feed_forward:
            velocity -= twist
        force -= self.damping @ velocity
        np.matmul(force, jacobian, out=tau)
        tau += bias
        tau += self._posture_torque
        return self._limited(tau)

    def relax(self, bias: Array) -> Array:
        """One period towards `bias` (n,) Nm alone, without spring and damper, within the limits; as `torque`."""
        self._calls = 0
        self._tau[:] = bias
        return self._limited(self._tau)

    def _limited(self, tau: Array) -> Array:
        """Torque limit, then rate limit; `tau` is overwritten."""
        change = self._change
        np.maximum(tau, self._lowest, out=tau)
        np.minimum(tau, self._highest, out=tau)
        np.subtract(tau, self._last, out=change)
        np.maximum(change, -self._step_Nm, out=change)
        np.minimum(change, self._step_Nm, out=change)
        self._last += change
        return self._last

    def _clip(self, error: Array) -> None:
        """Shorten the position and the rotation error to their bounds; the directions stay."""
        for part, bound in ((error[:3], self.gains.error_clip_m), (error[3:], self.gains.error_clip_rad)):
            length = math.sqrt(part @ part)
            if bound is not None and length > bound:
                part *= bound / length

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
