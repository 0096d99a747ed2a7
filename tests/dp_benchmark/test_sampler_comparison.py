"""Tables of samplers: every variant once, kept when interrupted."""

import functools
import json

import dp_benchmark.evaluation as evaluation
import dp_benchmark.sampler_comparison as sampler_comparison
import pytest
from dp_benchmark.errors import BenchmarkError, UnsuitablePolicyError
from dp_benchmark.plots import plot_samplers
from dp_benchmark.sampler_comparison import _section, plan_variants, score_variants, variant_rows, variant_table
from dp_policy.config import METHODS
from dp_policy.sampler_variants import sampler_variants

SETTINGS = {"episodes": 1, "seed": 0}


@pytest.fixture
def short_episodes(monkeypatch):
    monkeypatch.setattr(evaluation, "TIMED_CHUNKS", 3)
    short = functools.partial(evaluation.evaluate_pusht, max_steps=12)
    monkeypatch.setattr(sampler_comparison, "evaluate_pusht", short)


def test_variants_of_a_diffusion_policy_are_scored_once(save_tiny, tmp_path, short_episodes):
    checkpoint = save_tiny(tmp_path / "policy", diffusion={"train_steps": 4, "inference_steps": 4})
    out = tmp_path / "out"
    runs = plan_variants([checkpoint], out, SETTINGS)
    names = [(run.sampler, run.evaluations) for run in runs]
    assert len(set(names)) == len(names) == 1 + 3 * 3 + 3
    assert {("ddpm", 4), ("ddim leading", 1), ("ddim linspace", 2), ("ddim trailing", 4), ("dpmsolver++", 4)} <= set(
        names
    )
    score_variants(runs[:2], 1, 0, 1)
    stamps = [run.file.stat().st_mtime_ns for run in runs[:2]]
    again = plan_variants([checkpoint], out, SETTINGS)
    assert sum(run.scored for run in again) == 2
    score_variants(again, 1, 0, 1)
    assert [run.file.stat().st_mtime_ns for run in runs[:2]] == stamps
    rows = variant_rows(again)
    assert [(row["sampler"], row["evaluations_per_chunk"]) for row in rows] == names
    assert len(variant_table(rows).splitlines()) == 2 + len(rows)
    plot_samplers(rows, tmp_path / "samplers.png", "test")
    assert (tmp_path / "samplers.png").read_bytes().startswith(b"\x89PNG")


def test_policies_with_one_name_stay_apart(save_tiny, tmp_path):
    folders = [save_tiny(tmp_path / "a", method="regression"), save_tiny(tmp_path / "b", method="flow")]
    runs = plan_variants(folders, tmp_path / "out", SETTINGS)
    assert len({run.policy for run in runs}) == 2 and len({run.file for run in runs}) == len(runs)


@pytest.mark.parametrize("method", METHODS)
def test_what_makes_a_variant_is_accepted_by_its_policy(pusht_config, method):
    action = {"horizon": 2, "steps": 1, "past": 1} if method in ("lstm_gmm", "bet") else {}
    config = pusht_config(method=method, action=action)
    for variant in sampler_variants(config):
        assert config.with_sampling(**_section(variant.config)) == variant.config


def test_other_results_are_not_mixed_in(tiny_checkpoint, tmp_path, save_tiny):
    plan_variants([tiny_checkpoint], tmp_path, SETTINGS)
    with pytest.raises(BenchmarkError, match="choose another folder"):
        plan_variants([tiny_checkpoint], tmp_path, {"episodes": 5, "seed": 0})
    assert json.loads((tmp_path / "settings.json").read_text()) == SETTINGS
    with pytest.raises(BenchmarkError, match="no checkpoint"):
        plan_variants([], tmp_path / "new", SETTINGS)
    foreign = save_tiny(tmp_path / "foreign", observation={"state": [], "proprioception_dim": 10})
    with pytest.raises(UnsuitablePolicyError, match="not for Push-T"):
        plan_variants([foreign], tmp_path / "new", SETTINGS)
