"""Parallel gripper: position servo with speed and force limits on two coupled fingers."""

from __future__ import annotations

MAX_WIDTH_M = 0.08
DEFAULT_SPEED_M_S = 0.1
DEFAULT_FORCE_N = 20.0
MAX_SPEED_M_S = 0.2
MAX_FORCE_N = 70.0

_STIFFNESS_N_M = 2000.0
_DAMPING_N_S_M = 30.0


class GripperServo:
    """Moves a reference towards the target width and presses the fingers after it.

    The reference never runs further ahead of the measured width than the force limit can use, so a gripper that
    closed on an object opens without delay.
    """

    def __init__(self) -> None:
        self.reset(MAX_WIDTH_M)

    def reset(self, width_m: float) -> None:
        """Rest at `width_m`."""
        self._target = self._reference = width_m
        self._speed, self._force = DEFAULT_SPEED_M_S, DEFAULT_FORCE_N

    def command(self, width_m: float, speed_m_s: float = 0.0, force_N: float = 0.0) -> None:
        """New target. Width is clipped to the stroke; zero speed or force means the default."""
        self._target = min(max(width_m, 0.0), MAX_WIDTH_M)
        self._speed = min(speed_m_s, MAX_SPEED_M_S) if speed_m_s > 0.0 else DEFAULT_SPEED_M_S
        self._force = min(force_N, MAX_FORCE_N) if force_N > 0.0 else DEFAULT_FORCE_N

    def forces(self, q1: float, q2: float, v1: float, v2: float, period_s: float) -> tuple[float, float]:
        """Force on each finger (N, positive opens) for finger positions (m) and velocities (m/s)."""
        lead = 2.0 * self._force / _STIFFNESS_N_M + 0.005
        width = q1 + q2
        change = self._speed * period_s
        reference = self._reference + min(max(self._target - self._reference, -change), change)
        self._reference = min(max(reference, width - lead), width + lead)
        half = 0.5 * self._reference
        limit = self._force
        first = min(max(_STIFFNESS_N_M * (half - q1) - _DAMPING_N_S_M * v1, -limit), limit)
        second = min(max(_STIFFNESS_N_M * (half - q2) - _DAMPING_N_S_M * v2, -limit), limit)
        return first, second
