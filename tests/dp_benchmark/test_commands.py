"""`dp eval pusht` and `dp benchmark` as a user types them."""

import json
import os
import signal
import subprocess
import sys
import time

import dp_benchmark.evaluation as evaluation
import pytest
from dp_bringup.cli import main


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(evaluation, "TIMED_CHUNKS", 2)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DP_PUSHT_DATA", raising=False)


def test_eval_prints_and_writes_the_figures(tiny_checkpoint, tmp_path, capsys):
    command = ["eval", "pusht", "--checkpoint", str(tiny_checkpoint), "--episodes", "3", "--max-steps", "12"]
    assert main([*command, "--seed", "7", "--json", "out.json", "--videos", "1", "--out", "films"]) == 0
    text = capsys.readouterr().out
    assert f"checkpoint: {tiny_checkpoint}" in text and "0/3 = 0% (95 % interval 0% to 56%)" in text
    data = json.loads((tmp_path / "out.json").read_text())
    assert {"success", "mean_max_coverage", "episodes"} <= set(data["summary"]) and data["summary"]["episodes"] == 3
    assert [row["seed"] for row in data["rows"]] == [100_007, 100_008, 100_009]
    best = [row["max_coverage"] for row in data["rows"]]
    assert data["summary"]["mean_max_coverage"] == pytest.approx(sum(best) / 3)
    assert (tmp_path / "films" / "videos" / "seed_100007.mp4").stat().st_size > 1000


def test_eval_takes_the_newest_checkpoint_of_a_run_and_other_samplers(save_tiny, tmp_path, capsys):
    run = tmp_path / "run"
    for step in (2, 4):
        save_tiny(run / "checkpoints" / f"step_{step:07d}")
    command = ["eval", "pusht", str(run), "--episodes", "1", "--max-steps", "4", "--json", "out.json"]
    assert main([*command, "--sampler", "ddim", "--inference-steps", "5", "--spacing", "leading"]) == 0
    assert "checkpoints/step_0000004" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out.json").read_text())["summary"]
    assert summary["evaluations_per_chunk"] == 5
    assert summary["sampling"] == {"sampler": "ddim", "inference_steps": 5, "spacing": "leading"}


def test_eval_of_the_last_checkpoints_follows_the_paper(save_tiny, tmp_path, capsys):
    run = tmp_path / "run"
    for step, method in ((2, "diffusion"), (4, "regression"), (6, "flow")):
        save_tiny(run / "checkpoints" / f"step_{step:07d}", method=method)
    command = ["eval", "pusht", str(run), "--episodes", "2", "--max-steps", "8", "--json", "out.json"]
    assert main([*command, "--last", "2"]) == 0
    data = json.loads((tmp_path / "out.json").read_text())
    scores = [row["score"] for row in data["rows"]]
    assert [row["checkpoint"][-7:] for row in data["rows"]] == ["0000004", "0000006"]
    assert data["summary"]["max_score"] == max(scores)
    assert {key: data["summary"][key] for key in data["rows"][-1]} == data["rows"][-1]
    assert data["summary"]["mean_score"] == pytest.approx(sum(scores) / 2)
    assert f"{max(scores):.3f} / {sum(scores) / 2:.3f}" in capsys.readouterr().out
    for count, named in (("9", "has 3 checkpoints"), ("0", "at least 1")):
        assert main([*command, "--last", count]) == 2
        assert named in capsys.readouterr().err


def test_benchmark_of_samplers(save_tiny, tmp_path, capsys):
    checkpoint = save_tiny(tmp_path / "policy", method="flow")
    command = ["benchmark", "samplers", "--checkpoint", str(checkpoint), "--episodes", "1", "--out", "out"]
    assert main(command) == 0
    assert "| tiny   |    flow |   4 |" in capsys.readouterr().out
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["evaluations_per_chunk"] for row in rows] == [1, 2, 4, 8]
    assert (tmp_path / "out" / "samplers.png").is_file() and (tmp_path / "out" / "table.md").is_file()
    assert main(command) == 0
    assert "4 variants, 4 of them done" in capsys.readouterr().out


def test_benchmark_of_two_ways(tmp_path, capsys):
    assert main(["benchmark", "two-way", "--methods", "regression,bet", "--steps", "3", "--out", "out"]) == 0
    text = capsys.readouterr().out
    assert "| method " in text and "| regression |" in text and "| bet " in text
    assert (tmp_path / "out" / "two_way.png").is_file()


def group_is_alive(process):
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_interrupted_evaluation_ends_all_processes_quietly(tiny_checkpoint, tmp_path):
    command = [sys.executable, "-m", "dp_bringup.cli", "eval", "pusht", str(tiny_checkpoint)]
    command += ["--episodes", "100", "--workers", "2", "--max-steps", "100000"]
    with (tmp_path / "errors").open("w+") as errors:
        process = subprocess.Popen(command, stdout=errors, stderr=errors, start_new_session=True)
        try:
            deadline = time.monotonic() + 240
            while "0/100" not in (tmp_path / "errors").read_text():
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "errors").read_text()
                time.sleep(0.1)
            time.sleep(0.5)  # the workers are starting up
            os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
            assert process.wait(timeout=120) == 130
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # its workers would slow down every test that follows
            raise
    deadline = time.monotonic() + 30  # multiprocessing's own tracker notices the end a moment later
    while group_is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    text = (tmp_path / "errors").read_text()
    assert "Traceback" not in text and text.strip().endswith("dp: interrupted")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["eval", "pusht"], "--checkpoint"),
        (["eval", "pusht", "nowhere"], "nowhere"),
        (["eval", "pusht", "{tiny}", "--episodes", "0"], "episodes = 0"),
        (["eval", "pusht", "{tiny}", "--sampler", "magic"], "ddim, ddpm"),
        (["eval", "pusht", "{tiny}", "--device", "abacus"], "abacus"),
        (["train", "{data}", "--out", "new"], "pusht/"),
        (["import", "{tiny}", "--out", "new"], "checkpoint of this project already"),
        (["benchmark", "pusht"], "pusht.zip"),
        (["benchmark", "pusht", "--data", "nowhere"], "nowhere"),
        (["benchmark", "pusht", "--data", "{data}", "--methods", "magic"], "diffusion"),
        (["benchmark", "pusht", "--data", "{data}", "--methods", ","], "--methods is empty"),
        (["benchmark", "pusht", "--data", "{data}", "--methods", "bet,bet"], "two policies 'bet'"),
        (["benchmark", "pusht", "--data", "{data}", "--seeds", "0"], "seeds = 0"),
        (["benchmark", "pusht", "--data", "{data}", "--workers", "0"], "workers = 0"),
        (["benchmark", "pusht", "--data", "{data}", "--device", "abacus"], "abacus"),
        (["benchmark", "pusht", "--data", "{data}", "--resume"], "--out"),
        (["benchmark", "pusht", "--data", "{data}", "--resume", "--out", "new"], "nothing to resume"),
        (["benchmark", "samplers", "--checkpoint", "nowhere"], "nowhere"),
        (["benchmark", "samplers", "--checkpoint", "{tiny}", "--episodes", "0"], "episodes = 0"),
        (["benchmark", "two-way", "--methods", "magic"], "magic"),
        (["benchmark", "two-way", "--methods", "bet,bet"], "named twice"),
        (["benchmark", "two-way", "--seed", "-1"], "seed = -1"),
        (["benchmark", "two-way", "--steps", "0"], "--steps 0"),
    ],
)
def test_mistakes_are_one_line(arguments, named, capsys, tiny_checkpoint, replay_buffer):
    places = {"{tiny}": str(tiny_checkpoint), "{data}": str(replay_buffer)}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("dp: error:") and named in error[-1]


@pytest.mark.parametrize(("module", "named"), [("gym_pusht.envs.pusht", "gym-pusht"), ("matplotlib", "matplotlib")])
def test_missing_packages_are_noticed_before_the_training(module, named, replay_buffer, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    command = ["benchmark", "pusht", "--data", str(replay_buffer), "--methods", "bet", "--steps", "1", "--out", "new"]
    assert main(command) == 2
    assert f"need {named}" in capsys.readouterr().err.replace("needs", "need")
    assert not (tmp_path / "new").exists()


def test_a_mistake_leaves_no_settings_behind(tiny_checkpoint, tmp_path, capsys):
    command = ["benchmark", "samplers", "--checkpoint", str(tiny_checkpoint), "--out", "out", "--episodes", "0"]
    assert main(command) == 2
    assert not (tmp_path / "out" / "settings.json").exists()
