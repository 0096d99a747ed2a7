"""What went into control and what came out of it in a fault episode, and how a broken rule is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Modes as dp_msgs/CommandState numbers them; written anew, as the judge shares nothing with control.
HOLD, TELEOP, POLICY, STOPPED, FAULT = range(5)
NAMES = ("HOLD", "TELEOP", "POLICY", "STOPPED", "FAULT")


@dataclass(frozen=True)
class Violation:
    """One broken rule: which, when (virtual time from the beginning), how much, and what was allowed."""

    rule: str
    seed: int
    t_s: float
    value: float
    limit: float
    text: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.t_s:.3f} s: {self.rule}: {self.value:.6g} (limit {self.limit:.6g}) {self.text}"


@dataclass(frozen=True)
class Trace:
    """What went in and what came out, one row per step (n).

    Attributes:
        tick: periods since the beginning of the episode.
        t_ns: ROS time that control was given.
        mode: after the step.
        pose: (n, 7) sent; NaN where nothing was.
        twist: (n, 6) reported velocity.
        width: commanded gripper width, m.
        alive: input_alive.
        request: mode asked for in the step, or -1.
        resume: whether resume was asked for.
        measured: (n, 7) newest measured pose that control was given; NaN before the first.
        start: (n, 7) pose from which a mode would start: the measured one, or that of the joints if they are commanded.
        measured_ns: newest acquisition time of a sound measured pose delivered so far; min int before the first.
        twist_ns: the same for a twist.
        plan_end_ns: last action of all sound chunks delivered so far.
        contact_s: for how long the delivered wrench has been above a limit.
        held: the dead-man button is held, as far as sound samples say.
        hand: the newest sound twist is that of a hand that moves the SpaceMouse.
        along: (n,) m, position along a plan that only advances; NaN where that says nothing.
    """

    tick: NDArray[np.int64]
    t_ns: NDArray[np.int64]
    mode: NDArray[np.int64]
    pose: Array
    twist: Array
    width: Array
    alive: NDArray[np.bool_]
    request: NDArray[np.int64]
    resume: NDArray[np.bool_]
    measured: Array
    start: Array
    measured_ns: NDArray[np.int64]
    twist_ns: NDArray[np.int64]
    plan_end_ns: NDArray[np.int64]
    contact_s: Array
    held: NDArray[np.bool_]
    hand: NDArray[np.bool_]
    along: Array


@dataclass
class Recording:
    """Rows of a trace as they come."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    poses: list[Array] = field(default_factory=list)
    twists: list[Array] = field(default_factory=list)
    measured: list[Array] = field(default_factory=list)
    starts: list[Array] = field(default_factory=list)

    def trace(self, along: Array | None) -> Trace:
        """As arrays."""
        columns = list(zip(*self.rows, strict=True))
        tick, t_ns, mode, request, measured_ns, twist_ns, plan_end_ns = (np.array(c, np.int64) for c in columns[:7])
        poses = np.array(self.poses)
        progress = np.full(len(poses), np.nan) if along is None else poses[:, :3] @ along
        return Trace(
            tick=tick, t_ns=t_ns, mode=mode, pose=poses, twist=np.array(self.twists), width=np.array(columns[7]),
            alive=np.array(columns[8]), request=request, resume=np.array(columns[9]), measured=np.array(self.measured),
            measured_ns=measured_ns, twist_ns=twist_ns, plan_end_ns=plan_end_ns, contact_s=np.array(columns[10]),
            held=np.array(columns[11]), hand=np.array(columns[12]), start=np.array(self.starts), along=progress,
        )  # fmt: skip
