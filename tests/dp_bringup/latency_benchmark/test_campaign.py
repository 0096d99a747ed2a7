"""Outcomes are kept, continued and counted."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from dp_bringup.cli import main
from dp_bringup.errors import CommandError
from dp_bringup.latency_benchmark import campaign, real_graph
from dp_bringup.latency_benchmark.campaign import Campaign, Settings
from dp_bringup.latency_benchmark.conditions import Condition, Outcome, make_conditions
from dp_bringup.latency_benchmark.tables import (
    latency_overview,
    latency_rows,
    latency_summary,
    latency_table,
    points_lost,
)
from dp_core.contract import load_contract
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy

from dp_bringup import results

FIRST_SEED = 1_000_000
SETTINGS = Settings("sim_franka", 40, "reference", {"place": "abc"})
CONDITION = Condition("place", "ours", 400)


def make_outcome(seed, success=True, **changes):
    made = Outcome(seed, success, "" if success else "late", 7.0, 9, 3, 0.1, (0.001, 0.003), (0.01, 0.02), 16.0, 9.0)
    return replace(made, **changes)


def write_outcomes(folder, condition, outcomes, tail=""):
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({**outcome.row(), "wall_s": 1.0}) for outcome in outcomes]
    (folder / "episodes" / f"{condition.name}.jsonl").write_text("\n".join([*lines, tail]))


def test_conditions_are_every_method_at_every_latency_and_some_with_jitter():
    made = make_conditions(["place"], ["none", "ours"], [0, 400], [400], 50)
    assert [c.name for c in made[3:]] == ["place-ours-0ms", "place-ours-400ms", "place-ours-400ms-jitter50"]
    assert len(make_conditions(["place"], ["none"], [0, 400], [400], 0)) == 2


@pytest.mark.parametrize(
    ("tasks", "methods", "added", "named"),
    [
        (["place"], ["magic"], [0], "splice"),
        ([], ["ours"], [0], "--checkpoint"),
        (["place"], ["ours"], [-1], "negative"),
    ],
)
def test_senseless_comparisons_are_refused(tasks, methods, added, named):
    with pytest.raises(CommandError, match=named):
        make_conditions(tasks, methods, added, [], 50)


def test_outcomes_are_read_back_but_for_a_line_that_was_cut_off(tmp_path):
    done = [make_outcome(FIRST_SEED), make_outcome(FIRST_SEED + 1, False), make_outcome(5)]
    write_outcomes(tmp_path, CONDITION, done, tail='{"seed": 1000002, "succ')
    found = Campaign(tmp_path, SETTINGS)
    assert found.load([CONDITION], range(FIRST_SEED, FIRST_SEED + 3)) == 2
    assert found.outcomes[CONDITION] == {outcome.seed: outcome for outcome in done[:2]}


def test_an_episode_after_a_line_that_was_cut_off_is_kept_as_well(tmp_path, monkeypatch):
    """A kill or a full disk leaves half a line; what is played afterwards must not be glued to it."""
    played = [make_outcome(FIRST_SEED), make_outcome(FIRST_SEED + 1, False)]
    write_outcomes(tmp_path, CONDITION, [], tail='{"seed": 1000000, "succ')

    def run_jobs(work, jobs, processes, keep):
        for number in range(len(jobs)):
            keep(number, {**played[number].row(), "wall_s": 1.0})

    monkeypatch.setattr(campaign, "run_jobs", run_jobs)
    seeds = range(FIRST_SEED, FIRST_SEED + 2)
    first = Campaign(tmp_path, SETTINGS)
    assert first.load([CONDITION], seeds) == 0
    first.run({"place": tmp_path}, seeds, 1, lambda condition, outcome: None)
    assert Campaign(tmp_path, SETTINGS).load([CONDITION], seeds) == 2


def test_a_folder_of_other_settings_is_not_mixed_with_but_another_task_joins(tmp_path):
    Campaign(tmp_path, SETTINGS)
    for other in (replace(SETTINGS, base_ms=30), replace(SETTINGS, checkpoints={"place": "def"})):
        with pytest.raises(CommandError, match="another --out"):
            Campaign(tmp_path, other)
    Campaign(tmp_path, replace(SETTINGS, checkpoints={"grasp": "def"}))
    with pytest.raises(CommandError, match="another --out"):
        Campaign(tmp_path, replace(SETTINGS, checkpoints={"grasp": "abc"}))


def play_one(folder, monkeypatch, version, seed=FIRST_SEED):
    """Play an episode with the code of this version."""
    row = {**make_outcome(seed).row(), "wall_s": 1.0}
    monkeypatch.setattr(campaign, "run_jobs", lambda work, jobs, processes, keep: keep(0, row))
    monkeypatch.setattr(campaign, "code_version", lambda: version)
    found = Campaign(folder, SETTINGS)
    found.load([CONDITION], [seed])
    found.run({"place": folder}, [seed], 1, lambda condition, outcome: None)
    return found


def test_the_code_that_has_played_is_noted_and_another_one_goes_on_with_a_warning(tmp_path, monkeypatch, capsys):
    assert play_one(tmp_path, monkeypatch, "1.0 (abc)").code == ["1.0 (abc)"]
    assert play_one(tmp_path, monkeypatch, "1.0 (abc)", FIRST_SEED + 1).code == ["1.0 (abc)"]
    assert play_one(tmp_path, monkeypatch, "1.0 (def+)").code == ["1.0 (abc)"], "nothing was left to play"
    assert capsys.readouterr().err == ""
    found = play_one(tmp_path, monkeypatch, "1.0 (def+)", FIRST_SEED + 2)
    assert found.load([CONDITION], range(FIRST_SEED, FIRST_SEED + 3)) == 3
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["code"] == found.code == ["1.0 (abc)", "1.0 (def+)"]
    assert "holds episodes of 1.0 (abc), and is continued with 1.0 (def+)" in capsys.readouterr().err


def test_a_folder_from_before_the_code_was_noted_goes_on_with_a_warning(tmp_path, monkeypatch, capsys):
    (tmp_path / "settings.json").write_text(json.dumps(asdict(SETTINGS)))
    assert play_one(tmp_path, monkeypatch, "1.0").code == [campaign.UNKNOWN_CODE, "1.0"]
    assert "not noted" in capsys.readouterr().err


def test_the_version_of_the_code_names_revision_and_changes(monkeypatch):
    monkeypatch.setattr(results, "versions", lambda: {"git": "abc+", "diffusion-policy-ros2": "0.1.0"})
    assert results.code_version() == "0.1.0 (abc+)"
    monkeypatch.setattr(results, "versions", lambda: {"git": "", "diffusion-policy-ros2": "0.1.0"})
    assert results.code_version() == "0.1.0"


def test_points_lost_have_the_interval_of_newcombe():
    """Example of Newcombe (1998), Statistics in Medicine 17:873-890, table II (a): 56/70 and 48/80."""
    base = [make_outcome(seed, seed < 56) for seed in range(70)]
    later = [make_outcome(seed, seed < 48) for seed in range(80)]
    lost, interval = points_lost(base, later)
    assert lost == pytest.approx(20.0) and interval == pytest.approx((5.24, 33.39), abs=0.01)
    assert points_lost([], later) == (None, None)


def test_rows_and_summary_count_against_the_same_method_without_latency():
    outcomes = {
        Condition(task, "ours", added): {seed: make_outcome(seed, seed < wins) for seed in range(10)}
        for task, added, wins in (("place", 0, 10), ("place", 400, 9), ("grasp", 0, 8), ("grasp", 400, 5))
    }
    rows = latency_rows(outcomes)
    assert [row["points_lost"] for row in rows] == pytest.approx([0.0, 10.0, 0.0, 30.0])
    assert rows[1]["success"] == 0.9 and rows[1]["seam_m_p50"] == pytest.approx(0.002)
    assert rows[1]["commanded_jerk_m_s3"] == 4.0 and rows[1]["measured_jerk_m_s3"] == 3.0
    assert rows[1]["late_per_chunk"] == pytest.approx(3 / 9)
    summary = latency_summary(outcomes)
    assert summary["points_lost_at_400ms"] == {"ours": 20.0}
    assert summary["points_lost_at_400ms_per_task"] == {"place": {"ours": 10.0}, "grasp": {"ours": 30.0}}
    assert "90% (60 to 98)" in latency_table(rows)
    header, _, place, grasp = latency_overview(rows).splitlines()
    assert "success at 0, 400 ms added, %" in header and "0 to 400 ms" in header
    assert " 100, 90 |" in place and " 80, 50 |" in grasp and "2.0 / " in place and " 4 / 3 to 4 / 3 |" in place


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = PolicyConfig.from_dict(
        {
            "name": "test",
            "observation": {"cameras": ["front", "wrist"], "image_height": 64, "image_width": 64},
            "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
            "denoiser": {"sizes": [16, 32], "step_features": 16},
        }
    )
    policy = build_policy(config)
    action = policy.normaliser.action
    action.offset.copy_(torch.tensor([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.06]))
    action.scale.fill_(0.02)
    folder = tmp_path_factory.mktemp("policy") / "checkpoint"
    return folder, save_checkpoint(folder, policy, load_contract("sim_franka").to_dict())


def command(folder, out, *more):
    given = ["--checkpoint", f"place={folder}", "--out", str(out), "--episodes", "2", "--jittered", "", *more]
    return main(["benchmark", "latency", *given])


def test_a_finished_comparison_writes_table_figure_and_json_without_playing(checkpoint, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folder, _ = checkpoint
    for condition in make_conditions(["place"], ["none", "ours"], [0, 400], [], 0):
        wins = 0 if (condition.method, condition.added_ms) == ("none", 400) else 2
        outcomes = [make_outcome(FIRST_SEED + i, i < wins) for i in range(2)]
        write_outcomes(tmp_path / "out", condition, outcomes)
    figures = tmp_path / "latency.json"
    more = ["--methods", "none,ours", "--added", "0,400", "--json", str(figures)]
    assert command(folder, tmp_path / "out", *more) == 0
    summary = json.loads(figures.read_text())["summary"]
    assert summary["points_lost_at_400ms"] == {"none": 100.0, "ours": 0.0}
    assert "no compensation" in (tmp_path / "out" / "table.md").read_text()
    assert (tmp_path / "out" / "latency.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "results.json").read_text())["summary"] == summary


def test_episodes_over_dds_of_other_starts_are_not_taken_for_these(checkpoint, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    played = []

    def play_over_dds(folder, condition, checkpoint, cell, seeds, on_episode):
        played.append(list(seeds))
        return {"task": "place", "method": "ours over DDS", "added_ms": condition.added_ms, "success": 1.0,
                "success_interval": (0.2, 1.0), "successes": 1, "episodes": 1, "age_s_p50": 0.1}  # fmt: skip

    monkeypatch.setattr(real_graph, "play_over_dds", play_over_dds)
    outcomes = [make_outcome(FIRST_SEED + i) for i in range(9)]
    write_outcomes(tmp_path, Condition("place", "ours", 0), outcomes)
    more = ["--methods", "ours", "--added", "0", "--dds", "1", "--dds-added", "0"]
    for seed in ("0", "7", "0"):
        assert command(checkpoint[0], tmp_path, *more, "--seed", seed) == 0
    assert played == [[FIRST_SEED], [FIRST_SEED + 7]]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--added", "soon"], "milliseconds"),
        (["--tasks", "reach_around"], "no --checkpoint"),
        (["--cell", "nowhere"], "nowhere"),
        (["--episodes", "0"], "positive"),
        (["--runtime", "quick"], "reference"),
        (["--base", "-40"], "--base -40"),
        (["--seed", "-1000000"], "--seed -1000000"),  # those are starts of demonstrations
        (["--dds", "-1"], "--dds -1"),
        (["--dds", "3"], "--episodes, 2"),
        (["--dds", "1", "--dds-added", "soon"], "milliseconds"),
        (["--dds", "1", "--dds-added", ""], "--dds-added"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_made(more, named, checkpoint, tmp_path, capsys):
    assert command(checkpoint[0], tmp_path / "out", *more) == 2
    assert named in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_outcome_survives_json():
    outcome = make_outcome(3, seams_m=(float(np.float64(0.1)),))
    assert Outcome.from_row(json.loads(json.dumps(outcome.row()))) == outcome
