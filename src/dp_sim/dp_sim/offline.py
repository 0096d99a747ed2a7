"""One episode without ROS: operator -> teleop mapping -> integrated target -> cell, on a virtual clock.

The stand-in for teleop and control is injected, because node packages never import each other; tests pass the real
mapping and limits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dp_sim.cell import RobotState, SimulatedCell
from dp_sim.operator import DeviceSample, OperatorFeel, ScriptedOperator
from dp_sim.task import OperatorView, SceneStatus

Array = NDArray[np.float64]
CONTROL_PERIOD_MS = 10
NS_PER_MS = 1_000_000

Controller = Callable[[DeviceSample, int], tuple[Array, float | None]]
"""Device sample and time (ns) to target pose7 and a new gripper width (None: unchanged)."""
OnTick = Callable[[RobotState, Array, float], None]


@dataclass
class OfflineEpisode:
    """Result: final score, duration, path of the tool (N, 3) m, and whether the operator finished its plan."""

    status: SceneStatus
    duration_s: float
    operator_done: bool
    operator_side: str
    path: list[Array] = field(default_factory=list)


def run_operator(
    cell: SimulatedCell,
    seed: int,
    make_controller: Callable[[RobotState], Controller],
    feel: OperatorFeel | None = None,
    on_tick: OnTick | None = None,
) -> OfflineEpisode:
    """Reset the cell with `seed` and let the operator drive until success, failure or the time limit.

    Args:
        cell: the cell.
        seed: of the scene and of the operator.
        make_controller: given the state after the reset, returns the teleop-and-control stand-in.
        feel: the operator's habits.
        on_tick: called each control period with the state, target pose and commanded width.
    """
    state = cell.reset(seed)
    controller = make_controller(state)
    operator = ScriptedOperator(cell.task, seed, feel)
    width = cell.task.start_width_m
    start_ms = cell.t_ms
    path = []
    while not (cell.status.success or cell.status.failure):
        view = OperatorView(state.ee_pose, state.width_m, cell.object_poses())
        target, new_width = controller(operator.step(view, cell.t_ms * NS_PER_MS), cell.t_ms * NS_PER_MS)
        cell.set_target_pose(target)
        if new_width is not None:
            width = new_width
            cell.set_gripper(width)
        if on_tick is not None:
            on_tick(state, target, width)
        cell.step(CONTROL_PERIOD_MS)
        state = cell.state()
        path.append(state.ee_pose[:3])
    duration_s = (cell.t_ms - start_ms) / 1000.0
    return OfflineEpisode(cell.status, duration_s, operator.done, operator.side, path)
