"""The cell around the robot: table, light, cameras; and the model of one task.

World frame = `fr3_link0` (metres, z up); the table's top is z = 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from dp_sim.clock_code import add_clock_code
from dp_sim.franka import HAND_BODY, add_franka

if TYPE_CHECKING:
    from dp_sim.task import Task

FRONT_CAMERA = "front"
WRIST_CAMERA = "wrist"
PHYSICS_PERIOD_S = 0.001

_TABLE = (0.36, 0.44, 0.55, 1.0)
_MAX_IMAGE_PX = (640, 480)


def build_model(task: Task, compensates_gravity: bool = False, clock_code: bool = False) -> mujoco.MjModel:
    """Compile robot (see `add_franka`), table, cameras and the additions of `task`.

    `clock_code` puts a screen before each camera, see `dp_sim.clock_code`.
    """
    spec = mujoco.MjSpec()
    spec.modelname = f"cell_{task.name}"
    _set_physics(spec)
    _set_rendering(spec)
    add_franka(spec, compensates_gravity)
    spec.worldbody.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0.45, 0, -0.02],
        size=[0.65, 0.65, 0.02],
        rgba=_TABLE,
        friction=[0.8, 0.01, 0.0005],
    )
    _add_cameras(spec)
    task.add_to(spec)
    if clock_code:
        for camera in (FRONT_CAMERA, WRIST_CAMERA):
            add_clock_code(spec, camera)
    return spec.compile()


def _set_physics(spec: mujoco.MjSpec) -> None:
    spec.compiler.degree = False
    spec.option.timestep = PHYSICS_PERIOD_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10.0
    spec.option.iterations = 30


def _set_rendering(spec: mujoco.MjSpec) -> None:
    """No shadows and no multisampling: both cost more than the whole picture."""
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = _MAX_IMAGE_PX
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.visual.map.znear = 0.01
    spec.stat.extent = 1.0
    spec.worldbody.add_light(
        name="lamp",
        pos=[0.6, 0.4, 1.6],
        dir=[-0.1, -0.25, -1.0],
        castshadow=False,
        diffuse=[0.35, 0.35, 0.35],
        specular=[0.0, 0.0, 0.0],
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
    )


def _add_cameras(spec: mujoco.MjSpec) -> None:
    position, target = np.array([0.95, 0.0, 0.66]), np.array([0.5, 0.0, 0.05])
    spec.worldbody.add_camera(
        name=FRONT_CAMERA, pos=position, quat=_look_at_wxyz(position, target, np.array([0.0, 0.0, 1.0])), fovy=38.0
    )
    position, target = np.array([0.085, 0.0, 0.05]), np.array([0.025, 0.0, 0.16])
    spec.body(HAND_BODY).add_camera(
        name=WRIST_CAMERA, pos=position, quat=_look_at_wxyz(position, target, np.array([1.0, 0.0, 0.0])), fovy=80.0
    )


def _look_at_wxyz(
    position: NDArray[np.float64], target: NDArray[np.float64], up: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Orientation (wxyz) of a MuJoCo camera (looks along -z, y up in the image) at `position` towards `target`."""
    z = position - target
    z /= np.linalg.norm(z)
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([x, np.cross(z, x), z], axis=1).ravel())
    return quat
