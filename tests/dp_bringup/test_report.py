import numpy as np
import pytest
from dp_bringup.demo_plan import DemoState, make_plan
from dp_bringup.episodes import EpisodeResult
from dp_bringup.report import demo_summary, demo_table, write_report
from dp_bringup.report_figures import _compose, _encode, choose_rollouts, loss_figure, trajectory_figure
from dp_bringup.rollouts import Rollout

PNG = b"\x89PNG"


def result(seed, success, side, path="x"):
    return EpisodeResult(seed, "policy", success, 0, side, 5.0, 6.0, "" if success else "missed", {}, path)


def test_chosen_rollouts_show_failures_and_both_sides():
    results = [result(i, True, "left") for i in range(9)] + [result(20, True, "right"), result(21, False, "")]
    chosen = choose_rollouts(results)
    assert len(chosen) == 6
    assert {r.side for r in chosen} == {"left", "right", ""}
    assert choose_rollouts([result(0, True, "left", path="")]) == []


def test_figures_are_pictures(tmp_path):
    losses = tmp_path / "losses.jsonl"
    losses.write_text("".join(f'{{"step": {i}, "loss": {1 / (i + 1)}}}\n' for i in range(200)))
    assert loss_figure(losses).startswith(PNG)
    assert loss_figure(tmp_path / "absent.jsonl").startswith(PNG)
    rollout = Rollout(np.random.default_rng(0).normal(size=(50, 3)), {"obstacle": np.zeros(3), "cube": np.ones(3)})
    assert trajectory_figure([rollout], [result(0, True, "left")], "policy").startswith(PNG)
    assert trajectory_figure([], [], "nothing").startswith(PNG)


def test_video_is_an_mp4_and_short_episodes_keep_their_last_frame():
    short, long = [np.full((48, 96, 3), 10, np.uint8)], [np.full((48, 96, 3), v, np.uint8) for v in (0, 100, 200)]
    tiles = [("a", short), ("b", long)]
    last = _compose(tiles, 2, 2)
    assert last.shape == (48, 192, 3)
    assert last[40, 50, 0] == 10 and last[40, 150, 0] == 200
    assert _encode([_compose(tiles, i, 2) for i in range(3)], 10.0)[4:8] == b"ftyp"


@pytest.fixture
def state(tmp_path):
    plan = make_plan("place", "quick", "sim_franka", "small", 0)
    demonstrations = [result(0, True, "left", path="")]
    return DemoState(tmp_path, plan, {"record": 1.0}, demonstrations, [result(9, False, "", path="")], 60.0)


def test_summary_has_the_keys_that_outside_checks_read(state):
    summary = demo_summary(state)
    for key in (
        *("policy_success", "operator_success", "collision_rate", "side_counts", "messages_lost", "wall_s"),
        *("age_p50_s", "age_p99_s"),
    ):
        assert key in summary
    assert summary["operator_success"] == 1.0 and summary["policy_success"] == 0.0


def test_report_of_a_run_without_recordings_is_still_whole(state, tmp_path):
    path = tmp_path / "report.html"
    write_report(state, tmp_path / "train", path)
    text = path.read_text()
    assert "http://" not in text and "<script" not in text
    assert all(value in text for _, value in demo_table(state)[:2])
    assert "sim_franka" in text and "missed" in text
