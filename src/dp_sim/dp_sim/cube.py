"""The cube that tasks of the simulated cell grasp; it fits between the fingers with 20 mm to spare on either side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco

CUBE_HALF_M = 0.02


def add_cube(spec: Any, position: Sequence[float]) -> None:
    """Add the free body ``cube`` at a position in m; its geom has the same name, and 60 g."""
    cube = spec.worldbody.add_body(name="cube", pos=position)
    cube.add_freejoint(name="cube_free")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[CUBE_HALF_M] * 3,
        rgba=[0.92, 0.05, 0.08, 1.0],
        mass=0.06,
        friction=[0.9, 0.01, 0.0002],
        condim=4,
    )
