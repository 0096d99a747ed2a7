"""The physics cell: tracking, grasping, resets, collisions, bad input."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from dp_core.robot_spec import RobotSpec
from dp_sim.cell import BadTargetError, SimulatedCell
from dp_sim.task import tool_down


@pytest.fixture(scope="module")
def place() -> SimulatedCell:
    return SimulatedCell("place", 0)


def go_to(cell: SimulatedCell, pose: np.ndarray, seconds: float) -> None:
    """Move the target there in a straight line, then wait for half a second."""
    start = cell.ee_pose()
    ticks = int(seconds * 100)
    for tick in range(ticks):
        target = start + (pose - start) * (tick + 1) / ticks
        target[3:] /= np.linalg.norm(target[3:])
        cell.set_target_pose(target)
        cell.step(10)
    cell.step(500)


def test_the_wrench_is_zero_in_free_space(place):
    place.reset(3)
    place.step(300)
    assert np.abs(place.wrench()).max() < 0.05


def test_home_position_of_the_model_agrees_with_the_published_kinematics(place):
    # TCP of the FR3/Panda at (0, -pi/4, 0, -3pi/4, 0, pi/2, pi/4): forward kinematics of the published DH table.
    data = mujoco.MjData(place.model)
    data.qpos[:7] = [0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4]
    mujoco.mj_kinematics(place.model, data)
    np.testing.assert_allclose(data.site("fr3_hand_tcp").xpos, dh_tcp(data.qpos[:7]), atol=1e-4)
    np.testing.assert_allclose(data.site("fr3_hand_tcp").xmat.reshape(3, 3)[:, 2], [0, 0, -1], atol=1e-6)


def dh_tcp(q: np.ndarray) -> np.ndarray:
    """TCP position (3,) from Franka's modified DH table: a, d, alpha of joints 1..7, flange 0.107, hand 0.1034."""
    half = np.pi / 2
    rows = [
        (0, 0.333, 0),
        (0, 0, -half),
        (0, 0.316, half),
        (0.0825, 0, half),
        (-0.0825, 0.384, -half),
        (0, 0, half),
        (0.088, 0, half),
        (0, 0.107, 0),
    ]
    transform = np.eye(4)
    for (a, d, alpha), theta in zip(rows, [*q, 0.0], strict=True):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        transform = transform @ np.array(
            [[ct, -st, 0, a], [st * ca, ct * ca, -sa, -d * sa], [st * sa, ct * sa, ca, d * ca], [0, 0, 0, 1]]
        )
    return (transform @ np.array([0, 0, 0.1034, 1.0]))[:3]


def test_the_tool_follows_the_target_and_stays_within_joint_limits(place):
    for x, y in ((0.31, -0.12), (0.51, 0.12), (0.73, 0.0)):
        place.reset(1)
        pose = tool_down(x, y, 0.13, yaw=np.pi / 4 if y > 0 else -np.pi / 4)
        go_to(place, pose, 1.5)
        np.testing.assert_allclose(place.ee_pose()[:3], pose[:3], atol=2e-3)
        assert place.within_joint_limits()


def test_the_gripper_obeys_speed_and_closes_on_the_cube(place):
    place.reset(5)
    cube = place.object_poses()["cube"]
    yaw = 2.0 * np.arctan2(cube[5], cube[6])
    go_to(place, tool_down(cube[0], cube[1], 0.11, yaw), 1.0)
    go_to(place, tool_down(cube[0], cube[1], 0.02, yaw), 0.6)
    place.set_gripper(0.0, 0.1, 30.0)
    place.step(200)
    assert 0.055 < place.state().width_m < 0.07
    place.step(600)
    assert 0.037 < place.state().width_m < 0.041
    go_to(place, tool_down(cube[0], cube[1], 0.12, yaw), 1.0)
    lifted = place.object_poses()["cube"]
    assert lifted[2] == pytest.approx(0.12, abs=0.006)
    assert place.scene().held == {"cube"}
    place.set_gripper(0.08)
    place.step(500)
    assert place.object_poses()["cube"][2] < 0.03
    assert place.scene().held == frozenset()


def test_touching_the_obstacle_is_counted_and_fails():
    cell = SimulatedCell("reach_around", 2)
    pose = cell.ee_pose()
    go_to(cell, tool_down(pose[0], 0.0, 0.09), 0.5)
    go_to(cell, tool_down(0.60, 0.0, 0.09), 1.0)
    assert cell.status.failure and not cell.status.success
    assert cell.status.reason == "touched the pillar"
    assert cell.status.collisions >= 1
    assert not next(c for c in cell.status.conditions if c.name == "no_collision").met


def test_the_same_seed_gives_the_same_episode_and_time_runs_on():
    cell = SimulatedCell("place", 0)

    def run(seed: int) -> np.ndarray:
        cell.reset(seed)
        start = cell.ee_pose()
        for tick in range(40):
            cell.set_target_pose(start + np.r_[0.001 * tick, 0.0005 * tick, 0, 0, 0, 0, 0])
            cell.step(10)
        return np.r_[cell.state().joint_position, cell.object_poses()["cube"]]

    first, t_first = run(11), cell.t_ms
    other = run(12)
    again = run(11)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert cell.t_ms == 3 * t_first


@pytest.mark.parametrize(
    ("pose", "words"),
    [(np.full(7, np.nan), "finite"), (np.r_[0.4, 0, 0.2, 1, 1, 0, 0], "norm"), (np.zeros(6), "seven")],
)
def test_bad_targets_are_refused_and_change_nothing(place, pose, words):
    place.reset(1)
    before = place.ee_pose()
    with pytest.raises(BadTargetError, match=words):
        place.set_target_pose(pose)
    with pytest.raises(BadTargetError, match="finite"):
        place.set_gripper(float("nan"))
    place.step(50)
    np.testing.assert_allclose(place.ee_pose(), before, atol=1e-6)


def test_an_arm_that_takes_joints_takes_no_poses():
    cell = SimulatedCell("place", 1, robot=RobotSpec(back_end="joint", description="fr3"))
    with pytest.raises(BadTargetError, match="takes no poses"):
        cell.set_target_pose(cell.ee_pose())
