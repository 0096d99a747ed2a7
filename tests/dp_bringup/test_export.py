"""`dp export` as a command."""

import json

import pytest
import torch
from dp_bringup.cli import main
from dp_policy.checkpoint import load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.engine import Engine
from dp_policy.policy import build_policy


@pytest.fixture(name="tiny", scope="module")
def tiny_fixture(tmp_path_factory):
    config = PolicyConfig.from_dict(
        {
            "name": "tiny",
            "observation": {"cameras": ["front"], "image_height": 16, "image_width": 16},
            "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
            "denoiser": {"sizes": [16, 32], "step_features": 16},
            "diffusion": {"inference_steps": 2, "prediction": "sample"},
        }
    )
    folder = tmp_path_factory.mktemp("export") / "tiny"
    torch.manual_seed(0)
    save_checkpoint(folder, build_policy(config), {})
    return folder


def test_an_export_is_a_checkpoint_that_says_how_it_runs(tiny, tmp_path, capsys):
    threads = torch.get_num_threads()
    out, figures = tmp_path / "out", tmp_path / "export.json"
    arguments = [str(tiny), "--out", str(out), "--threads", str(threads), "--json", str(figures)]
    assert main(["export", *arguments]) == 0
    data = json.loads(figures.read_text())
    assert data["command"] == "export"
    text, summary = capsys.readouterr().out, data["summary"]
    assert f"denoiser: {summary['denoiser']}; encoder: {summary['encoder']}" in text
    assert {row["part"] for row in data["rows"]} == {"denoiser", "encoder"}
    plain = [row for row in data["rows"] if row["name"] == "reference"]
    assert len(plain) == 2 and all(row["ms"] > 0 for row in plain)
    exported, trained = load_checkpoint(out), load_checkpoint(tiny)
    assert exported.policy_id == trained.policy_id == summary["policy_id"]
    assert f"denoiser {summary['denoiser']}" in Engine(exported, num_threads=threads).description
    assert main(["export", *arguments]) == 0  # an existing export is replaced


def test_what_cannot_be_exported_is_refused_in_one_line(tiny, tmp_path, capsys):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    for arguments, named in (
        ([str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")], "nowhere"),
        ([str(tiny), "--out", str(tmp_path / "x"), "--precision", "fp7"], "auto, int8, reference"),
        ([str(tiny), "--out", str(tmp_path / "x"), "--threads", "0"], "--threads 0"),
        ([str(tiny), "--out", str(foreign)], "not a checkpoint"),
        ([str(tiny), "--out", str(tiny)], "the checkpoint itself"),
    ):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("dp: error:") and named in error
    assert (foreign / "notes.txt").read_text() == "mine" and not (tmp_path / "x").exists()
