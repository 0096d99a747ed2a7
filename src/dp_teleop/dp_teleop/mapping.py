"""SpaceMouse samples to a wanted twist and gripper commands. Pure: ``step(state, sample, t_ns)``."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from dp_core.contract import GripperSpec, TeleopSpec
from dp_core.poses import quat_rotate
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The spacenav node of ROS (3.3.0) publishes its reading 1,000 times a second, changed or not.
REPEAT_NS = 5_000_000


@dataclass(frozen=True)
class SpaceMouseSample:
    """One reading of the device.

    Attributes:
        t_ns: when it was read, ROS time.
        axes: (6,) x y z roll pitch yaw in [-1, 1], x forward, y left, z up (REP-103).
        buttons: pressed or not.
    """

    t_ns: int
    axes: Array
    buttons: tuple[bool, ...]


@dataclass(frozen=True)
class MappingState:
    """Memory of the mapping between samples."""

    gripper_closed: bool = False
    button_down: bool = False
    last_toggle_ns: int | None = None


@dataclass(frozen=True)
class TeleopCommand:
    """Wanted twist (6,) in the base frame (m/s, rad/s) and gripper width (m).

    ``toggled``: the width is new. ``engaged``: the clutch is held, where there is one, and the tool frame is known,
    where it is needed.
    """

    twist: Array
    width: float
    toggled: bool
    engaged: bool


def sample_problem(sample: SpaceMouseSample, spec: TeleopSpec) -> str | None:
    """Say what is wrong with a sample, or None."""
    if sample.axes.shape != (6,):
        return f"has {sample.axes.size} axes, expected 6"
    if not np.all(np.isfinite(sample.axes)):
        return "has an axis that is not finite"
    needed = max(spec.gripper_button, spec.clutch_button)
    if len(sample.buttons) <= needed:
        return f"has {len(sample.buttons)} buttons, but button {needed} is in use"
    return None


def is_repetition(last: SpaceMouseSample | None, sample: SpaceMouseSample) -> bool:
    """Whether a sample says nothing new: the same reading within 5 ms after ``last``."""
    if last is None or not 0 <= sample.t_ns - last.t_ns < REPEAT_NS:
        return False
    return sample.buttons == last.buttons and bool(np.array_equal(sample.axes, last.axes))


def shape_axis(value: Array, deadband: float, expo: float) -> Array:
    """Deadband and expo curve; odd, continuous, maps [-1, 1] onto itself.

    Args:
        value: any shape, [-1, 1].
        deadband: share around zero that gives zero; the rest is stretched so that nothing jumps at its edge.
        expo: 0 linear to 1 cubic.
    """
    clipped = np.clip(value, -1.0, 1.0)
    beyond = np.maximum(np.abs(clipped) - deadband, 0.0) / (1.0 - deadband)
    return np.sign(clipped) * ((1.0 - expo) * beyond + expo * beyond**3)


def step(
    state: MappingState,
    sample: SpaceMouseSample,
    tool_quat: Array | None,
    spec: TeleopSpec,
    gripper: GripperSpec,
) -> tuple[MappingState, TeleopCommand]:
    """Map one sample.

    Args:
        state: memory.
        sample: checked with :func:`sample_problem`.
        tool_quat: measured orientation of the end effector in the base frame, xyzw; needed for ``frame: tool``.
        spec: the mapping.
        gripper: widths of open and closed.
    """
    axes = shape_axis(sample.axes, spec.deadband, spec.expo) * np.asarray(spec.axis_signs, dtype=np.float64)
    twist = np.concatenate([axes[:3] * spec.linear_scale_m_s, axes[3:] * spec.angular_scale_rad_s])
    engaged = spec.clutch_button < 0 or bool(sample.buttons[spec.clutch_button])
    if spec.frame == "tool":
        if tool_quat is None:
            engaged = False
        else:
            twist = np.concatenate([quat_rotate(tool_quat, twist[:3]), quat_rotate(tool_quat, twist[3:])])
    if not engaged:
        twist = np.zeros(6)
    down = sample.buttons[spec.gripper_button]
    since = None if state.last_toggle_ns is None else sample.t_ns - state.last_toggle_ns
    # A negative time since the last toggle means that the clock was set back.
    settled = since is None or since < 0 or since >= 1e9 * spec.button_debounce_s
    toggled = down and not state.button_down and settled
    closed = state.gripper_closed != toggled
    state = replace(
        state,
        gripper_closed=closed,
        button_down=down,
        last_toggle_ns=sample.t_ns if toggled else state.last_toggle_ns,
    )
    width = gripper.min_width_m if closed else gripper.max_width_m
    return state, TeleopCommand(twist, width, toggled, engaged)
