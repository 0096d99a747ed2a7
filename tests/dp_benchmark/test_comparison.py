"""Comparisons: trained and scored once, taken up where they were left, and honest tables."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from dp_benchmark.comparison import ComparisonSettings, open_comparison, score_run, train_runs
from dp_benchmark.errors import BenchmarkError
from dp_benchmark.lockstep import EpisodeResult
from dp_benchmark.processes import WorkerError
from dp_benchmark.tables import comparison_rows, comparison_table, markdown_table


@pytest.fixture(scope="module")
def finished(replay_buffer, tmp_path_factory, pusht_config):
    """Two methods, trained for four steps each and scored on two starts."""
    out = tmp_path_factory.mktemp("comparison")
    settings = ComparisonSettings(replay_buffer, steps=4, episodes=2, parallel=2)
    policies = {"diffusion": pusht_config(), "regression": pusht_config(method="regression")}
    runs = open_comparison(out, settings, policies, 1, False)
    shares = {0: [], 1: []}
    train_runs(runs, settings, lambda place, share: shares[place].append(share))
    for run in runs:
        score_run(run, settings, 1)
    return out, settings, policies, runs, shares


def parse(table):
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in table.strip().splitlines()]
    assert all(set(cell) <= set("-:") for cell in lines[1])
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


def test_both_methods_are_trained_and_scored(finished):
    _, _, _, runs, shares = finished
    for place, run in enumerate(runs):
        assert run.trained and run.scored
        assert shares[place][-1].step == shares[place][-1].steps == 4
        training, score = run.training(), run.score()
        assert training["steps"] == 4 and training["wall_s"] > 0
        assert Path(training["checkpoint"]).name == "step_0000004"
        assert [row["seed"] for row in score["rows"]] == [100_000, 100_001]
        assert score["summary"]["method"] == run.config.method


def test_table_has_the_figures_of_the_runs(finished):
    _, _, _, runs, _ = finished
    rows = comparison_rows(runs)
    table = parse(comparison_table(rows))
    assert [line["method"] for line in table] == ["diffusion", "regression"]
    for line, run in zip(table, runs, strict=True):
        summary = run.score()["summary"]
        assert line["NFE"] == str(summary["evaluations_per_chunk"]) and line["training steps"] == "4"
        assert float(line["mean max coverage"]) == pytest.approx(summary["mean_max_coverage"], abs=5e-4)
        assert line["success (95 % interval)"].startswith(f"{summary['success']:.0%}")


def test_seeds_of_a_method_are_pooled(finished, tmp_path):
    _, _, _, runs, _ = finished
    first, second = runs[0], replace(runs[0], seed=1, folder=tmp_path / "seed_1")
    second.folder.mkdir()
    score, training = first.score(), first.training()
    for row in score["rows"]:
        row.update(success=True, max_coverage=0.97)
    score["summary"]["success"] = 1.0
    (second.folder / "score.json").write_text(json.dumps(score))
    (second.folder / "training.json").write_text(json.dumps(training))
    row = comparison_rows([first, second])[0]
    before = [EpisodeResult(**row).success for row in first.score()["rows"]]
    assert row["episodes"] == 4 and row["successes"] == sum(before) + 2 and row["training_seeds"] == [0, 1]
    assert row["success_per_seed"] == [first.score()["summary"]["success"], 1.0]


def test_a_finished_run_is_left_alone(finished):
    out, settings, policies, runs, _ = finished
    files = [run.folder / name for run in runs for name in ("training.json", "score.json")]
    before = [file.stat().st_mtime_ns for file in files]
    again = open_comparison(out, settings, policies, 1, True)
    assert all(run.trained and run.scored for run in again)
    train_runs(again, settings, lambda place, share: pytest.fail("trained again"))
    for run in again:
        score_run(run, settings, 1)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_a_comparison_may_be_moved_before_it_is_scored(finished, tmp_path):
    out, settings, policies, _, _ = finished
    shutil.copytree(out, tmp_path / "moved")
    run = open_comparison(tmp_path / "moved", settings, policies, 1, True)[0]
    (run.folder / "score.json").unlink()
    score_run(run, replace(settings, episodes=1), 1)
    assert Path(run.score()["summary"]["checkpoint"]).is_relative_to(tmp_path / "moved")


def test_a_comparison_is_not_mixed_with_another(finished, pusht_config, tmp_path):
    out, settings, policies, _, _ = finished
    with pytest.raises(BenchmarkError, match="--resume"):
        open_comparison(out, settings, policies, 1, False)
    with pytest.raises(BenchmarkError, match="episodes = 2, not 3"):
        open_comparison(out, replace(settings, episodes=3), policies, 1, True)
    with pytest.raises(BenchmarkError, match="regression has changed"):
        open_comparison(out, settings, {"regression": pusht_config()}, 1, True)
    with pytest.raises(BenchmarkError, match="nothing to resume"):
        open_comparison(tmp_path, settings, policies, 1, True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"episodes": 0}, "episodes = 0"),
        ({"parallel": 0}, "parallel = 0"),
        ({"minutes": -1.0}, "minutes = -1"),
        ({"minutes": 1.0, "steps": 5}, "only one"),
    ],
)
def test_settings_that_make_no_sense(changes, named, tmp_path):
    with pytest.raises(BenchmarkError, match=named):
        ComparisonSettings(tmp_path, **changes)


def test_a_failing_training_names_its_method(replay_buffer, tmp_path, pusht_config):
    config = pusht_config(observation={"state": ["keypoints"], "proprioception_dim": 20})  # 18 in the data
    settings = ComparisonSettings(replay_buffer, steps=2, episodes=1)
    runs = open_comparison(tmp_path / "out", settings, {"wrong": config}, 1, False)
    with pytest.raises(WorkerError, match=r"wrong, seed 0: .*20.*18"):
        train_runs(runs, settings, lambda place, share: None)


def test_minutes_become_a_number_of_steps_that_a_resumed_training_keeps(replay_buffer, tmp_path, pusht_config):
    settings = ComparisonSettings(replay_buffer, minutes=0.02, episodes=1)
    runs = open_comparison(tmp_path / "out", settings, {"tiny": pusht_config(method="regression")}, 1, False)
    train_runs(runs, settings, lambda place, share: None)
    steps = json.loads((runs[0].folder / "steps.json").read_text())
    assert runs[0].training()["steps"] == steps > 1


def test_a_killed_command_continues_where_it_was(replay_buffer, tmp_path, pusht_config):
    """kill -9 while the second method trains: the first is not done again, the second goes on from its checkpoint."""
    quick = pusht_config(method="regression").with_training(steps=3)
    slow = pusht_config().with_training(steps=150, checkpoint_interval=10)
    files = []
    for name, config in (("quick", quick), ("slow", slow)):
        files.append(tmp_path / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(config.to_dict()))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "dp_bringup.cli", "benchmark", "pusht", "--data", str(replay_buffer)]
    command += ["--methods", ",".join(map(str, files)), "--episodes", "1", "--workers", "1", "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    checkpoints = out / "slow" / "seed_0" / "training" / "checkpoints"
    deadline = time.monotonic() + 400
    try:
        while not any(checkpoints.glob("step_*")):
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    first = out / "quick" / "seed_0" / "training.json"
    trained_at = first.stat().st_mtime_ns
    result = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    assert first.stat().st_mtime_ns == trained_at
    losses = (out / "slow" / "seed_0" / "training" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in losses] == list(range(150))
    assert [line["method"] for line in parse((out / "table.md").read_text())] == ["quick", "slow"]
    assert {row["name"] for row in json.loads((out / "results.json").read_text())["rows"]} == {"quick", "slow"}
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_markdown_table_lines_up():
    table = markdown_table(("a", "long"), [("x", "1"), ("yyy", "22222")])
    assert len({len(line) for line in table.splitlines()}) == 1
    assert parse(table) == [{"a": "x", "long": "1"}, {"a": "yyy", "long": "22222"}]
