"""The jitter part in miniature, over real DDS: what is measured and how it is told, not how good it is."""

import numpy as np
from dp_bringup.control_bench.figures import plot_jitter
from dp_bringup.control_bench.jitter import JitterSettings, jitter_ratios, measure_jitter
from dp_bringup.control_bench.policy_load import build_engine
from dp_bringup.control_bench.tables import all_tables


def test_loops_are_measured_in_turn_beside_the_same_traffic(tmp_path):
    settings = JitterSettings(
        seconds=1.0, rounds=1, traffic_hz=100.0, conditions=("idle",), methods=("timer", "worker")
    )
    announced = []
    rows = measure_jitter(settings, tmp_path, lambda what, done: announced.append((what, done)))
    assert [row["method"] for row in rows] == ["timer", "worker", "control_node"]
    assert [done for _, done in announced] == [0, 1, 2] and settings.runs == 3
    for row in rows[:2]:
        periods = np.diff(np.load(tmp_path / f"idle_{row['method']}_0.npy")) * 1e-3
        assert row["periods"] == len(periods) == 250
        assert row["period_p99_us"] == np.percentile(periods, 99)
        assert row["jitter_p99_us"] == np.percentile(np.abs(periods - 4000.0), 99)
    assert 3000 < rows[2]["period_p50_us"] < 5000, "the control node runs at the rate of the benchmark"
    ratio = rows[0]["jitter_p99_us"] / rows[1]["jitter_p99_us"]
    assert jitter_ratios(rows) == {"idle": ratio}
    assert "rclpy timer" in all_tables(rows)
    plot_jitter(tmp_path, rows, 250.0, tmp_path / "jitter.png")
    assert (tmp_path / "jitter.png").is_file()


def test_ratios_need_both_loops():
    row = {"part": "jitter", "condition": "idle", "method": "timer", "jitter_p99_us": 900.0}
    assert jitter_ratios([row]) == {}
    assert jitter_ratios([row, {**row, "method": "worker", "jitter_p99_us": 90.0}]) == {"idle": 10.0}


def test_the_network_beside_the_loop_is_a_policy_of_the_cell():
    engine = build_engine("small", "sim_franka")
    images, proprioception = engine.blank_observation()
    assert set(images) == {"front", "wrist"}
    assert engine.infer(images, proprioception).actions.shape == (16, 10)
