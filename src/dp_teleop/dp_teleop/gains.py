"""How fast each axis moves the arm at present: scales, signs, locks and the speed tier, joined without a jump.

Pure. A change of any of them moves the gains to their new values within ``ramp_s``; so does an engaging clutch, from
zero. Letting the clutch go, or any other end of engagement, is a zero at once: control brakes within its limits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from dp_core.poses import quat_rotate
from dp_core.teleop_spec import AXES, TeleopSpec
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Another axis must be deflected by this factor more before it becomes the dominant one.
DOMINANCE = 1.25


@dataclass(frozen=True)
class GainState:
    """Memory of the gains between samples.

    Attributes:
        t_ns: of the last sample.
        gains: (6,) m/s and rad/s at full deflection, with sign; None: at their targets from the first sample on.
        rest: the last sample was engaged and had no deflection, so that no change of the gains can show.
        frame: in which the axes are meant at present.
        dominant: index of the axis that alone moves the arm.
        only_dominant: whether the lock is on.
        tier: number of the speed tier.
    """

    t_ns: int | None = None
    gains: Array | None = None
    rest: bool = False
    frame: str = ""
    dominant: int | None = None
    only_dominant: bool = False
    tier: int = 0


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


def full_scale(spec: TeleopSpec) -> Array:
    """(6,) m/s and rad/s: the most that an axis can give."""
    return np.repeat([spec.linear_scale_m_s, spec.angular_scale_rad_s], 3)


def choose_dominant(dominant: int | None, deflection: Array) -> int | None:
    """The axis that alone moves the arm; it stays while no other is clearly more deflected.

    Args:
        dominant: until now.
        deflection: (6,), after deadband and locks; [-1, 1].
    """
    sizes = np.abs(deflection)
    strongest = int(np.argmax(sizes))
    if sizes[strongest] == 0.0:
        return None
    if dominant is None or sizes[strongest] > DOMINANCE * sizes[dominant]:
        return strongest
    return dominant


def _target(state: GainState, spec: TeleopSpec) -> Array:
    """The gains that the settings ask for."""
    tier = spec.speed_tiers[min(state.tier, len(spec.speed_tiers) - 1)]
    gains = full_scale(spec) * np.asarray(spec.axis_scale) * np.asarray(spec.axis_signs, dtype=np.float64) * tier
    gains *= [axis not in spec.locked_axes for axis in AXES]
    if state.only_dominant:
        gains *= [index == state.dominant for index in range(len(AXES))]
    return gains


def step_gains(
    state: GainState, deflection: Array, engaged: bool, t_ns: int, spec: TeleopSpec
) -> tuple[GainState, Array, str]:
    """Gains after one more sample; also returns the twist (6,) and the frame in which it is.

    Args:
        state: memory, with the present tier and lock.
        deflection: (6,) after deadband and curve.
        engaged: the arm may move.
        t_ns: of the sample.
        spec: the mapping.
    """
    frame = state.frame or spec.frame
    free = deflection * [axis not in spec.locked_axes for axis in AXES]
    state = replace(state, dominant=choose_dominant(state.dominant, free) if state.only_dominant else None)
    target = _target(state, spec)
    if not engaged:
        return replace(state, t_ns=t_ns, gains=np.zeros(6), rest=False, frame=spec.frame), np.zeros(6), spec.frame
    rest = not np.any(deflection)
    if rest or state.rest or state.gains is None:
        frame, gains = spec.frame, target
    else:
        # A change of frame is one of direction: down in the old one, then up in the new one.
        goal = target if frame == spec.frame else np.zeros(6)
        gains = _approach(state.gains, goal, state.t_ns, t_ns, spec)
    after = frame if np.any(gains) else spec.frame
    return replace(state, t_ns=t_ns, gains=gains, rest=rest, frame=after), deflection * gains, frame


def _approach(present: Array, goal: Array, since_ns: int | None, t_ns: int, spec: TeleopSpec) -> Array:
    """Move gains towards their goal by full scale in ``ramp_s``."""
    if since_ns is None or spec.ramp_s == 0.0:
        return goal
    share = max(0.0, 1e-9 * (t_ns - since_ns)) / spec.ramp_s
    step = np.maximum(full_scale(spec), np.abs(present)) * share
    return present + np.clip(goal - present, -step, step)


def in_base(twist: Array, frame: str, tool_quat: Array | None) -> Array:
    """A twist (6,) in the base frame.

    Args:
        twist: (6,) m/s, rad/s in ``frame``.
        frame: base or tool.
        tool_quat: orientation of the tool in the base frame, xyzw; with ``frame`` tool only.
    """
    if frame != "tool" or tool_quat is None:
        return twist
    return np.concatenate([quat_rotate(tool_quat, twist[:3]), quat_rotate(tool_quat, twist[3:])])
