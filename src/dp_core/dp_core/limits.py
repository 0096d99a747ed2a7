"""Hard limits of a cell: how the commanded end effector may move, and where; and what makes control stop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from dp_core.configuration import ConfigurationError, require_choice, require_range

Vector = tuple[float, float, float]

DEAD_MAN_MODES = ("teleop", "policy")


@dataclass(frozen=True)
class MotionLimits:
    """Limits on the commanded motion of the end effector, in the base frame; linear and angular parts by their norms.

    The jerk limits have defaults so that contracts in older bags and checkpoints still read.
    """

    linear_velocity_m_s: float
    angular_velocity_rad_s: float
    linear_acceleration_m_s2: float
    angular_acceleration_rad_s2: float
    workspace_min_m: Vector
    workspace_max_m: Vector
    linear_jerk_m_s3: float = 150.0
    angular_jerk_rad_s3: float = 600.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("linear_velocity_m_s", self.linear_velocity_m_s, 1e-3, 3, "m/s")
        require_range("angular_velocity_rad_s", self.angular_velocity_rad_s, 1e-3, 10, "rad/s")
        require_range("linear_acceleration_m_s2", self.linear_acceleration_m_s2, 1e-2, 50, "m/s^2")
        require_range("angular_acceleration_rad_s2", self.angular_acceleration_rad_s2, 1e-2, 100, "rad/s^2")
        require_range("linear_jerk_m_s3", self.linear_jerk_m_s3, 1, 10000, "m/s^3")
        require_range("angular_jerk_rad_s3", self.angular_jerk_rad_s3, 1, 20000, "rad/s^3")
        _require_box("workspace_min_m", self.workspace_min_m, "workspace_max_m", self.workspace_max_m)


@dataclass(frozen=True)
class KeepOutBox:
    """An axis-aligned box of the base frame, metres, that the end effector's origin must not enter."""

    min_m: Vector
    max_m: Vector

    def __post_init__(self) -> None:
        """Check order."""
        _require_box("min_m", self.min_m, "max_m", self.max_m)


@dataclass(frozen=True)
class OrientationCone:
    """``tool_axis`` (end-effector frame) stays within ``half_angle_rad`` of ``base_axis`` (base frame)."""

    half_angle_rad: float
    tool_axis: Vector = (0.0, 0.0, 1.0)
    base_axis: Vector = (0.0, 0.0, -1.0)

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("half_angle_rad", self.half_angle_rad, 0.05, math.pi, "rad")
        for name in ("tool_axis", "base_axis"):
            if abs(math.hypot(*getattr(self, name)) - 1.0) > 1e-3:
                raise ConfigurationError(f"{name}: {getattr(self, name)} must have length 1")


@dataclass(frozen=True)
class SafetySpec:
    """What the safety supervisor watches. None and empty switch a rule off.

    Attributes:
        table_height_m: the end effector's origin stays above this height of the base frame.
        orientation_cone: see :class:`OrientationCone`.
        keep_out: named boxes that the end effector's origin does not enter.
        force_limit_N: norm of the measured force above which contact is a fault.
        torque_limit_Nm: the same for the measured torque.
        contact_time_s: the wrench must be above a limit for this long, so that one noisy sample stops nothing.
        dead_man: modes (teleop, policy) in which a person must hold the clutch button, else the arm brakes.
        takeover: a moved SpaceMouse takes over from the policy.
        takeover_linear_m_s: twist above which the SpaceMouse counts as moved.
        takeover_angular_rad_s: the same for turning.
        track_error_rad: farther than this between measured and commanded orientation is a fault.
        input_lost_s: an input missing for this long ends the mode: HOLD, and going on needs a request.
        minimum_rate: share of a stream's rate in the contract below which it counts as too slow.
    """

    table_height_m: float | None = None
    orientation_cone: OrientationCone | None = None
    keep_out: dict[str, KeepOutBox] = field(default_factory=dict)
    force_limit_N: float | None = None
    torque_limit_Nm: float | None = None
    contact_time_s: float = 0.02
    dead_man: tuple[str, ...] = ()
    takeover: bool = True
    takeover_linear_m_s: float = 0.01
    takeover_angular_rad_s: float = 0.05
    track_error_rad: float = 0.6
    input_lost_s: float = 1.0
    minimum_rate: float = 0.5

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.table_height_m is not None:
            require_range("table_height_m", self.table_height_m, -5, 5, "m")
        if self.force_limit_N is not None:
            require_range("force_limit_N", self.force_limit_N, 0.1, 1000, "N")
        if self.torque_limit_Nm is not None:
            require_range("torque_limit_Nm", self.torque_limit_Nm, 0.1, 500, "Nm")
        require_range("contact_time_s", self.contact_time_s, 0, 1, "s")
        for mode in self.dead_man:
            require_choice("dead_man", mode, DEAD_MAN_MODES)
        require_range("takeover_linear_m_s", self.takeover_linear_m_s, 1e-4, 1, "m/s")
        require_range("takeover_angular_rad_s", self.takeover_angular_rad_s, 1e-4, 5, "rad/s")
        require_range("track_error_rad", self.track_error_rad, 0.02, math.pi, "rad")
        require_range("input_lost_s", self.input_lost_s, 0.05, 60, "s")
        require_range("minimum_rate", self.minimum_rate, 0, 1)


def _require_box(low_name: str, low: Vector, high_name: str, high: Vector) -> None:
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise ConfigurationError(f"{low_name}: {low} must be below {high_name} {high} on each axis")
