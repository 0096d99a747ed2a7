from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from dp_policy.checkpoint import CheckpointError
from dp_policy.config import PolicyConfig
from dp_trainer.run_folder import RunFolder, checkpoint_folders, read_training_state

CONFIG = PolicyConfig.from_dict({"name": "test"})


def write(folder: RunFolder, step: int) -> None:
    folder.write_checkpoint(step, {"w": torch.ones(1)}, CONFIG, {}, {}, {"m": torch.full((1,), float(step))})


def test_newest_state_is_read_and_old_ones_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    for step in (5, 10, 200):
        write(folder, step)
    folder.close()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_0000010", "step_0000200"]
    step, tensors, place = read_training_state(tmp_path)
    assert (step, float(tensors["m"]), place.name) == (200, 200.0, "step_0000200")


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    write(folder, 5)
    (tmp_path / "checkpoints" / ".step_0000010.1.new").mkdir()
    assert read_training_state(tmp_path)[0] == 5
    (tmp_path / "checkpoints" / "step_0000005" / "training.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"training\.safetensors is missing"):
        read_training_state(tmp_path)


def test_figures_after_the_resumed_step_are_cut(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    for step in range(4):
        folder.write_figures(step, {"loss": float(step)})
    folder.close()
    with (tmp_path / "losses.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # cut off by a kill
    folder = RunFolder(tmp_path, CONFIG, start_step=2)
    folder.write_figures(2, {"loss": 9.0})
    folder.close()
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(0, 0.0), (1, 1.0), (2, 9.0)]
    assert (tmp_path / "config.yaml").is_file()
    assert any((tmp_path / "tensorboard").iterdir())
