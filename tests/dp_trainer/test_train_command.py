"""`dp train` in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from dp_bringup.cli import main
from dp_policy.config import PolicyConfig


@pytest.fixture
def policy_file(tmp_path: Path, state_config: Callable[..., PolicyConfig]) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(state_config(steps=6).to_dict()))
    return file


def train_arguments(store: Path, file: Path, out: Path, *more: str) -> list[str]:
    return ["train", str(store), "--policy", str(file), "--out", str(out), *more]


def test_figures_and_values_changed_on_the_command_line(
    blob_store: Path, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    results = tmp_path / "result.json"
    changes = ["--set", "training.batch_size=8", "action.steps=2", "--seed", "5", "--json", str(results)]
    assert main(train_arguments(blob_store, policy_file, tmp_path / "run", *changes)) == 0
    printed = capsys.readouterr()
    summary = json.loads(results.read_text())["summary"]
    assert summary["steps"] == summary["steps_done"] == 6 and summary["seed"] == 5
    assert summary["samples_per_s"] > 0 and 0 <= summary["waiting_share"] <= 1
    assert Path(summary["checkpoint"]).name == "step_0000006" and Path(summary["best"]).is_dir()
    assert "samples/s" in printed.out and "waiting for data" in printed.out and summary["checkpoint"] in printed.out
    assert "waiting=" in printed.err and "samples_per_s=" in printed.err
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["training"]["batch_size"] == 8 and stored["action"]["steps"] == 2


def test_minutes_become_steps_that_resume_keeps(
    blob_store: Path, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "run"
    assert main(train_arguments(blob_store, policy_file, out, "--minutes", "0.01")) == 0
    assert "steps fit into 0.01 min" in capsys.readouterr().out
    steps = yaml.safe_load((out / "config.yaml").read_text())["training"]["steps"]
    assert len((out / "losses.jsonl").read_text().splitlines()) == steps != 6
    results = tmp_path / "result.json"
    assert main(["train", str(blob_store), "--out", str(out), "--resume", "--json", str(results)]) == 0
    summary = json.loads(results.read_text(), parse_constant=pytest.fail)["summary"]  # NaN is not JSON
    assert summary["steps_done"] == steps and summary["loss"] is None
    assert yaml.safe_load((out / "config.yaml").read_text())["training"]["steps"] == steps
    assert main(["train", str(blob_store), "--out", str(out), "--resume", "--steps", str(steps + 2)]) == 0
    assert len((out / "losses.jsonl").read_text().splitlines()) == steps + 2


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--steps", "0"], "steps: 0 is out of range"),
        (["--minutes", "0"], "must be above 0"),
        (["--seed", "-1"], "--seed -1 is not valid"),
        (["--set", "training.batchsize=3"], "training.batchsize: unknown key; valid keys:"),
        (["--set", "observation.images=true", "observation.cameras=[side]"], "no camera 'side'; it has: front"),
        (["--set", "training.constant_action_columns=[]"], "action column 2 is 0 in all"),
        (["--set", "training.device=cuda"], "training.device = cuda"),
        (["--set", "training.learning_rate=1e12", "training.gradient_clip=0"], "training diverged at step"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_errors_are_one_line(
    blob_store: Path, policy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], named: str
) -> None:
    if "training.device=cuda" in more:
        torch = pytest.importorskip("torch")
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
    assert main(train_arguments(blob_store, policy_file, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error


def test_steps_and_minutes_exclude_each_other(blob_store: Path, policy_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main(train_arguments(blob_store, policy_file, tmp_path / "run", "--steps", "3", "--minutes", "1"))
    assert stop.value.code == 2
