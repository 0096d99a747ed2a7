"""Tasks are found by scanning, draw what they promise, and score strictly."""

from __future__ import annotations

import numpy as np
import pytest
from dp_sim.task import (
    Passage,
    SceneView,
    Scorer,
    Task,
    UnknownTaskError,
    load_task,
    task_names,
    tool_down,
    upright,
    yaw_of_cube,
    yaw_of_tool,
)
from dp_sim.tasks import place as place_task


def view(task: Task, t_s: float, cube: np.ndarray, **changes) -> SceneView:
    values = {
        "t_s": t_s,
        "ee_pose": tool_down(0.73, 0, 0.1),
        "ee_speed_m_s": 0.0,
        "width_m": 0.08,
        "objects": {"cube": cube, "target": upright(*place_task.TARGET_XY, 0.001)},
        "object_speeds": {"cube": (0.0, 0.0)},
        "held": frozenset(),
        "collisions": 0,
    }
    return SceneView(**{**values, **changes})


def score(last: dict, side_y: float = 0.14) -> Scorer:
    """Carry the cube past the obstacle at `side_y`, put it down on the target, then show `last` for 0.3 s."""
    task = load_task("place")
    task.start(np.random.default_rng(0))
    scorer = Scorer(task)
    t_s = 0.0
    for x in np.linspace(0.4, 0.72, 33):
        scorer.update(view(task, t_s := t_s + 0.01, upright(x, side_y, 0.1), held=frozenset({"cube"})))
    cube = last.pop("cube", upright(0.735, 0.01, 0.02))
    for _ in range(30):
        scorer.update(view(task, t_s := t_s + 0.01, cube, **last))
    return scorer


def test_tasks_are_the_files_of_the_package():
    assert task_names() == ["grasp_moving", "place", "reach_around"]
    assert {load_task(name).name for name in task_names()} == set(task_names())
    with pytest.raises(UnknownTaskError, match=r"'stack'.*grasp_moving, place, reach_around"):
        load_task("stack")


def test_a_cube_put_down_behind_the_obstacle_succeeds_on_either_side():
    for y, side in ((0.14, "left"), (-0.14, "right")):
        status = score({}, side_y=y).status
        assert status.success and not status.failure
        assert status.side == side
        assert "(<= 0.025)" in next(c.text for c in status.conditions if c.name == "cube_to_target")


@pytest.mark.parametrize(
    ("last", "unmet"),
    [
        ({"cube": upright(0.765, 0.0, 0.02)}, "cube_to_target"),
        ({"cube": upright(0.73, 0.0, 0.04)}, "cube_height_error"),
        ({"held": frozenset({"cube"})}, "released"),
        ({"width_m": 0.04}, "released"),
        ({"object_speeds": {"cube": (0.02, 0.0)}}, "cube_speed"),
        ({"object_speeds": {"cube": (0.0, 0.5)}}, "cube_turning"),
        ({"collisions": 1}, "no_collision"),
    ],
)
def test_each_condition_can_fail_alone(last, unmet):
    status = score(last).status
    assert not status.success
    assert [c.name for c in status.conditions if not c.met] == [unmet]


def test_carrying_over_the_obstacle_fails():
    status = score({}, side_y=0.01).status
    assert status.failure and not status.success
    assert status.reason == "carried the cube over the obstacle"


def test_success_needs_the_conditions_for_a_while():
    task = load_task("place")
    task.start(np.random.default_rng(0))
    scorer = Scorer(task)
    for tick in range(60):
        scorer.update(view(task, 0.01 * tick, upright(0.4 + 0.0055 * tick, 0.14, 0.1)))
    for tick in range(60, 200):
        moving = (0.05, 0.0) if tick % 15 == 0 else (0.0, 0.0)
        scorer.update(view(task, 0.01 * tick, upright(0.73, 0.0, 0.02), object_speeds={"cube": moving}))
    assert not scorer.status.success


def test_time_limit_fails_and_is_latched():
    task = load_task("place")
    task.start(np.random.default_rng(0))
    scorer = Scorer(task)
    scorer.update(view(task, task.time_limit_s + 0.1, upright(0.4, 0.0, 0.02)))
    assert scorer.status.failure and "time limit" in scorer.status.reason
    scorer.update(view(task, 0.1, upright(0.4, 0.0, 0.02)))
    assert scorer.status.failure


def test_starts_cover_what_is_promised():
    task = load_task("place")
    cubes = np.array([task.start(np.random.default_rng(seed))[1]["cube"] for seed in range(400)])
    yaws = np.array([yaw_of_cube(cube) for cube in cubes])
    assert np.ptp(cubes[:, 0]) > 0.19 and np.ptp(cubes[:, 0]) <= 0.20
    assert np.ptp(cubes[:, 1]) > 0.23 and np.ptp(cubes[:, 1]) <= 0.24
    assert yaws.min() < -0.72 and yaws.max() > 0.72 and np.abs(yaws).max() <= np.pi / 4


def test_passage_tells_the_side_only_once_past_and_forgets_on_return():
    passage = Passage(0.5, 0.0, 0.03)
    for x in (0.3, 0.45, 0.49):
        passage.update(np.array([x, -0.1, 0.1]))
        assert passage.side == ""
    passage.update(np.array([0.51, -0.1, 0.1]))
    assert passage.side == "right" and not passage.over
    passage.update(np.array([0.40, 0.1, 0.1]))
    passage.update(np.array([0.52, 0.1, 0.1]))
    assert passage.side == "left"


def test_yaw_of_tool_and_cube():
    for yaw in (-0.7, 0.0, 0.3):
        assert yaw_of_tool(tool_down(0, 0, 0, yaw)) == pytest.approx(yaw)
        assert yaw_of_cube(upright(0, 0, 0, yaw + np.pi / 2)) == pytest.approx(yaw)
