"""What goes into one control cycle and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from dp_core.chunk_schedule import Chunk, ChunkRecord
from numpy.typing import NDArray

from dp_control.interfaces import JointSolution
from dp_control.modes import Mode

Array = NDArray[np.float64]

# Stamps this far ahead of our clock are accepted (jitter between machines); beyond, the clocks differ and nothing that
# depends on the stamp is believed.
CLOCK_TOLERANCE_NS = 100_000_000


@dataclass(frozen=True)
class Stamped:
    """A value and its acquisition time, ns."""

    t_ns: int
    value: Array


@dataclass(frozen=True)
class DeadMan:
    """State of the dead-man button and when it was read, ns."""

    t_ns: int
    held: bool


@dataclass(frozen=True)
class ControlInputs:
    """Newest inputs, gated by :class:`dp_control.input_gate.InputGate`; None where nothing has come.

    Attributes:
        measured_pose: pose7 of the end effector, base frame.
        measured_width: opening of the gripper, m.
        twist: (6,) wanted by the operator, base frame, m/s and rad/s.
        joints: (n,) rad, in the order of the contract.
        wrench: (6,) N, Nm.
        dead_man: the operator's dead-man button.
        chunks: plans since the last step, in order of arrival.
        widths: widths asked for by the operator since the last step, m.
        mode: mode asked for since the last step.
        resume: a person asked to go on since the last step.
        robot_problem: why the robot does not accept motion, or empty.
        arm_problem: why the arm's back end cannot drive it, or empty.
        gripper_problem: why the gripper does not do what it was told, or empty.
        stream_problems: what is wrong with the robot's streams, such as a rate; no mode starts meanwhile.
    """

    measured_pose: Stamped | None = None
    measured_width: float | None = None
    twist: Stamped | None = None
    chunks: tuple[Chunk, ...] = ()
    widths: tuple[float, ...] = ()
    mode: int | None = None
    joints: Stamped | None = None
    wrench: Stamped | None = None
    dead_man: DeadMan | None = None
    resume: bool = False
    robot_problem: str = ""
    arm_problem: str = ""
    gripper_problem: str = ""
    stream_problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ControlOutput:
    """What to send in this cycle.

    Attributes:
        mode: mode after the step.
        pose: pose7 to send; None: send nothing to the arm.
        commanded_pose: the command, sent or not; None before the first mode.
        width: commanded opening of the gripper, m.
        gripper_changed: send the width to the gripper.
        input_alive: False while the input of the mode is missing or stale.
        active_limits: limits that changed the command.
        reports: chunks that are done with.
        text: one sentence for a person, or empty.
        refused: why the request of this step, or one that waited, was refused.
        reached: the mode that was asked for has been reached in this step.
        twist: (6,) velocity of the command.
        joints: joint solution of the command; None without kinematics.
        intervention: a person has taken over from the policy.
        counters: events so far, by name; a live view, not a copy.
    """

    mode: Mode
    pose: Array | None
    commanded_pose: Array | None
    width: float
    gripper_changed: bool
    input_alive: bool
    active_limits: tuple[str, ...] = ()
    reports: tuple[ChunkRecord, ...] = ()
    text: str = ""
    refused: str = ""
    reached: bool = False
    twist: Array = field(default_factory=lambda: np.zeros(6))
    joints: JointSolution | None = None
    intervention: bool = False
    counters: Mapping[str, int] = field(default_factory=dict)


def stamp_problem(sample: Any, t_ns: int, max_age_s: float) -> str:
    """Why a stamped sample is not fresh at ``t_ns``: never came, too old, or from the future; empty when it is."""
    if sample is None:
        return "never came"
    age_ns = t_ns - sample.t_ns
    if age_ns < -CLOCK_TOLERANCE_NS:
        return f"is {-age_ns * 1e-9:.2f} s in the future"
    if age_ns > 1e9 * max_age_s:
        return f"is {age_ns * 1e-9:.2f} s old"
    return ""
