"""Forces that somebody exerts on the simulated arm."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dp_sim.franka import HAND_BODY

Array = NDArray[np.float64]


class BadPushError(ValueError):
    """A force is not finite, or acts on a body that the model does not have."""


class ExternalForce:
    """Constant wrenches on bodies until they are changed; the point of attack moves with the body. One thread.

    Args:
        model: compiled model.
        data: its state, written to in `apply`.
        site: the TCP.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, site: int) -> None:
        self._model, self._data = model, data
        self._hand = int(model.body(HAND_BODY).id)
        self._tcp = data.site_xpos[site]
        self._wrenches: dict[str, tuple[int, Array, Array]] = {}

    def set(self, force: ArrayLike, torque: ArrayLike, body: str = "") -> None:
        """Push with `force` (3,) N and `torque` (3,) Nm in base axes; zeros end it.

        Args:
            force: see above.
            torque: see above.
            body: the force acts at this body's origin; empty is the TCP.

        Raises:
            BadPushError: see the class.
        """
        wrench = np.concatenate([np.asarray(force, float).ravel(), np.asarray(torque, float).ravel()])
        if wrench.shape != (6,) or not np.isfinite(wrench).all():
            raise BadPushError(f"a force and a torque are three finite numbers each, got {wrench.tolist()}")
        names = [self._model.body(index).name for index in range(1, self._model.nbody)]
        if body and body not in names:
            raise BadPushError(f"no body '{body}'; valid: {', '.join(names)}")
        index = int(self._model.body(body).id) if body else self._hand
        point = self._data.xpos[index] if body else self._tcp
        self._data.xfrc_applied[index] = 0.0
        if wrench.any():
            self._wrenches[body] = (index, point, wrench)
        else:
            self._wrenches.pop(body, None)

    def clear(self) -> None:
        """End all pushes."""
        for index, _, _ in self._wrenches.values():
            self._data.xfrc_applied[index] = 0.0
        self._wrenches.clear()

    def apply(self) -> None:
        """Move the wrenches to the bodies' centres of mass for this step."""
        for index, _, _ in self._wrenches.values():
            self._data.xfrc_applied[index] = 0.0
        for index, point, wrench in self._wrenches.values():
            self._data.xfrc_applied[index] += wrench
            self._data.xfrc_applied[index, 3:] += np.cross(point - self._data.xipos[index], wrench[:3])
