"""Contacts that matter to a task: collisions with forbidden geometry, objects touched by the robot."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np


class ContactWatch:
    """Counts onsets of contact with forbidden geoms, millisecond by millisecond."""

    def __init__(self, model: mujoco.MjModel, forbidden: Iterable[str]) -> None:
        self._forbidden = np.zeros(model.ngeom, dtype=bool)
        for name in forbidden:
            self._forbidden[model.geom(name).id] = True
        self._robot = np.zeros(model.ngeom, dtype=bool)
        self._free_body: list[str] = [""] * model.ngeom
        for geom in range(model.ngeom):
            body = model.body(int(model.geom_bodyid[geom]))
            self._robot[geom] = body.name.startswith("fr3_")
            if body.jntnum[0] == 1 and model.jnt_type[body.jntadr[0]] == mujoco.mjtJoint.mjJNT_FREE:
                self._free_body[geom] = body.name
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.collisions = 0
        self._touching = False

    def update(self, data: mujoco.MjData) -> None:
        """Look at the contacts of this step."""
        touching = data.ncon > 0 and bool(self._forbidden[data.contact.geom].any())
        if touching and not self._touching:
            self.collisions += 1
        self._touching = touching

    def held(self, data: mujoco.MjData) -> frozenset[str]:
        """Free objects in contact with the robot now."""
        if data.ncon == 0:
            return frozenset()
        names = set()
        for first, second in data.contact.geom.tolist():
            if self._robot[first] and self._free_body[second]:
                names.add(self._free_body[second])
            elif self._robot[second] and self._free_body[first]:
                names.add(self._free_body[first])
        return frozenset(names)
