"""`dp bench policy`: its rounds on a tiny network, its ratios and tables on figures made by hand."""

import json
import multiprocessing
import signal

import numpy as np
import pytest
import torch
from dp_bringup.cli import main
from dp_bringup.policy_bench import measure
from dp_bringup.policy_bench.cases import Network, trained_network, untrained_policy
from dp_bringup.policy_bench.measure import Timing, summarise
from dp_bringup.policy_bench.subject import Subject, serve
from dp_bringup.policy_bench.ways import ChunkTime, EngineWay, PublishedWay, observations
from dp_policy.checkpoint import load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy


def save_tiny(folder, **changes):
    config = PolicyConfig.from_dict(
        {
            "name": "tiny",
            "method": "flow",
            "observation": {"cameras": ["front", "wrist"], "image_height": 16, "image_width": 16, "history": 2},
            "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
            "denoiser": {"sizes": [16, 32], "step_features": 16},
            **changes,
        }
    )
    torch.manual_seed(0)
    save_checkpoint(folder, build_policy(config), {})
    return folder


@pytest.fixture(name="tiny", scope="module")
def tiny_fixture(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("bench") / "tiny")


def test_a_tiny_network_from_end_to_end(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--checkpoint", str(tiny), "--quick", "--rounds", "1", "--runtime", "reference", "--out", str(out)]
    assert main(["bench", "policy", *arguments, "--json", str(tmp_path / "bench.json")]) == 0
    data = json.loads((tmp_path / "bench.json").read_text())
    assert set(data) == {"command", "versions", "machine", "rows", "summary"} and data["command"] == "bench policy"
    assert set(data["summary"]) == {"speedup_ddim16_1thread", "speedup_few_step_1thread", "max_abs_difference"}
    assert data["summary"]["max_abs_difference"] < 1e-5
    assert [(row["sampler"], row["runtime"]) for row in data["rows"]] == [
        ("flow 4", "published"), ("flow 4", "reference"), ("flow 2", "published"), ("flow 2", "reference"),
    ]  # fmt: skip
    for row in data["rows"]:
        parts = [row[f"{part}_ms_p50"] for part in ("encode", "denoise", "total", "cpu")]
        assert all(part > 0 for part in parts) and row["total_ms_p99"] >= row["total_ms_p50"]
        assert row["peak_mib"] >= row["resident_mib"] > 50 and row["threads"] == 1 and row["chosen"]
    assert all(row["speedup"] > 0 for row in data["rows"][1::2])
    text = capsys.readouterr().out
    assert "speedup_ddim16_1thread: not measured" in text and (out / "table.md").read_text() in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--rounds", "0"], "--rounds 0"),
        (["--threads", "one"], "--threads 'one'"),
        (["--threads", "0"], "--threads '0'"),
        (["--runtime", "fastest"], "auto"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "policy", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error
    assert not list(tmp_path.iterdir())


def test_both_ways_draw_the_same_chunks_and_the_engine_keeps_older_frames(tiny):
    loaded = load_checkpoint(tiny)
    published, fast = PublishedWay(loaded), EngineWay(loaded, torch.get_num_threads(), "reference")
    seen = observations(loaded, 2)
    for seed, observation in enumerate(seen):
        chunks = [way.chunk(observation, seed) for way in (published, fast)]
        assert chunks[0].shape == (16, 10) and np.abs(chunks[0] - chunks[1]).max() < 1e-5
    encoded = []
    encode = fast._engine.encode
    fast._engine.encode = lambda camera, image: encoded.append(camera) or encode(camera, image)
    for observation in seen:
        fast.timed(observation)
    assert encoded == ["front", "wrist"] * 3  # both frames at first, then the newest of each camera


def test_a_subject_that_fails_says_why(tmp_path):
    """Its life, led in this process."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    ours, theirs = multiprocessing.Pipe()
    ours.send(("prepare", ({},)))
    try:
        serve(Subject(tmp_path / "gone", "published", 1), theirs)
    finally:
        signal.signal(signal.SIGINT, handler)
        torch.set_num_threads(threads)
    kind, reason = ours.recv()
    assert kind == "failed" and "no checkpoint folder" in reason and "gone" in reason


def test_what_is_measured_follows_the_method(tmp_path):
    def steps(quick=False, **changes):
        config = PolicyConfig.from_dict({"name": "x", **changes})
        return trained_network(tmp_path, config, quick).steps

    assert steps() == (16, 8, 4, 2) and steps(quick=True) == (16, 2)
    assert steps(diffusion={"train_steps": 10, "inference_steps": 5}) == (8, 4, 2)
    assert steps(method="flow") == (4, 2)
    assert steps(method="regression") == (None,) == steps(method="regression", quick=True)
    networks = [trained_network(tmp_path, PolicyConfig.from_dict({"name": "x"}), False)]
    assert Timing(rounds=3, threads=(1, 2)).turns(networks) == 24


def test_the_memory_of_a_case_is_that_of_its_own_process(tmp_path, monkeypatch):
    """The peak of a process that has run other cases before would be theirs."""

    class Process:
        def __init__(self, subject):
            self.prepared = 0

        def __enter__(self):
            return self

        def __exit__(self, *reason):
            pass

        def ask(self, what, *arguments):
            self.prepared += what == "prepare"
            return {
                "prepare": "this way",
                "chunks": np.zeros((1, 16, 10)),
                "time": [ChunkTime(1.0, 1.0, 1.0, 1.0)],
                "memory": {"peak_mib": self.prepared},
            }[what]

    monkeypatch.setattr(measure, "SubjectProcess", Process)
    networks = [Network("paper", tmp_path, "diffusion", (16, 4, 2))]
    rows = measure.measure(networks, Timing(rounds=1, threads=(1,)), lambda _: None, lambda _: None)
    assert [row["peak_mib"] for row in rows] == [1] * 6


def row(sampler, threads, speedup, over=None, network="paper", difference=1e-3):
    return {
        "network": network, "sampler": sampler, "threads": threads, "speedup": speedup,
        "speedup_over_ddim16": over, "max_abs_difference": difference,
    }  # fmt: skip


def test_the_summary_takes_the_worst_few_step_case_of_the_paper_on_one_thread():
    rows = [
        {"network": "paper", "sampler": "DDIM 16", "threads": 1},
        row("DDIM 16", 1, 7.0),
        row("DDIM 4", 1, 5.0, 21.0),
        row("flow 2", 1, 4.0, 26.0, difference=2e-3),
        row("DDIM 16", 2, 3.0),
        row("DDIM 4", 2, 3.0, 9.0),
        row("DDIM 16", 1, 2.0, network="small"),
        row("DDIM 4", 1, 2.0, 5.0, network="small"),
    ]
    assert summarise(rows) == {
        "speedup_ddim16_1thread": 7.0, "speedup_few_step_1thread": 21.0, "max_abs_difference": 2e-3,
    }  # fmt: skip


def test_chunks_of_untrained_weights_are_not_clipped():
    policy = untrained_policy("small", "diffusion")
    features = torch.randn((4, policy.head.condition_dim), generator=torch.Generator().manual_seed(1))
    chunks = policy.head.sample(features, torch.Generator().manual_seed(0))
    assert 0.2 < chunks.std() < 0.8
    assert (chunks.abs() > 0.999).float().mean() < 0.1
