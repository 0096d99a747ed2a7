"""The controllers inside the simulated arm: joint positions, trajectories, torques."""

from __future__ import annotations

import numpy as np
import pytest
from dp_core.configuration import ConfigurationError
from dp_core.impedance import ImpedanceGains
from dp_core.robot_spec import RobotSpec
from dp_sim.arm_controllers import EFFORT_TIMEOUT_MS, BadTargetError, EffortArm, JointArm
from dp_sim.cell import SimulatedCell
from dp_sim.franka import JOINT_RANGE_RAD, JOINT_VELOCITY_RAD_S
from dp_sim.joint_path import JointPoint


def joint_cell() -> tuple[SimulatedCell, JointArm]:
    cell = SimulatedCell("reach_around", 1, robot=RobotSpec(back_end="joint", description="fr3"))
    assert isinstance(cell.controller, JointArm)
    return cell, cell.controller


def effort_cell(gravity: str = "robot") -> tuple[SimulatedCell, EffortArm]:
    cell = SimulatedCell("reach_around", 1, robot=RobotSpec(back_end="effort", description="fr3", gravity=gravity))
    assert isinstance(cell.controller, EffortArm)
    return cell, cell.controller


def test_torque_limits_for_another_number_of_joints_are_named():
    with pytest.raises(ConfigurationError, match=r"impedance\.torque_limit_Nm: 3 values for the 7 joints"):
        SimulatedCell("reach_around", 1, ImpedanceGains(torque_limit_Nm=(1.0, 2.0, 3.0)))


def test_joints_hold_stiffly_and_do_not_sag():
    cell, _ = joint_cell()
    start, pose = cell.state().joint_position, cell.ee_pose()
    cell.step(2000)
    assert np.abs(cell.state().joint_position - start).max() < 1e-5
    cell.apply_wrench([0.0, 0.0, -30.0])
    cell.step(1000)
    assert 1e-4 < pose[2] - cell.ee_pose()[2] < 0.008


def test_joints_follow_a_stream_with_the_lag_of_the_smoothing():
    cell, arm = joint_cell()
    start = cell.state().joint_position
    wave = np.array([0.2, -0.15, 0.2, 0.15, -0.3, 0.2, 0.4])

    def wanted(t_s: float) -> np.ndarray:
        return start + wave * (1.0 - np.cos(2.0 * t_s))

    errors, late = [], []
    for tick in range(300):
        t_s = 0.005 * tick
        arm.set_joints(wanted(t_s))
        cell.step(5)
        errors.append(cell.state().joint_position - wanted(t_s + 0.005))
        late.append(cell.state().joint_position - wanted(t_s + 0.005 - 0.0125))
    # 10 ms of smoothing, and half of the 5 ms for which a command is held.
    assert np.abs(errors).max() < 2.0 * np.abs(wave).max() * 0.016
    assert np.abs(late).max() < 0.2 * np.abs(errors).max()


def test_a_jump_is_made_at_the_velocity_limits_and_within_the_joint_ranges():
    cell, arm = joint_cell()
    far = cell.state().joint_position + np.array([0.8, 0.0, -0.8, 0.3, 0.8, 0.0, 9.0])
    arm.set_joints(far)
    fastest = np.zeros(7)
    for _ in range(2500):
        cell.step(1)
        fastest = np.maximum(fastest, np.abs(cell.state().joint_velocity))
    assert (fastest < 1.15 * np.array(JOINT_VELOCITY_RAD_S)).all()
    assert fastest[0] > 0.9 * JOINT_VELOCITY_RAD_S[0]
    far[6] = JOINT_RANGE_RAD[6][1]
    np.testing.assert_allclose(cell.state().joint_position, far, atol=2e-3)


def test_a_trajectory_is_followed_and_replaced_without_a_jump():
    cell, arm = joint_cell()
    cell.step(10)
    start, zero = cell.state().joint_position, np.zeros(7)
    goal, other = start + 0.2, start - 0.1
    arm.set_trajectory([JointPoint(1.01, goal, zero)])
    middle = []
    for _ in range(500):
        cell.step(1)
        middle.append(cell.state().joint_position)
    # Half way through the cubic, less the lag of 10 ms at 1.5 times the mean velocity.
    np.testing.assert_allclose(middle[-1], start + 0.1 - 0.3 * 0.011, atol=2e-3)
    arm.set_trajectory([JointPoint(1.21, other, zero)])
    for _ in range(1100):
        cell.step(1)
        middle.append(cell.state().joint_position)
    velocity = np.diff(middle, axis=0) / 1e-3
    assert np.abs(velocity).max() < 1.0
    assert np.abs(np.diff(velocity, axis=0)).max() < 0.05
    np.testing.assert_allclose(middle[-1], other, atol=1e-3)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([], "rise"),
        ([JointPoint(0.2, np.zeros(7)), JointPoint(0.2, np.zeros(7))], "rise"),
        ([JointPoint(0.0, np.zeros(7))], "ended"),
        ([JointPoint(0.5, np.zeros(6))], "seven"),
        ([JointPoint(0.5, np.zeros(7), np.full(7, 0.1))], "rest"),
        ([JointPoint(0.5, np.full(7, np.nan))], "finite"),
    ],
)
def test_trajectories_without_meaning_change_nothing(points, words):
    cell, arm = joint_cell()
    cell.step(10)
    before = cell.state().joint_position
    with pytest.raises(BadTargetError, match=words):
        arm.set_trajectory(points)
    with pytest.raises(BadTargetError, match="seven finite"):
        arm.set_joints(np.full(7, np.inf))
    cell.step(100)
    np.testing.assert_allclose(cell.state().joint_position, before, atol=1e-6)


def test_an_arm_that_carries_itself_floats_on_zero_torque_and_another_falls():
    for gravity, floats in (("robot", True), ("controller", False)):
        cell, arm = effort_cell(gravity)
        height = cell.ee_pose()[2]
        for _ in range(20):
            arm.set_effort(np.zeros(7))
            cell.step(10)
        assert (abs(cell.ee_pose()[2] - height) < 1e-4) == floats
    # The effort that joint states show holds the arm up all the same.
    cell, arm = effort_cell()
    arm.set_effort(np.zeros(7))
    cell.step(5)
    np.testing.assert_allclose(cell.state().joint_effort, cell.data.qfrc_bias[:7], atol=1e-3)


def test_torques_accelerate_the_joints_by_torque_over_inertia():
    cell, arm = effort_cell()
    inertia = cell._mass_matrix().copy()
    torque = np.array([2.0, -3.0, 1.0, 2.0, 0.3, -0.2, 0.1])
    arm.set_effort(torque)
    cell.step(10)
    np.testing.assert_allclose(cell.state().joint_velocity, 0.01 * np.linalg.solve(inertia, torque), rtol=0.05)


def test_torques_are_limited_and_silence_ends_them():
    cell, arm = effort_cell()
    arm.set_effort(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 99.0]))
    cell.step(2)
    assert cell.state().joint_effort[6] == pytest.approx(12.0, abs=1e-6)
    arm.set_effort(np.array([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    cell.step(EFFORT_TIMEOUT_MS - 5)
    assert arm.commanded
    moving = cell.state().joint_velocity
    cell.step(10)
    assert not arm.commanded
    cell.step(1500)
    assert np.abs(moving).max() > 0.05
    assert np.abs(cell.state().joint_velocity).max() < 0.01 * np.abs(moving).max()


def test_torques_without_meaning_are_refused():
    _, arm = effort_cell()
    for bad in (np.zeros(6), np.full(7, np.nan)):
        with pytest.raises(BadTargetError, match="seven finite"):
            arm.set_effort(bad)
    assert not arm.commanded
