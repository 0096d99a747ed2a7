"""Reach a goal behind a pillar. Left and right are both valid, touching the pillar fails.

The pillar stays below the palm, so that only the fingers can hit it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import mujoco
import numpy as np

from dp_sim.task import Array, Condition, Goal, Passage, Phase, SceneView, Task, at_most, is_true, tool_down, upright

PILLAR_XY = (0.52, 0.0)
PILLAR_RADIUS_M = 0.03
PILLAR_HEIGHT_M = 0.11
TRAVEL_HEIGHT_M = 0.09
PASSING_DISTANCE_M = 0.11
POSITION_TOLERANCE_M = 0.02
HEIGHT_TOLERANCE_M = 0.03
REST_SPEED_M_S = 0.015


class ReachAround(Task):
    """Bring the closed fingers over the goal disc at travel height and stop there."""

    name: ClassVar[str] = "reach_around"
    time_limit_s: ClassVar[float] = 12.0
    start_width_m: ClassVar[float] = 0.0
    objects: ClassVar[tuple[str, ...]] = ("goal", "pillar")
    forbidden_geoms: ClassVar[tuple[str, ...]] = ("pillar",)

    def __init__(self) -> None:
        self._passage = _new_passage()

    def add_to(self, spec: Any) -> None:
        """Pillar and goal disc."""
        pillar = spec.worldbody.add_body(name="pillar", pos=[*PILLAR_XY, PILLAR_HEIGHT_M / 2])
        pillar.add_geom(
            name="pillar",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[PILLAR_RADIUS_M, PILLAR_HEIGHT_M / 2, 0],
            rgba=[0.95, 0.75, 0.1, 1.0],
        )
        goal = spec.worldbody.add_body(name="goal", mocap=True)
        goal.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=[0.035, 0.002, 0],
            rgba=[0.9, 0.05, 0.1, 1.0],
            contype=0,
            conaffinity=0,
        )

    def start(self, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
        """Tool in front of the pillar, goal behind it."""
        self._passage = _new_passage()
        tool = tool_down(rng.uniform(0.36, 0.40), rng.uniform(-0.05, 0.05), TRAVEL_HEIGHT_M + rng.uniform(-0.01, 0.01))
        goal = upright(rng.uniform(0.63, 0.68), rng.uniform(-0.06, 0.06), 0.002)
        return tool, {"goal": goal, "pillar": upright(*PILLAR_XY, PILLAR_HEIGHT_M / 2)}

    def measure(self, view: SceneView) -> tuple[tuple[Condition, ...], str, str]:
        """Close to the goal, at travel height, at rest, never touched the pillar, passed beside it."""
        tool, goal = view.ee_pose, view.objects["goal"]
        self._passage.update(tool[:3])
        distance = float(np.hypot(*(tool[:2] - goal[:2])))
        conditions = (
            at_most("tool to goal", distance, POSITION_TOLERANCE_M, "m"),
            at_most("height error", abs(float(tool[2]) - TRAVEL_HEIGHT_M), HEIGHT_TOLERANCE_M, "m"),
            at_most("tool speed", view.ee_speed_m_s, REST_SPEED_M_S, "m/s"),
            is_true("no_collision", view.collisions == 0, f"pillar touched {view.collisions} times"),
            self._passage.condition(),
        )
        reason = ""
        if view.collisions:
            reason = "touched the pillar"
        elif self._passage.over:
            reason = "went over the pillar"
        return conditions, reason, self._passage.side

    def plan(self, side: Literal["left", "right"]) -> tuple[Phase, ...]:
        """Out to the side, past the pillar, onto the goal."""
        y = PASSING_DISTANCE_M if side == "left" else -PASSING_DISTANCE_M
        return (
            Phase("swing_out", lambda _: Goal(0.47, y, TRAVEL_HEIGHT_M), 0.04, tolerance_rad=1.0, through=True),
            Phase("pass", lambda _: Goal(0.58, y, TRAVEL_HEIGHT_M), 0.04, tolerance_rad=1.0, through=True),
            Phase("reach", _above_goal, 0.008),
        )


def _new_passage() -> Passage:
    return Passage(*PILLAR_XY, PILLAR_RADIUS_M)


def _above_goal(view: Any) -> Goal:
    goal = view.objects["goal"]
    return Goal(float(goal[0]), float(goal[1]), TRAVEL_HEIGHT_M)
