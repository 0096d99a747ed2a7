"""Inverse kinematics of the start pose, and the inertia seen at the tool."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from dp_core.impedance import rotation_error
from numpy.typing import NDArray

from dp_sim.franka import JOINT_RANGE_RAD

Array = NDArray[np.float64]

_ITERATIONS = 200
_TOLERANCE = 1e-6
_DAMPING = 1e-3


class UnreachablePoseError(ValueError):
    """No joint position within the limits brings the tool to the pose."""


def solve_pose(model: mujoco.MjModel, site: int, pose: Array, start_rad: Sequence[float] | Array) -> Array:
    """Joint position (7,) rad that brings `site` to `pose` (pose7), close to `start_rad`.

    Damped least squares with the start as null-space posture. Raises `UnreachablePoseError`.
    """
    data = mujoco.MjData(model)
    joints = len(JOINT_RANGE_RAD)
    posture = np.array(start_rad, dtype=float)
    low, high = np.array(JOINT_RANGE_RAD).T
    jacobian_full = np.zeros((6, model.nv))
    quat = np.zeros(4)
    data.qpos[:joints] = posture
    for _ in range(_ITERATIONS):
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mju_mat2Quat(quat, data.site_xmat[site])
        error = np.concatenate([pose[:3] - data.site_xpos[site], rotation_error(pose[3:], quat[[1, 2, 3, 0]])])
        if np.abs(error).max() < _TOLERANCE:
            return data.qpos[:joints].copy()
        mujoco.mj_jacSite(model, data, jacobian_full[:3], jacobian_full[3:], site)
        jacobian = jacobian_full[:, :joints]
        inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6))
        pull = 0.1 * (posture - data.qpos[:joints])
        step = inverse @ error + pull - inverse @ (jacobian @ pull)
        data.qpos[:joints] = np.clip(data.qpos[:joints] + np.clip(step, -0.2, 0.2), low, high)
    raise UnreachablePoseError(f"the arm cannot reach {np.round(pose, 3).tolist()}; {np.abs(error).max():.2g} remains")


def effective_inertia(model: mujoco.MjModel, site: int, joints_rad: Array) -> Array:
    """Inertia (6,) kg | kg m2 seen along each base axis at `site`: the diagonal of ``(J M^-1 J^T)^-1``."""
    data = mujoco.MjData(model)
    count = len(joints_rad)
    data.qpos[:count] = joints_rad
    mujoco.mj_forward(model, data)
    mass = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, mass)
    jacobian = np.zeros((6, model.nv))
    mujoco.mj_jacSite(model, data, jacobian[:3], jacobian[3:], site)
    arm = jacobian[:, :count]
    mobility = arm @ np.linalg.solve(mass[:count, :count], arm.T)
    return np.diag(np.linalg.inv(mobility)).copy()
