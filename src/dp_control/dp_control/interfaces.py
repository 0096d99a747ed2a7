"""The seams of control: kinematics, arm back ends, robot adapters and gripper back ends.

Each has a real and a simulated implementation, and one contract test runs on all of them. Back ends and adapters are
made by the control node (they own publishers, subscriptions and action clients of it); kinematics are pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class JointSolution:
    """One solve of the inverse kinematics.

    Attributes:
        position: (n,) rad, within the joint limits.
        velocity: (n,) rad/s over the period, within the velocity limits.
        residual_m: distance left between the wanted position and that of ``position``.
        residual_rad: the same for the orientation.
        active: names of the limits that were active, such as ``joint_velocity`` or ``singularity``.
    """

    position: Array
    velocity: Array
    residual_m: float
    residual_rad: float
    active: tuple[str, ...] = ()


class ArmKinematics(Protocol):
    """Inverse kinematics with memory of the last solution (warm start). One thread."""

    #: A solution whose residuals are below these counts as reached.
    tolerance_m: float
    tolerance_rad: float

    def start(self, joints: Array) -> None:
        """Begin at measured joint positions (n,) rad."""
        ...

    def solve(self, pose: Array, period_s: float) -> JointSolution:
        """Move the last solution towards ``pose`` (pose7, base frame) for one period; becomes the last solution."""
        ...

    def brake(self, period_s: float) -> JointSolution:
        """Bring the joints towards rest for one period, wherever the pose was to be; becomes the last solution."""
        ...

    def snapshot(self) -> object:
        """What :meth:`restore` takes back, so that a solve may be tried and discarded."""
        ...

    def restore(self, snapshot: object) -> None:
        """Undo every solve since ``snapshot``."""
        ...

    def forward(self, joints: Array) -> Array:
        """Pose7 of the end effector in the base frame at ``joints`` (n,) rad."""
        ...


@dataclass(frozen=True)
class ArmCommand:
    """What control decided for one cycle, after all limits.

    Attributes:
        t_ns: ROS time of the cycle.
        pose: pose7 of the end effector, base frame.
        twist: (6,) m/s, rad/s, base frame.
        joints: the solution for ``pose``; None without kinematics.
    """

    t_ns: int
    pose: Array
    twist: Array
    joints: JointSolution | None = None


class ArmBackEnd(Protocol):
    """Sends commands to one kind of controller. ``send`` is called by the control thread only."""

    #: True when commands must carry joints.
    needs_joints: bool

    def send(self, command: ArmCommand) -> None:
        """Send one cycle's command; never blocks."""
        ...

    def release(self) -> None:
        """Control sends no more until further notice (STOPPED, FAULT); called once at each such change."""
        ...

    def problem(self, t_ns: int) -> str:
        """Why the arm cannot be driven at present, or empty."""
        ...

    def close(self) -> None:
        """End for good."""
        ...


class RobotAdapter(Protocol):
    """What is particular to a make of robot: its own mode, its errors, their recovery."""

    def problem(self, t_ns: int) -> str:
        """Why the robot does not accept motion (reflex, user stop, ...), or empty."""
        ...

    @property
    def recovering(self) -> bool:
        """True while error recovery is under way."""
        ...

    def recover(self) -> str:
        """Begin error recovery, called when a person asks to go on; returns why it cannot, or empty."""
        ...

    def close(self) -> None:
        """End for good."""
        ...


class GripperBackEnd(Protocol):
    """Opens and closes the fingers; ``send`` is called by the control thread on each change, and never blocks."""

    def send(self, width_m: float, speed_m_s: float, force_N: float, t_ns: int) -> None:
        """New target width; replaces one that is under way."""
        ...

    def step(self, t_ns: int) -> None:
        """Called each cycle: follows goals in flight, repeats what was refused."""
        ...

    def problem(self, t_ns: int) -> str:
        """Why the gripper does not do what it was told (refused, failed, no server), or empty."""
        ...

    def close(self) -> None:
        """End for good."""
        ...
