"""The tracking part in miniature: one recorded motion, everything deterministic."""

import numpy as np
import pytest
from dp_bringup.control_bench.figures import plot_tracking
from dp_bringup.control_bench.recorded_motion import record_motion
from dp_bringup.control_bench.tables import all_tables, ratio_table
from dp_bringup.control_bench.timings import timing_rows
from dp_bringup.control_bench.tracking import (
    COMMANDED,
    LINEAR,
    METHODS,
    OURS,
    TrackingSettings,
    track,
    tracking_ratios,
    tracking_rows,
)
from dp_bringup.control_bench.waypoint_chunks import ChunkPlan, deliver, end_of_execution_s
from dp_core.contract import load_contract

SETTINGS = TrackingSettings(episodes=1, task="place", arms=("stiff arm",))


@pytest.fixture(scope="module")
def tracked():
    return track(SETTINGS, lambda seed: None)


@pytest.fixture(scope="module")
def rows(tracked):
    return tracking_rows(tracked)


def test_a_recording_is_the_motion_of_a_person_and_repeats(tracked):
    motion = tracked[0].motion
    again = record_motion("place", load_contract("sim_franka"), 0)
    np.testing.assert_array_equal(again.poses, motion.poses)
    speed = np.linalg.norm(np.diff(motion.poses[:, :3], axis=0), axis=1) / 1e-3
    assert 3.0 < motion.duration_s < 20.0 and 0.1 < speed.max() < 0.6
    assert {0.0, 0.08} <= set(motion.widths.tolist()), "the gripper opens and closes"
    np.testing.assert_allclose(motion.at(0.0105)[:3], 0.5 * (motion.poses[10, :3] + motion.poses[11, :3]))


def test_chunks_overlap_and_arrive_late_within_the_recording(tracked):
    motion, plan = tracked[0].motion, ChunkPlan()
    deliveries = deliver(motion, plan)
    for number, delivery in enumerate(deliveries):
        chunk = delivery.chunk
        assert chunk.observed_ns == number * 800_000_000 and len(chunk.stamps_ns) == 16
        assert 0.06 <= delivery.arrival_s - 1e-9 * chunk.observed_ns <= 0.18
        np.testing.assert_allclose(chunk.poses, motion.at(1e-9 * chunk.stamps_ns))
    assert 1e-9 * deliveries[-1].chunk.stamps_ns[-1] <= motion.duration_s
    assert end_of_execution_s(deliveries, plan) < 1e-9 * deliveries[-1].chunk.stamps_ns[-1]
    assert [d.arrival_s for d in deliver(motion, plan)] == [d.arrival_s for d in deliveries]


def test_the_follower_is_five_times_smoother_than_linear_and_slerp_and_nearer(rows):
    ratios = tracking_ratios(rows)
    assert ratios["velocity_step_ratio"] >= 5.0 and ratios["jerk_ratio"] >= 5.0 and ratios["error_ratio"] >= 1.0
    commanded = {row["method"]: row for row in rows if row["motion"] == COMMANDED}
    assert commanded[OURS]["error_max_m"] <= commanded[LINEAR]["error_max_m"]
    assert commanded[OURS]["limited_cycles"] == 0, "the cell's limits must not bind, else the comparison is of limits"


def test_a_stiff_arm_shows_the_difference_too(rows):
    assert tracking_ratios(rows, "stiff arm")["jerk_ratio"] > 3.0


def test_rows_table_and_figure_hold_every_method(rows, tracked, tmp_path):
    assert [(row["motion"], row["method"]) for row in rows] == [
        (motion, method) for motion in (COMMANDED, "stiff arm") for method in METHODS
    ]
    table = all_tables(rows)
    assert table.count("\n") == 2 + len(rows) and all(method in table for method in METHODS)
    plot_tracking(tracked, rows, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000


def test_an_error_that_is_a_little_larger_does_not_look_equal():
    ratios = {"velocity_step_ratio": 2.6154, "jerk_ratio": 8.873, "error_ratio": 0.9699}
    table = ratio_table([{"part": "tracking ratio", "motion": "stiff arm", **ratios}])
    assert table.splitlines()[-1].replace(" ", "") == "|stiffarm|2.6|8.9|0.97|"


def test_the_time_of_a_cycle_is_measured_without_and_with_inverse_kinematics(tracked):
    core, both, alone = timing_rows([tracked[0].motion], 250, SETTINGS.plan)
    assert "alone" in alone["what"] and both["p50_us"] > core["p50_us"]
    assert core["calls"] == both["calls"] and alone["calls"] >= core["calls"]
    assert 0 < core["p50_us"] < core["p99_us"]
