"""Pick up a cube, carry it around an obstacle and put it on the target behind. Left and right are both valid.

The cube lies anywhere in a 0.20 x 0.24 m area at any yaw within 45 degrees. The obstacle is higher than the cube is
carried but lower than the palm at that height; carrying the cube over it does not count.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import mujoco
import numpy as np

from dp_sim.cube import CUBE_HALF_M, add_cube
from dp_sim.task import (
    Array,
    Condition,
    Goal,
    OperatorView,
    Passage,
    Phase,
    SceneView,
    Task,
    at_most,
    is_true,
    tool_down,
    upright,
    yaw_of_cube,
    yaw_of_tool,
)

AREA_X_M = (0.31, 0.51)
AREA_Y_M = (-0.12, 0.12)
YAW_RANGE_RAD = np.pi / 4.0
OBSTACLE_XY = (0.64, 0.0)
OBSTACLE_RADIUS_M = 0.025
OBSTACLE_HEIGHT_M = 0.11
TARGET_XY = (0.73, 0.0)
CARRY_HEIGHT_M = 0.10
HOVER_HEIGHT_M = 0.11
PASSING_DISTANCE_M = 0.14
POSITION_TOLERANCE_M = 0.025
HEIGHT_TOLERANCE_M = 0.005
RELEASED_WIDTH_M = 0.05
REST_SPEED_M_S = 0.01
REST_TURN_RAD_S = 0.1


class Place(Task):
    """Cube on the target, released and at rest, obstacle untouched and passed beside."""

    name: ClassVar[str] = "place"
    time_limit_s: ClassVar[float] = 25.0
    start_width_m: ClassVar[float] = 0.08
    objects: ClassVar[tuple[str, ...]] = ("cube", "target", "obstacle")
    forbidden_geoms: ClassVar[tuple[str, ...]] = ("obstacle",)

    def __init__(self) -> None:
        self._passage = _new_passage()

    def add_to(self, spec: Any) -> None:
        """Cube, obstacle and target pad."""
        add_cube(spec, [0.4, 0, CUBE_HALF_M])
        obstacle = spec.worldbody.add_body(name="obstacle", pos=[*OBSTACLE_XY, OBSTACLE_HEIGHT_M / 2])
        obstacle.add_geom(
            name="obstacle",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[OBSTACLE_RADIUS_M, OBSTACLE_HEIGHT_M / 2, 0],
            rgba=[0.95, 0.75, 0.1, 1.0],
        )
        target = spec.worldbody.add_body(name="target", pos=[*TARGET_XY, 0.001])
        target.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=[0.035, 0.035, 0.001],
            rgba=[0.1, 0.75, 0.25, 1.0],
            contype=0,
            conaffinity=0,
        )

    def start(self, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
        """Tool above the area, open; the cube anywhere in it."""
        self._passage = _new_passage()
        tool = tool_down(
            0.42 + rng.uniform(-0.02, 0.02),
            rng.uniform(-0.03, 0.03),
            0.19 + rng.uniform(-0.01, 0.01),
        )
        cube = upright(
            rng.uniform(*AREA_X_M), rng.uniform(*AREA_Y_M), CUBE_HALF_M, rng.uniform(-YAW_RANGE_RAD, YAW_RANGE_RAD)
        )
        return tool, {
            "cube": cube,
            "target": upright(*TARGET_XY, 0.001),
            "obstacle": upright(*OBSTACLE_XY, OBSTACLE_HEIGHT_M / 2),
        }

    def measure(self, view: SceneView) -> tuple[tuple[Condition, ...], str, str]:
        """On the target, on the table, released, at rest, obstacle untouched and passed beside."""
        cube = view.objects["cube"]
        self._passage.update(cube[:3])
        distance = float(np.hypot(*(cube[:2] - view.objects["target"][:2])))
        speed, turn = view.object_speeds["cube"]
        held = "cube" in view.held
        conditions = (
            at_most("cube to target", distance, POSITION_TOLERANCE_M, "m"),
            at_most("cube height error", abs(float(cube[2]) - CUBE_HALF_M), HEIGHT_TOLERANCE_M, "m"),
            is_true(
                "released",
                not held and view.width_m >= RELEASED_WIDTH_M,
                f"gripper {view.width_m:.3f} m (>= {RELEASED_WIDTH_M:g}), {'touching' if held else 'clear of'} cube",
            ),
            at_most("cube speed", speed, REST_SPEED_M_S, "m/s"),
            at_most("cube turning", turn, REST_TURN_RAD_S, "rad/s"),
            is_true("no_collision", view.collisions == 0, f"obstacle touched {view.collisions} times"),
            self._passage.condition(),
        )
        return conditions, self._failure(view, cube), self._passage.side

    def _failure(self, view: SceneView, cube: Array) -> str:
        if view.collisions:
            return "touched the obstacle"
        if self._passage.over:
            return "carried the cube over the obstacle"
        if cube[2] < -0.05:
            return "cube fell off the table"
        return ""

    def plan(self, side: Literal["left", "right"]) -> tuple[Phase, ...]:
        """Grasp, carry past the obstacle on `side`, set down, let go, back off upwards."""
        y = PASSING_DISTANCE_M if side == "left" else -PASSING_DISTANCE_M
        return (
            Phase("above_cube", lambda view: _at_cube(view, HOVER_HEIGHT_M), 0.012),
            Phase("down_to_cube", lambda view: _at_cube(view, CUBE_HALF_M), 0.006, speed=0.7),
            Phase("grasp", _stay, 0.02, gripper="close"),
            Phase("lift", _lift, 0.025, tolerance_rad=3.0, through=True),
            Phase("swing_out", lambda _: Goal(0.52, y, CARRY_HEIGHT_M), 0.04, tolerance_rad=3.0, through=True),
            Phase("pass", lambda _: Goal(0.69, y, CARRY_HEIGHT_M), 0.04, tolerance_rad=3.0, through=True),
            Phase("above_target", lambda _: Goal(*TARGET_XY, CARRY_HEIGHT_M), 0.012),
            Phase("set_down", lambda _: Goal(*TARGET_XY, CUBE_HALF_M + 0.002), 0.006, speed=0.6),
            Phase("release", _stay, 0.02, gripper="open"),
            Phase("back_off", lambda _: Goal(*TARGET_XY, CARRY_HEIGHT_M + 0.03), 0.03),
        )


def _new_passage() -> Passage:
    return Passage(*OBSTACLE_XY, OBSTACLE_RADIUS_M + CUBE_HALF_M)


def _at_cube(view: OperatorView, height: float) -> Goal:
    cube = view.objects["cube"]
    return Goal(float(cube[0]), float(cube[1]), height, yaw_of_cube(cube))


def _stay(view: OperatorView) -> Goal:
    pose = view.ee_pose
    return Goal(float(pose[0]), float(pose[1]), float(pose[2]), yaw_of_tool(pose))


def _lift(view: OperatorView) -> Goal:
    pose = view.ee_pose
    return Goal(float(pose[0]), float(pose[1]), CARRY_HEIGHT_M, yaw_of_tool(pose))
