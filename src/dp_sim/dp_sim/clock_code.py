"""A screen in front of each camera that shows physics time as a clock code, to measure the delay of the pictures."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
from dp_core.clock_code import GRID, code_cells
from numpy.typing import NDArray

DISTANCE_M = 0.05
# Share of the picture's height that the screen fills, and its tilt about an oblique axis.
FILLS = 0.9
TILT_RAD = 0.2
_QUIET_CELLS = 1
_THICKNESS_M = 1e-4
_WHITE, _BLACK = (1.0, 1.0, 1.0, 1.0), (0.02, 0.02, 0.02, 1.0)


def add_clock_code(spec: Any, camera: str) -> None:
    """Put a screen before a camera of a `mujoco.MjSpec`: massless boxes that touch nothing."""
    owner = spec.camera(camera)
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, np.asarray(owner.quat, float))
    eye = matrix.reshape(3, 3)
    screen = eye @ _turn(np.array([1.0, 1.0, 0.0]) / np.sqrt(2.0), TILT_RAD)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, screen.ravel())
    half = FILLS * DISTANCE_M * np.tan(np.radians(owner.fovy) / 2.0)
    cell = 2.0 * half / (GRID + 2 * _QUIET_CELLS)
    centre = np.asarray(owner.pos, float) - DISTANCE_M * eye[:, 2]

    def box(name: str, x: float, y: float, half_size: float, layer: int, colour: tuple[float, ...]) -> None:
        owner.parent.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=centre + screen @ np.array([x, y, 2.0 * layer * _THICKNESS_M]),
            quat=quat,
            size=[half_size, half_size, _THICKNESS_M],
            rgba=colour,
            mass=0.0,
            contype=0,
            conaffinity=0,
        )

    box(f"{camera}_screen", 0.0, 0.0, half, 0, _WHITE)
    box(f"{camera}_screen_frame", 0.0, 0.0, 0.5 * GRID * cell, 1, _BLACK)
    for row in range(1, GRID - 1):
        for column in range(1, GRID - 1):
            x, y = (column - 0.5 * (GRID - 1)) * cell, (0.5 * (GRID - 1) - row) * cell
            box(_cell_name(camera, row, column), x, y, 0.5 * cell, 2, _BLACK)


def _cell_name(camera: str, row: int, column: int) -> str:
    return f"{camera}_screen_{row}_{column}"


def _turn(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    quat, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quat, axis, angle)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


class ClockScreen:
    """Shows a counter on the screen of one camera.

    Args:
        model: made with `add_clock_code` for that camera.
        camera: its name.
        period_s: each counter n is shown from ``n * period_s`` of physics time to ``(n + 1) * period_s``, like a screen
            with that refresh period.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, period_s: float) -> None:
        self._model, self._period_s = model, period_s
        inner = [(row, column) for row in range(1, GRID - 1) for column in range(1, GRID - 1)]
        self._geoms = np.array([model.geom(_cell_name(camera, *place)).id for place in inner])

    def show(self, t_ms: int) -> None:
        """Show what is on the screen at a time."""
        white = code_cells(int(0.001 * t_ms / self._period_s + 1e-9))[1:-1, 1:-1].ravel()
        self._model.geom_rgba[self._geoms] = np.where(white[:, None], _WHITE, _BLACK)
