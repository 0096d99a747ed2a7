"""The operator's hand on the SpaceMouse: whether its twist may move the arm, and when it takes over from a policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_control.signals import ControlInputs, stamp_problem

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HandVerdict:
    """What the hand may do in this cycle.

    Attributes:
        twist: (6,) to follow; None: brake.
        lost: it came once in this mode and has been gone for too long.
        text: why the arm brakes, or empty.
    """

    twist: Array | None
    lost: bool = False
    text: str = ""


class OperatorHand:
    """Gates ``teleop/twist`` by age and by a neutral start: after a gap the cap must be seen at rest once.

    A twist that comes back after a gap is not known to be meant: the device may have been dropped, or its last
    deflection replayed. Who asks for mode TELEOP means to drive: the first twist of the mode counts at once.

    Args:
        contract: ages and thresholds.
    """

    def __init__(self, contract: Contract) -> None:
        self._max_age_s = contract.control.input_max_age_s
        self._safety = contract.safety
        self._armed = False
        self._fresh_ns: int | None = None
        self._lost_ns = round(1e9 * contract.safety.input_lost_s)

    def begin(self, t_ns: int, driving: bool) -> None:
        """Enter a mode at ``t_ns``; ``driving``: the hand is in motion already and goes on (takeover)."""
        self._armed = True
        self._fresh_ns = t_ns if driving else None

    def _moved(self, twist: Array) -> bool:
        """True when the cap is pushed by more than what a hand at rest does."""
        x, y, z, rx, ry, rz = twist.tolist()
        return (
            math.hypot(x, y, z) > self._safety.takeover_linear_m_s
            or math.hypot(rx, ry, rz) > self._safety.takeover_angular_rad_s
        )

    def _twist(self, inputs: ControlInputs, t_ns: int) -> Array | None:
        """The twist when it is fresh and finite."""
        twist = inputs.twist
        if twist is None or stamp_problem(twist, t_ns, self._max_age_s) or not np.all(np.isfinite(twist.value)):
            return None
        return twist.value

    def takes_over(self, inputs: ControlInputs, t_ns: int) -> bool:
        """True when a person moves the SpaceMouse and the contract lets them take over from the policy."""
        if not self._safety.takeover:
            return False
        twist = self._twist(inputs, t_ns)
        if twist is None or not self._moved(twist):
            return False
        return not self._dead_man_problem("teleop", inputs, t_ns)[0]

    def watch_dead_man(self, mode: str, inputs: ControlInputs, t_ns: int) -> HandVerdict | None:
        """Brake while the dead-man button of a mode (``teleop`` or ``policy``) is not held; None: it is no obstacle."""
        problem, stale = self._dead_man_problem(mode, inputs, t_ns)
        if not stale and mode in self._safety.dead_man:
            self._fresh_ns = t_ns
        if not problem:
            return None
        self._armed = False
        return HandVerdict(None, lost=stale and self._gone(t_ns), text=f"{problem}: holding")

    def _dead_man_problem(self, mode: str, inputs: ControlInputs, t_ns: int) -> tuple[str, bool]:
        """Why the dead-man button forbids motion, or empty; and whether its stream is stale."""
        if mode not in self._safety.dead_man:
            return "", False
        problem = stamp_problem(inputs.dead_man, t_ns, self._max_age_s)
        if inputs.dead_man is None or problem:
            return f"teleop/state, the dead-man button, {problem}", True
        return "" if inputs.dead_man.held else "dead-man button released", False

    def _gone(self, t_ns: int) -> bool:
        """True when the input came in this mode and has been gone for too long."""
        return self._fresh_ns is not None and t_ns - self._fresh_ns > self._lost_ns

    def drive(self, inputs: ControlInputs, t_ns: int) -> HandVerdict:
        """What to do in mode TELEOP in this cycle."""
        twist = self._twist(inputs, t_ns)
        if twist is None:
            self._armed = self._fresh_ns is None
            text = f"no teleop/twist newer than {self._max_age_s} s: holding"
            return HandVerdict(None, lost=self._gone(t_ns), text=text)
        verdict = self.watch_dead_man("teleop", inputs, t_ns)
        if verdict is not None:
            return verdict
        self._fresh_ns = t_ns
        if not self._armed and self._moved(twist):
            return HandVerdict(None, text="SpaceMouse deflected after a gap: let it go once, then drive")
        self._armed = True
        return HandVerdict(twist)
