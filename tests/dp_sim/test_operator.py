"""The scripted operator drives the cell through the device only, and like a person."""

from __future__ import annotations

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_sim.cell import SimulatedCell
from dp_sim.offline import run_operator
from dp_sim.operator import OperatorFeel, ScriptedOperator, felt_lag_s
from dp_sim.task import OperatorView, load_task, tool_down, upright

TICK_NS = 10_000_000
OBJECTS = {"goal": upright(0.65, 0.0, 0.002), "pillar": upright(0.52, 0.0, 0.05)}


@pytest.mark.parametrize(("task", "episodes", "longest_s"), [("reach_around", 12, 6.0), ("place", 8, 16.0)])
def test_operator_succeeds_on_both_sides(task, episodes, longest_s, make_controller):
    cell = SimulatedCell(task, 0)
    results = [run_operator(cell, 500 + seed, make_controller) for seed in range(episodes)]
    assert sum(result.status.success for result in results) >= episodes - 1
    assert {result.status.side for result in results if result.status.success} == {"left", "right"}
    for result in results:
        if result.status.success:
            assert result.status.side == result.operator_side
            assert result.duration_s < longest_s


def test_operator_grasps_what_moves(make_controller):
    cell = SimulatedCell("grasp_moving", 0)
    results = [run_operator(cell, 500 + seed, make_controller) for seed in range(6)]
    assert sum(result.status.success for result in results) >= 5
    assert max(result.duration_s for result in results if result.status.success) < 6.0


def test_a_goal_with_a_velocity_is_met_where_it_will_be():
    task = load_task("grasp_moving")
    feel = OperatorFeel(noise=0.0, hesitation_rate_hz=0.0, pause_probability=0.0, follow_s=0.0)
    operator = ScriptedOperator(task, 3, feel)
    pose, gaps = tool_down(0.47, 0.0, 0.15, np.pi / 2), []
    for tick in range(250):
        cube = upright(0.47, -0.2 + 0.001 * tick, 0.03)
        sample = operator.step(OperatorView(pose.copy(), 0.08, {"cube": cube}), tick * TICK_NS)
        axes = sample.axes[:3]
        # This arm does not trail at all: m in 10 ms at 0.25 m/s for full deflection, beyond the deadband of 5 %.
        pose[:3] += 0.0025 * np.sign(axes) * np.maximum(np.abs(axes) - 0.05, 0.0) / 0.95
        if operator.phase == "grasp":
            gaps.append(pose[1] - cube[1])
    # The eye is 0.18 s, or 18 mm, behind; without the lead the tool would be as far behind the cube.
    assert len(gaps) > 50 and np.abs(gaps).max() < 0.008


@pytest.mark.parametrize("seed", range(12))
def test_an_operator_that_feels_the_wrong_lag_sees_that_it_stopped_short(seed):
    task = load_task("reach_around")
    operator = ScriptedOperator(task, seed, OperatorFeel(follow_s=0.2, pause_probability=0.0))
    pose = tool_down(0.38, 0.0, 0.09)
    for tick in range(1000):
        axes = operator.step(OperatorView(pose.copy(), 0.0, OBJECTS), tick * TICK_NS).axes[:3]
        # This arm does not trail at all: m in 10 ms at 0.25 m/s for full deflection, beyond the deadband of 5 %.
        pose[:3] += 0.0025 * np.sign(axes) * np.maximum(np.abs(axes) - 0.05, 0.0) / 0.95
    assert operator.done
    assert np.linalg.norm(pose[:3] - [0.65, 0.0, 0.09]) < 0.013


@pytest.mark.parametrize(
    ("cell", "follow_s"), [("sim_franka", 0.12), ("sim_franka_joint", 0.04), ("sim_franka_effort", 0.04)]
)
def test_the_felt_lag_is_that_of_the_cell(cell, follow_s):
    contract = load_contract(cell)
    assert felt_lag_s(contract.robot, contract.impedance) == follow_s


def still_samples(feel: OperatorFeel, ticks: int, seed: int = 1) -> np.ndarray:
    """Axes (ticks, 6) of an operator that watches a robot which does not move."""
    operator = ScriptedOperator(load_task("reach_around"), seed, feel)
    view = OperatorView(tool_down(0.38, 0.0, 0.09), 0.0, OBJECTS)
    return np.array([operator.step(view, tick * TICK_NS).axes for tick in range(ticks)])


def test_nothing_moves_before_the_reaction_time():
    feel = OperatorFeel(reaction_s=0.3, start_pause_s=0.0)
    axes = still_samples(feel, 60)
    assert not axes[:30].any()
    assert axes[31:40].any()


def test_axes_stay_within_the_device_and_noise_is_correlated():
    quiet = OperatorFeel(noise=0.0, hesitation_rate_hz=0.0, pause_probability=0.0)
    noisy = OperatorFeel(noise=0.13, hesitation_rate_hz=0.0, pause_probability=0.0)
    axes, reference = still_samples(noisy, 3000), still_samples(quiet, 3000)
    assert np.abs(axes).max() <= 1.0
    noise = (axes - reference)[500:, 3]
    assert 0.08 < noise.std() < 0.18
    # Independent noise would give 0; the operator corrects what it feels, so less than the hand's own 0.82.
    lag = 5
    assert 0.35 < np.corrcoef(noise[:-lag], noise[lag:])[0, 1] < 0.9


def test_seeds_repeat_and_sides_are_about_even():
    np.testing.assert_array_equal(still_samples(OperatorFeel(), 200, 7), still_samples(OperatorFeel(), 200, 7))
    assert np.abs(still_samples(OperatorFeel(), 200, 7) - still_samples(OperatorFeel(), 200, 8)).max() > 0.05
    task = load_task("place")
    left = sum(ScriptedOperator(task, seed).side == "left" for seed in range(200))
    assert 75 <= left <= 125


def test_button_is_pressed_again_when_the_gripper_does_not_close():
    task = load_task("place")
    operator = ScriptedOperator(task, 3, OperatorFeel(noise=0.0, pause_probability=0.0))
    pose = tool_down(0.4, 0.0, 0.02)
    objects = {"cube": upright(0.4, 0.0, 0.02), "target": upright(0.73, 0, 0), "obstacle": upright(0.64, 0, 0)}
    operator._index = [phase.name for phase in task.plan("left")].index("grasp")
    pressed = [operator.step(OperatorView(pose, 0.08, objects), tick * TICK_NS).buttons[0] for tick in range(400)]
    edges = int(np.sum(np.diff([0, *pressed]) == 1))
    assert edges >= 2
    assert operator.phase == "grasp"


def test_a_cube_that_slips_away_is_picked_up_again():
    task = load_task("place")
    operator = ScriptedOperator(task, 3, OperatorFeel(noise=0.0, pause_probability=0.0))
    objects = {"cube": upright(0.4, 0.0, 0.02), "target": upright(0.73, 0, 0), "obstacle": upright(0.64, 0, 0)}
    operator._index = [phase.name for phase in task.plan("left")].index("swing_out")
    pose = tool_down(0.4, 0.05, 0.1)
    for tick in range(200):
        operator.step(OperatorView(pose, 0.0 if tick < 60 else 0.08, objects), tick * TICK_NS)
    assert operator.phase == "above_cube"
