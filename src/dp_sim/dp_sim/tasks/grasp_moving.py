"""Grasp a cube off a moving sled and lift it, before the sled reaches the end of its track.

The sled runs across the table at a constant speed, which is the same in each episode. The fingers close across the
direction of travel: they reach 9 mm to either side of the tool, the cube 20 mm, so that a grasp more than 29 mm, or
0.29 s, behind the cube closes on nothing.
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
    Phase,
    SceneView,
    Task,
    is_true,
    tool_down,
    upright,
    yaw_of_cube,
    yaw_of_tool,
)

SPEED_M_S = 0.10
REST_S = 0.5
RAMP_S = 0.15
TRACK_X_M = 0.47
START_Y_M = (-0.26, -0.18)
END_Y_M = 0.25
OFFSET_M = 0.02
YAW_RANGE_RAD = 0.35
SLED_HALF_M = (0.055, 0.055, 0.004)
SLED_Z_M = 0.006
RIDING_Z_M = SLED_Z_M + SLED_HALF_M[2] + CUBE_HALF_M
STOP_Y_M = 0.345
HOVER_HEIGHT_M = 0.085
LIFT_HEIGHT_M = 0.15
LIFTED_Z_M = 0.09
FALLEN_Z_M = RIDING_Z_M - 0.006
GRIPPED_WIDTH_M = (0.03, 0.06)
ACROSS_RAD = np.pi / 2.0


class GraspMoving(Task):
    """Cube between the fingers and lifted, the stop at the end of the track untouched."""

    name: ClassVar[str] = "grasp_moving"
    time_limit_s: ClassVar[float] = 7.0
    start_width_m: ClassVar[float] = 0.08
    objects: ClassVar[tuple[str, ...]] = ("cube", "sled", "stop")
    forbidden_geoms: ClassVar[tuple[str, ...]] = ("stop",)

    def add_to(self, spec: Any) -> None:
        """Track, sled with its drive, stop and cube."""
        _add_track(spec)
        sled = spec.worldbody.add_body(name="sled", pos=[TRACK_X_M, 0, SLED_Z_M])
        sled.add_joint(
            name="sled_slide",
            type=mujoco.mjtJoint.mjJNT_SLIDE,
            axis=[0, 1, 0],
            limited=True,
            range=[START_Y_M[0] - 0.01, END_Y_M],
        )
        sled.add_geom(
            name="sled",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=SLED_HALF_M,
            rgba=[0.85, 0.82, 0.65, 1.0],
            mass=2.0,
            friction=[0.9, 0.01, 0.0002],
        )
        drive = spec.add_actuator(name="sled_drive", target="sled_slide", trntype=mujoco.mjtTrn.mjTRN_JOINT)
        drive.set_to_velocity(kv=2000.0)
        add_cube(spec, [TRACK_X_M, 0, RIDING_Z_M])

    def start(self, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
        """Sled at the beginning of its track with the cube anywhere on its middle; tool open above the track."""
        tool = tool_down(
            TRACK_X_M + rng.uniform(-0.03, 0.03),
            rng.uniform(-0.06, 0.02),
            0.15 + rng.uniform(-0.01, 0.01),
            ACROSS_RAD,
        )
        y = rng.uniform(*START_Y_M)
        dx, dy = rng.uniform(-OFFSET_M, OFFSET_M, 2)
        return tool, {
            "sled": upright(TRACK_X_M, y, SLED_Z_M),
            "cube": upright(TRACK_X_M + dx, y + dy, RIDING_Z_M, rng.uniform(-YAW_RANGE_RAD, YAW_RANGE_RAD)),
            "stop": upright(TRACK_X_M, STOP_Y_M, 0.03),
        }

    def drive(self, t_s: float) -> tuple[float, ...]:
        """Speed of the sled, m/s: zero for `REST_S`, then up to its constant value in `RAMP_S`, without slipping.

        The rest is for whoever starts the episode: recorder and driver are told after the reset.
        """
        return (SPEED_M_S * min(max((t_s - REST_S) / RAMP_S, 0.0), 1.0),)

    def measure(self, view: SceneView) -> tuple[tuple[Condition, ...], str, str]:
        """Gripped, lifted, stop untouched."""
        cube = view.objects["cube"]
        low, high = GRIPPED_WIDTH_M
        held = "cube" in view.held
        conditions = (
            is_true("lifted", bool(cube[2] >= LIFTED_Z_M), f"cube height {cube[2]:.3f} m (>= {LIFTED_Z_M:g})"),
            is_true(
                "gripped",
                held and low <= view.width_m <= high,
                f"gripper {view.width_m:.3f} m ({low:g} to {high:g}), {'touching' if held else 'clear of'} cube",
            ),
            is_true("no_collision", view.collisions == 0, f"stop touched {view.collisions} times"),
        )
        return conditions, self._failure(view, cube), ""

    def _failure(self, view: SceneView, cube: Array) -> str:
        if view.collisions:
            return "touched the stop"
        if cube[2] < FALLEN_Z_M:
            return "pushed the cube off the sled"
        if view.objects["sled"][1] >= END_Y_M - 0.002 and "cube" not in view.held:
            return "the sled took the cube to the end of its track"
        return ""

    def plan(self, side: Literal["left", "right"]) -> tuple[Phase, ...]:
        """Meet the cube, go down on it and close the fingers at its speed, lift. There is one way, whatever `side`."""
        return (
            Phase("above_cube", lambda view: _with_cube(view, HOVER_HEIGHT_M), 0.012),
            Phase("down_to_cube", lambda view: _with_cube(view, RIDING_Z_M), 0.007),
            Phase("grasp", lambda view: _with_cube(view, RIDING_Z_M), 0.02, gripper="close", follow=True),
            Phase("lift", _lift, 0.025, tolerance_rad=3.0),
        )


def _with_cube(view: OperatorView, height: float) -> Goal:
    cube = view.objects["cube"]
    yaw = yaw_of_cube(cube) + ACROSS_RAD
    return Goal(float(cube[0]), float(cube[1]), height, yaw, velocity=(0.0, SPEED_M_S, 0.0))


def _lift(view: OperatorView) -> Goal:
    pose = view.ee_pose
    return Goal(float(pose[0]), float(pose[1]), LIFT_HEIGHT_M, yaw_of_tool(pose))


def _add_track(spec: Any) -> None:
    """The line the sled runs along (to look at only) and the stop at its end."""
    spec.worldbody.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[TRACK_X_M, 0.02, 0.0005],
        size=[0.012, 0.31, 0.0005],
        rgba=[0.15, 0.17, 0.2, 1.0],
        contype=0,
        conaffinity=0,
    )
    stop = spec.worldbody.add_body(name="stop", pos=[TRACK_X_M, STOP_Y_M, 0.03])
    stop.add_geom(name="stop", type=mujoco.mjtGeom.mjGEOM_BOX, size=[0.055, 0.01, 0.03], rgba=[0.95, 0.75, 0.1, 1.0])
