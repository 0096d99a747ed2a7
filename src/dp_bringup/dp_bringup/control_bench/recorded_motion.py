"""Human-like motion: the scripted operator drives the simulated cell through the real mapping and limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from dp_core.motion_limits import MotionLimiter
from dp_core.poses import interpolate_pose
from dp_sim.cell import RobotState, SimulatedCell
from dp_sim.offline import CONTROL_PERIOD_MS, Controller, run_operator
from dp_sim.operator import DeviceSample
from dp_sim.task import SceneStatus
from dp_teleop.mapping import MappingState, SpaceMouseSample, step
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RecordedMotion:
    """What the tool did in one demonstration, each millisecond from its start.

    Attributes:
        seed: of the scene and the operator.
        poses: (N, 7) measured tool poses.
        widths: (N,) commanded gripper widths, m.
        start_joints: (7,) rad, at the start.
    """

    seed: int
    poses: Array
    widths: Array
    start_joints: Array

    @property
    def duration_s(self) -> float:
        """Time of the last pose."""
        return 1e-3 * (len(self.poses) - 1)

    def at(self, times_s: ArrayLike) -> Array:
        """Poses (..., 7) at times; the first before the start, the last after the end."""
        place = np.clip(np.asarray(times_s, dtype=np.float64) * 1e3, 0.0, len(self.poses) - 1)
        before = np.minimum(place.astype(np.int64), len(self.poses) - 2)
        return interpolate_pose(self.poses[before], self.poses[before + 1], place - before)

    def width_at(self, time_s: float) -> float:
        """Gripper width in force, m."""
        return float(self.widths[min(max(int(time_s * 1e3), 0), len(self.widths) - 1)])


class _RecordingCell(SimulatedCell):
    """Notes pose and commanded width each millisecond."""

    poses: list[Array]
    widths: list[float]
    start_joints: Array
    width = 0.0

    def reset(self, seed: int) -> RobotState:
        state = super().reset(seed)
        self.width = self.task.start_width_m
        self.poses, self.widths = [state.ee_pose], [self.width]
        self.start_joints = state.joint_position
        return state

    def set_gripper(self, width_m: float, speed_m_s: float = 0.0, force_N: float = 0.0) -> None:
        super().set_gripper(width_m, speed_m_s, force_N)
        self.width = width_m

    def step(self, n_ms: int = 10) -> SceneStatus:
        for _ in range(n_ms):
            super().step(1)
            self.poses.append(self.ee_pose())
            self.widths.append(self.width)
        return self.status


def record_motion(task: str, contract: Contract, seed: int) -> RecordedMotion:
    """One demonstration of a task.

    Args:
        task: of the simulator.
        contract: gives the teleop mapping and the limits.
        seed: of the scene and the operator.
    """
    cell = _RecordingCell(task, seed)
    run_operator(cell, seed, _make_controller(contract))
    return RecordedMotion(seed, np.array(cell.poses), np.array(cell.widths), cell.start_joints)


def _make_controller(contract: Contract) -> Callable[[RobotState], Controller]:
    """Teleop mapping and limited integration of the twist: what the nodes of teleop and control do."""

    def make(state: RobotState) -> Controller:
        mapping = MappingState(gripper_closed=state.width_m < 0.5 * contract.gripper.max_width_m)
        limiter = MotionLimiter(contract.limits, contract.safety, 1e-3 * CONTROL_PERIOD_MS)
        limiter.start(state.ee_pose)

        def control(sample: DeviceSample, t_ns: int) -> tuple[Array, float | None]:
            nonlocal mapping
            device = SpaceMouseSample(t_ns, sample.axes, tuple(button > 0 for button in sample.buttons))
            mapping, command = step(mapping, device, None, contract.teleop, contract.gripper)
            limiter.follow_twist(command.twist)
            return limiter.motion.pose, (command.width if command.toggled else None)

        return control

    return make
