"""`dp import` on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from dp_bringup.cli import main
from dp_policy.checkpoint import load_checkpoint

from .checkpoint_files import write_real_stanford
from .published_policies import lowdim_unet
from .test_restricted_pickle import Call


def test_it_says_what_the_policy_is_and_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = lowdim_unet(with_scale=False)
    path = write_real_stanford(tmp_path / "latest.ckpt", peer.cfg, {"model": peer.state()})
    arguments = ["import", str(path), "--out", str(tmp_path / "ours"), "--json", str(tmp_path / "result.json")]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    weights = sum(p.numel() for p in load_checkpoint(tmp_path / "ours").policy.parameters())
    for part in (
        "real-stanford DiffusionUnetLowdimPolicy: model weights, 1234 optimiser steps",
        f"{weights:,} parameters",
        "sees 2 frames of 20 numbers (keypoints, agent_position)",
        "predicts 8 actions of 2 numbers, 1 of them past; executes 4",
        "unet1d, channels [16, 32], kernel 5",
        "ddpm, 6 of 6 steps, leading spacing, predicts epsilon",
        "note: the FiLM blocks only add",
    ):
        assert part in text
    summary = json.loads((tmp_path / "result.json").read_text())["summary"]
    assert summary["provenance"]["source"] == "latest.ckpt"
    assert len(summary["provenance"]["sha256"]) == 64
    assert summary["config"]["action"]["past"] == 1
    assert main(arguments) == 0  # a checkpoint may be replaced


def test_a_hostile_file_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attack = Call(os.system, f"touch {tmp_path / 'was_run'}")
    path = write_real_stanford(tmp_path / "a.ckpt", {}, {"model": {}}, cfg=attack)
    assert main(["import", str(path), "--out", str(tmp_path / "ours")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dp: error: the file asks for posix.system")
    assert error.count("\n") == 1
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.ckpt"]


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer = lowdim_unet()
    path = write_real_stanford(tmp_path / "a.ckpt", peer.cfg, {"model": peer.state()})
    assert main(["import", str(path), "--out", str(tmp_path)]) == 2
    assert "is not a checkpoint" in capsys.readouterr().err
    assert path.is_file()
