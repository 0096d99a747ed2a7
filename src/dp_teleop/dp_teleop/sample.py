"""What a device says at one instant, and what can be wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.teleop_spec import TeleopSpec
from numpy.typing import NDArray

Array = NDArray[np.float64]

# The spacenav node of ROS (3.3.0) publishes its reading 1,000 times a second, changed or not.
REPEAT_NS = 5_000_000
# Header of the messages of dp_teleop.virtual_spacemouse, which falls silent when its device goes, and whose keys do not
# tremble as a hand does.
VIRTUAL_FRAME_ID = "virtual_spacemouse"


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


def sample_problem(sample: SpaceMouseSample, spec: TeleopSpec) -> str | None:
    """Say what is wrong with a sample, or None."""
    if sample.axes.shape != (6,):
        return f"has {sample.axes.size} axes, expected 6"
    if not np.all(np.isfinite(sample.axes)):
        return "has an axis that is not finite"
    # The spacenav node tells of other buttons once they were pressed; until then they count as not pressed.
    needed = max(spec.gripper_button, spec.clutch_button)
    if len(sample.buttons) <= needed:
        return f"has {len(sample.buttons)} buttons, but button {needed} is in use"
    return None


def same_reading(a: SpaceMouseSample, b: SpaceMouseSample) -> bool:
    """Whether two samples read alike."""
    return a.buttons == b.buttons and bool(np.array_equal(a.axes, b.axes))


def is_repetition(last: SpaceMouseSample | None, sample: SpaceMouseSample) -> bool:
    """Whether a sample says nothing new: the same reading within 5 ms after ``last``."""
    if last is None or not 0 <= sample.t_ns - last.t_ns < REPEAT_NS:
        return False
    return same_reading(last, sample)
