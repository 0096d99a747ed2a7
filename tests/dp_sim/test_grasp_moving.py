"""The sled drives as promised, the cube rides on it and can be taken off, and a late grasp misses."""

from __future__ import annotations

import numpy as np
import pytest
from dp_sim.cell import SimulatedCell
from dp_sim.task import SceneView, Scorer, load_task, tool_down, upright

# The sled rests for 0.5 s and takes 0.15 s to its 0.1 m/s: it is 0.0575 m behind one that drives from the reset on.
BEHIND_M = 0.1 * (0.5 + 0.15 / 2.0)


@pytest.fixture(scope="module")
def cell() -> SimulatedCell:
    return SimulatedCell("grasp_moving", 0)


def test_the_cube_rides_at_the_speed_of_the_sled(cell):
    cell.reset(4)
    start = cell.object_poses()
    cell.step(400)
    np.testing.assert_allclose(cell.object_poses()["sled"], start["sled"], atol=1e-4)
    for t_s in (1.0, 2.0, 3.0):
        cell.step(600 if t_s == 1.0 else 1000)
        now = cell.object_poses()
        for name in ("sled", "cube"):
            assert now[name][1] - start[name][1] == pytest.approx(0.1 * t_s - BEHIND_M, abs=1e-3), name
            np.testing.assert_allclose(now[name][[0, 2]], start[name][[0, 2]], atol=5e-4)


def test_a_reset_brings_the_sled_back_and_the_same_seed_repeats(cell):
    def ride(seed: int) -> np.ndarray:
        state = cell.reset(seed)
        cell.step(1500)
        return np.r_[state.ee_pose, cell.object_poses()["sled"], cell.object_poses()["cube"]]

    first, other, again = ride(7), ride(8), ride(7)
    np.testing.assert_array_equal(first, again)
    assert abs(first[8] - other[8]) > 1e-3


def test_nobody_grasps_and_the_sled_takes_the_cube_to_the_end(cell):
    cell.reset(1)
    while not (cell.status.failure or cell.status.success):
        cell.step(100)
    assert cell.status.reason == "the sled took the cube to the end of its track"
    assert cell.object_poses()["sled"][1] == pytest.approx(0.25, abs=0.003)
    cell.step(500)
    assert cell.object_poses()["sled"][1] == pytest.approx(0.25, abs=0.003)
    assert cell.status.collisions == 0


@pytest.mark.parametrize(("late_s", "caught"), [(0.0, True), (0.1, True), (0.4, False)])
def test_a_plan_executed_late_closes_on_nothing(cell, late_s, caught):
    """The tool goes where the cube was `late_s` ago, closes after 2 s and goes up after 2.5 s."""
    cell.reset(3)
    cube, tool = cell.object_poses()["cube"], cell.ee_pose()
    yaw = 2.0 * np.arctan2(cube[5], cube[6]) + np.pi / 2.0
    late = 0.1 * late_s
    for tick in range(360):
        t_s = 0.01 * tick
        y = cube[1] + max(0.1 * t_s - BEHIND_M, 0.0) - late
        z = np.interp(t_s, [0.0, 1.2, 1.8, 2.5, 3.2], [0.15, 0.09, 0.03, 0.03, 0.14])
        share = min(t_s / 1.0, 1.0)
        goal = tool_down(cube[0], y, z, yaw)
        target = np.r_[tool[:2] + share * (goal[:2] - tool[:2]), z, goal[3:]]
        cell.set_target_pose(target)
        if tick == 200:
            cell.set_gripper(0.0, 0.15, 40.0)
        cell.step(10)
    assert cell.status.success == caught
    assert (cell.object_poses()["cube"][2] > 0.09) == caught


def view(**changes) -> SceneView:
    values = {
        "t_s": 1.0,
        "ee_pose": tool_down(0.47, 0.1, 0.12, np.pi / 2.0),
        "ee_speed_m_s": 0.0,
        "width_m": 0.04,
        "objects": {"cube": upright(0.47, 0.1, 0.12), "sled": upright(0.47, 0.12, 0.006)},
        "object_speeds": {"cube": (0.0, 0.0), "sled": (0.1, 0.0)},
        "held": frozenset({"cube"}),
        "collisions": 0,
    }
    return SceneView(**{**values, **changes})


def score(**changes) -> Scorer:
    scorer = Scorer(load_task("grasp_moving"))
    for tick in range(30):
        scorer.update(view(**{"t_s": 3.0 + 0.01 * tick, **changes}))
    return scorer


def objects(cube_z: float, sled_y: float = 0.12) -> dict[str, np.ndarray]:
    return {"cube": upright(0.47, 0.1, cube_z), "sled": upright(0.47, sled_y, 0.006)}


def test_a_lifted_cube_succeeds_also_when_the_sled_has_stopped():
    assert score().status.success
    assert score(objects=objects(0.12, sled_y=0.25)).status.success


@pytest.mark.parametrize(
    ("changes", "unmet"),
    [
        ({"objects": objects(0.08)}, "lifted"),
        ({"width_m": 0.07}, "gripped"),
        ({"width_m": 0.02}, "gripped"),
        ({"held": frozenset()}, "gripped"),
        ({"collisions": 1}, "no_collision"),
        ({"t_s": 7.1}, "in_time"),
    ],
)
def test_each_condition_can_fail_alone(changes, unmet):
    status = score(**changes).status
    assert not status.success
    assert [c.name for c in status.conditions if not c.met] == [unmet]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"collisions": 1}, "touched the stop"),
        ({"objects": objects(0.02)}, "pushed the cube off the sled"),
        (
            {"objects": objects(0.03, sled_y=0.25), "held": frozenset()},
            "the sled took the cube to the end of its track",
        ),
    ],
)
def test_failures_are_named(changes, reason):
    status = score(**changes).status
    assert status.failure and status.reason == reason
