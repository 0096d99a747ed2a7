"""Runs that are really killed or interrupted from outside, and what resuming makes of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from dp_policy.checkpoint import CheckpointError, load_checkpoint
from dp_policy.config import PolicyConfig
from dp_trainer.run_folder import RunFolderError, best_checkpoints, checkpoint_folders, read_training_state
from dp_trainer.train import train
from safetensors.torch import load_file

COMMAND = [sys.executable, "-m", "dp_bringup.cli", "train"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def start(store: Path, config: PolicyConfig, out: Path, *more: str) -> subprocess.Popen:
    file = out.with_suffix(".yaml")
    file.write_text(yaml.safe_dump(config.to_dict()))
    command = [*COMMAND, str(store), "--policy", str(file), "--out", str(out), "--seed", "3", *more]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_step(out: Path, step: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if (out / "losses.jsonl").is_file() and (out / "losses.jsonl").read_text().count("\n") > step:
            return
        assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
        time.sleep(0.005)
    raise AssertionError(f"no step {step} within 240 s")


def assert_same_run(first: Path, second: Path) -> None:
    assert (first / "losses.jsonl").read_text() == (second / "losses.jsonl").read_text()
    states = [load_file(checkpoint_folders(folder)[-1] / "training.safetensors") for folder in (first, second)]
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=0, atol=0, msg=name)
    names = [[path.name for path in best_checkpoints(folder)] for folder in (first, second)]
    assert names[0] == names[1]
    ids = [load_checkpoint(folder / "checkpoints" / "best").policy_id for folder in (first, second)]
    assert ids[0] == ids[1]


def test_killed_run_goes_on_to_the_same_curve(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    """Figures, weights, moments, average and the best checkpoints, bit for bit."""
    config = state_config(steps=240, checkpoint_interval=25, validation_interval=20, top_k=2)
    process = start(blob_store, config, tmp_path / "cut")
    wait_for_step(tmp_path / "cut", 60, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    lines = (tmp_path / "cut" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines[:-1]] == list(range(len(lines) - 1))
    assert len(lines) < 240, "the run was over before it was killed"
    killed_after, _, _ = read_training_state(tmp_path / "cut")
    assert 50 <= killed_after < 240

    result = train(blob_store, config, tmp_path / "cut", seed=3, resume=True)
    assert result.first_step == killed_after
    train(blob_store, config, tmp_path / "whole", seed=3)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_ctrl_c_leaves_a_checkpoint_and_resume_needs_no_options(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    config = state_config(steps=120, checkpoint_interval=110, validation_interval=50)
    process = start(blob_store, config, tmp_path / "cut")
    wait_for_step(tmp_path / "cut", 20, process)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=180)
    assert process.returncode == 130, text
    assert "ending after this step" in text and "--resume" in text and "Traceback" not in text
    step, _, place = read_training_state(tmp_path / "cut")
    assert 20 <= step < 110 and str(place) in text
    again = subprocess.run(
        [*COMMAND, str(blob_store), "--out", str(tmp_path / "cut"), "--resume"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    train(blob_store, config, tmp_path / "whole", seed=3)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_stop_ends_a_run_with_a_checkpoint(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    answers = iter([False] * 7 + [True] * 100)
    result = train(blob_store, state_config(), tmp_path, stop=lambda: next(answers))
    assert result.interrupted and len(result.losses) == 8
    assert result.checkpoint.name == "step_0000008" and read_training_state(tmp_path)[0] == 8
    finished = train(blob_store, state_config(), tmp_path, resume=True)
    assert not finished.interrupted and finished.first_step == 8
    assert finished.best is not None and finished.best.name.startswith("best_")


def test_another_run_is_not_resumed(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    with pytest.raises(CheckpointError, match="nothing to resume"):
        train(blob_store, state_config(), tmp_path, resume=True)
    train(blob_store, state_config(), tmp_path, steps=5)
    other = state_config(batch_size=8, learning_rate=1.0)
    with pytest.raises(RunFolderError, match=r"training\.batch_size = 16, not 8; training\.learning_rate = 0\.002"):
        train(blob_store, other, tmp_path, resume=True)
    with pytest.raises(RunFolderError, match="seed 0, not 4"):
        train(blob_store, state_config(), tmp_path, seed=4, resume=True)
    longer = train(blob_store, state_config(checkpoint_interval=3), tmp_path, steps=7, resume=True)
    assert (longer.first_step, len(longer.losses)) == (5, 2)


def test_resuming_a_finished_run_changes_nothing(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    first = train(blob_store, state_config(), tmp_path, steps=5)
    lines = (tmp_path / "losses.jsonl").read_text()
    again = train(blob_store, state_config(), tmp_path, steps=5, resume=True)
    assert again.checkpoint == first.checkpoint and again.best == first.best and again.losses == []
    assert (tmp_path / "losses.jsonl").read_text() == lines
