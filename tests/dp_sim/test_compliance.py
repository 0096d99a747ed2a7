"""The impedance law in physics: somebody pushes the simulated arm, and it gives way as a spring and damper would."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dp_core.impedance import ImpedanceGains, end_effector_inertia, rotation_error
from dp_core.poses import quat_from_rotvec, quat_multiply
from dp_sim.cell import SimulatedCell
from dp_sim.task import tool_down

AWAY = tool_down(0.36, -0.28, 0.30, yaw=0.5)
ELBOW = "fr3_link4"


def make_cell(pose: np.ndarray | None = None, **gains: float | str) -> SimulatedCell:
    """A cell at rest, the tool where the task begins or at `pose`."""
    cell = SimulatedCell("place", 3, ImpedanceGains(**gains))
    if pose is not None:
        start = cell.ee_pose()
        for share in np.linspace(0.02, 1.0, 50):
            target = start + share * (pose - start)
            target[3:] /= np.linalg.norm(target[3:])
            cell.set_target_pose(target)
            cell.step(20)
    cell.step(1500)
    return cell


def displacement(cell: SimulatedCell, before: np.ndarray) -> np.ndarray:
    """(6,) m | rad from `before` to the present pose of the tool, base frame."""
    now = cell.ee_pose()
    return np.r_[now[:3] - before[:3], rotation_error(now[3:], before[3:])]


def pushed(cell: SimulatedCell, wrench: np.ndarray, steps: int) -> np.ndarray:
    """Displacement (6,) after `steps` ms of a push with `wrench` (6,)."""
    before = cell.ee_pose()
    cell.apply_wrench(wrench[:3], wrench[3:])
    cell.step(steps)
    return displacement(cell, before)


@pytest.mark.parametrize("pose", [None, AWAY], ids=["home", "away"])
@pytest.mark.parametrize(
    ("translational", "rotational", "direction"),
    [
        (3000.0, 150.0, (1, 0, 0)),
        (3000.0, 150.0, (0, -1, 0)),
        (3000.0, 150.0, (0, 0, 1)),
        (3000.0, 150.0, (-0.6, 0.48, -0.64)),
        (400.0, 30.0, (0.6, -0.48, 0.64)),
    ],
    ids=["x", "-y", "z", "slanted", "soft"],
)
def test_displacement_is_force_over_stiffness(pose, translational, rotational, direction):
    cell = make_cell(pose, translational_stiffness_N_m=translational, rotational_stiffness_Nm_rad=rotational)
    for newtons in (4.0, 16.0):
        start = cell.ee_pose()
        force = newtons * np.array(direction, dtype=float)
        moved = pushed(cell, np.r_[force, 0, 0, 0], 2500)
        expected = newtons / translational
        np.testing.assert_allclose(moved[:3], force / translational, atol=0.05 * expected)
        assert np.abs(moved[3:]).max() < 0.002
        # What the sensor shows is what the environment does to the tool.
        np.testing.assert_allclose(cell.wrench(), np.r_[force, 0, 0, 0], atol=0.02 * newtons)
        pushed(cell, np.zeros(6), 2500)
        np.testing.assert_allclose(displacement(cell, start)[:3], 0.0, atol=0.02 * expected)


@pytest.mark.parametrize("pose", [None, AWAY], ids=["home", "away"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_is_torque_over_stiffness(pose, axis):
    cell = make_cell(pose, rotational_stiffness_Nm_rad=60.0)
    torque = np.zeros(3)
    torque[axis] = 1.5
    moved = pushed(cell, np.r_[0, 0, 0, torque], 2500)
    np.testing.assert_allclose(moved[3:], torque / 60.0, atol=0.05 * 1.5 / 60.0)
    assert np.abs(moved[:3]).max() < 1e-4


def modes(cell: SimulatedCell) -> tuple[np.ndarray, np.ndarray]:
    """Inertia (6, 6) at the tool, and the modes (6, 6 columns) of a spring with the law's stiffness on it."""
    mass = np.zeros((cell.model.nv, cell.model.nv))
    mujoco.mj_fullM(cell.model, cell.data, mass)
    jacobian = np.zeros((6, cell.model.nv))
    site = cell.model.site("fr3_hand_tcp").id
    mujoco.mj_jacSite(cell.model, cell.data, jacobian[:3], jacobian[3:], site)
    inertia = end_effector_inertia(jacobian[:, :7], mass[:7, :7])
    return inertia, np.linalg.eig(np.linalg.solve(inertia, np.diag(cell.controller.law.stiffness)))[1].real


@pytest.mark.parametrize("pose", [None, AWAY], ids=["home", "away"])
@pytest.mark.parametrize(("ratio", "low", "high"), [(0.5, 0.07, 0.17), (1.0, -0.12, 0.01)])
def test_every_mode_overshoots_a_step_as_its_damping_ratio_says(pose, ratio, low, high):
    # A mode of ratio 0.5 overshoots by exp(-pi 0.5 / sqrt(0.75)) = 0.163; the friction of the joints takes from that.
    cell = make_cell(
        pose,
        translational_stiffness_N_m=1000.0,
        rotational_stiffness_Nm_rad=50.0,
        damping_ratio=ratio,
        damping="inertia",
        torque_rate_limit_Nm_s=1e6,
    )
    inertia, shapes = modes(cell)
    start = cell.ee_pose()
    for shape in shapes.T:
        step = shape * min(0.004 / np.linalg.norm(shape[:3]), 0.02 / np.linalg.norm(shape[3:]))
        turned = quat_multiply(quat_from_rotvec(step[3:]), start[3:])
        cell.set_target_pose(np.r_[start[:3] + step[:3], turned])
        shares = []
        for _ in range(140):
            cell.step(5)
            shares.append(displacement(cell, start) @ inertia @ step / (step @ inertia @ step))
        assert low <= max(shares) - 1.0 <= high
        cell.set_target_pose(start)
        cell.step(1200)


def test_a_pushed_elbow_yields_and_the_tool_stays():
    cell = make_cell(posture_stiffness_Nm_rad=1.0)
    tool, elbow = cell.ee_pose(), cell.data.body(ELBOW).xpos.copy()
    cell.apply_wrench([0.0, 8.0, 0.0], body=ELBOW)
    cell.step(6000)
    moved = cell.data.body(ELBOW).xpos - elbow
    assert moved[1] > 0.015
    assert np.abs(displacement(cell, tool)[:3]).max() < 0.0015
    assert np.abs(displacement(cell, tool)[3:]).max() < 0.005
    cell.apply_wrench(np.zeros(3), body=ELBOW)
    cell.step(8000)
    assert np.abs(cell.data.body(ELBOW).xpos - elbow).max() < 0.001


@pytest.mark.parametrize("damping", ["diagonal", "inertia"])
def test_an_arm_at_rest_does_not_drift(damping):
    cell = make_cell(AWAY, damping=damping)
    cell.step(8000)
    tool, joints = cell.ee_pose(), cell.state().joint_position
    cell.step(8000)
    assert np.abs(cell.ee_pose() - tool).max() < 1e-6
    assert np.abs(cell.state().joint_position - joints).max() < 2e-4
    assert np.abs(cell.state().joint_velocity).max() < 2e-4


def test_the_torque_changes_within_its_rate_from_sample_to_sample():
    cell = make_cell(torque_rate_limit_Nm_s=400.0)
    target, last = cell.ee_pose(), cell.state().joint_effort
    at_limit = 0
    for millisecond in range(600):
        if millisecond % 150 == 0:
            target[:3] += (-0.06, 0.08, 0.06) if millisecond % 300 == 0 else (0.06, -0.08, -0.06)
            cell.set_target_pose(target)
            cell.apply_wrench(np.array([0.0, 60.0, 40.0]) * (millisecond % 300 == 0))
        cell.step(1)
        torque = cell.state().joint_effort
        change = np.abs(torque - last).max()
        assert change <= 0.4 + 1e-9
        at_limit += change > 0.4 - 1e-6
        last = torque
    assert at_limit > 100


def test_a_far_target_pulls_no_harder_than_the_clip():
    stiffness, clip = 3000.0, 0.01
    cell = make_cell(translational_stiffness_N_m=stiffness, error_clip_m=clip, torque_rate_limit_Nm_s=1e6)
    bias = cell.data.qfrc_bias[:7].copy()
    target = cell.ee_pose()
    target[:3] += (0.0, 0.25, 0.0)
    cell.set_target_pose(target)
    cell.step(1)
    jacobian = np.zeros((6, cell.model.nv))
    mujoco.mj_jacSite(cell.model, cell.data, jacobian[:3], jacobian[3:], cell.model.site("fr3_hand_tcp").id)
    force = np.linalg.lstsq(jacobian[:, :7].T, cell.state().joint_effort - bias, rcond=None)[0]
    np.testing.assert_allclose(force[:3], [0.0, stiffness * clip, 0.0], atol=0.5)
    cell.step(4000)
    np.testing.assert_allclose(cell.ee_pose()[:3], target[:3], atol=1e-3)
