"""Whether readings are still those of a device, where nobody says when it goes. Pure.

The spacenav node goes on publishing after the cable was pulled: zeros, or the last deflection with
``zero_when_static: false``, and the buttons as they were, all with present stamps. A spacenavd before 1.0, and any
spacenavd whose wireless SpaceMouse is out of reach, look alike. What tells a device from that is change. A hand that
deflects a cap trembles, so a deflection without any change is frozen. A hand that holds the clutch with the cap at rest
looks exactly like a pulled cable, so the clutch must be confirmed from time to time: by touching the cap, which need
not move the arm (a touch within the deadband counts).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.teleop_spec import TeleopSpec

from dp_teleop.sample import SpaceMouseSample, same_reading


@dataclass(frozen=True)
class LivenessState:
    """The last reading, and when one last differed from that before it, ROS time."""

    last: SpaceMouseSample | None = None
    changed_ns: int = 0


def watch_liveness(state: LivenessState, sample: SpaceMouseSample, spec: TeleopSpec) -> tuple[LivenessState, str]:
    """Judge one more reading.

    Args:
        state: memory.
        sample: checked with :func:`dp_teleop.sample.sample_problem`.
        spec: gives the times.

    Returns:
        The new state, and why the device counts as lost, or empty.
    """
    last = state.last
    changed = last is None or sample.t_ns < last.t_ns or not same_reading(last, sample)
    state = LivenessState(sample, sample.t_ns if changed else state.changed_ns)
    still_s = 1e-9 * (sample.t_ns - state.changed_ns)
    if np.any(sample.axes):
        if 0.0 < spec.frozen_s <= still_s:
            return state, f"the deflection has not changed at all for {spec.frozen_s:g} s: is the SpaceMouse unplugged?"
    elif spec.clutch_button >= 0 and sample.buttons[spec.clutch_button] and 0.0 < spec.hold_confirm_s <= still_s:
        return state, (
            f"button {spec.clutch_button} is held, but nothing else came from the SpaceMouse for "
            f"{spec.hold_confirm_s:g} s: is it unplugged? If not, let go of the button; touch the cap now and then"
        )
    return state, ""
