"""Training in several processes, really launched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from dp_policy.checkpoint import load_checkpoint
from dp_policy.config import PolicyConfig
from dp_trainer.process_group import ProcessGroupError, join_processes
from dp_trainer.run_folder import checkpoint_folders
from dp_trainer.train import train


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_two_processes_give_what_one_gives(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    config = state_config(steps=12, checkpoint_interval=6, accumulation=2)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(config.to_dict()))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    command = ["train", str(blob_store), "--policy", str(tmp_path / "policy.yaml"), "--out", str(tmp_path / "two")]
    finished = subprocess.run(
        [*launch, "--main_process_port", free_port(), "-m", "dp_bringup.cli", *command],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("checkpoint:") == 1, "only the main process reports"
    train(blob_store, state_config(steps=12, checkpoint_interval=6), tmp_path / "one")

    rows = [
        [json.loads(line) for line in (tmp_path / name / "losses.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    assert [row["step"] for row in rows[1]] == list(range(12))
    for one, two in zip(*rows, strict=True):
        assert two == pytest.approx(one, rel=1e-3)
    one, two = (load_checkpoint(checkpoint_folders(tmp_path / name)[-1]) for name in ("one", "two"))
    assert (one.provenance["processes"], two.provenance["processes"]) == (1, 2)
    for name, weight in one.policy.state_dict().items():
        torch.testing.assert_close(two.policy.state_dict()[name], weight, atol=1e-4, rtol=1e-3, msg=name)


def test_a_launcher_that_started_one_process_only_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """`accelerate launch --cpu --num_processes 2` sets these, and starts one."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(ProcessGroupError, match="--multi_gpu"):
        join_processes("cpu")


def test_without_accelerate_several_processes_are_refused_and_one_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)  # as an import finds it where it is not installed
    assert join_processes("cpu")[0].size == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ProcessGroupError, match="2 processes were started, but accelerate is not installed"):
        join_processes("cpu")
