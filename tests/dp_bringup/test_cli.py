import argparse
import errno
import importlib

import pytest
from dp_bringup.cli import COMMANDS, main
from dp_bringup.errors import CommandError, is_expected
from dp_core.contract import ContractError


def test_no_command_prints_the_list(capsys):
    assert main([]) == 2
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "examples:" in text and f"dp {name}" in text


ACTIONS = (
    "eval sim",
    "eval pusht",
    "benchmark pusht",
    "benchmark samplers",
    "benchmark two-way",
    "benchmark latency",
    "dataset info",
    "bench control",
    "bench policy",
    "calibrate camera",
    "calibrate robot",
    "calibrate gripper",
)


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_shows_its_own_examples(action, capsys):
    with pytest.raises(SystemExit) as end:
        main([*action.split(), "--help"])
    assert end.value.code == 0
    examples = capsys.readouterr().out.split("examples:\n")[1].splitlines()
    assert examples and all(line.startswith(f"  dp {action}") for line in examples)


def test_unknown_command_names_the_valid_ones(capsys):
    assert main(["fly"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("dp: error: no command 'fly'") and "demo" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["train", "nowhere.zarr", "--out", "x"], "nowhere.zarr"),
        (["train", "nowhere.zarr", "--out", "x", "--policy", "huge"], "paper, small"),
        (["demo", "--task", "juggle"], "place"),
        (["demo", "--resume", "nowhere"], "nowhere"),
        (["dataset", "info", "nowhere.zarr"], "nowhere.zarr"),
        (["dataset", "build", "nowhere", "--out", "x.zarr"], "nowhere"),
        (["bag", "info", "nowhere"], "nowhere"),
        (["record", "--task", "juggle", "--out", "x"], "place, reach_around"),
        (["record", "--cell", "moon", "--out", "x"], "sim_franka"),
        (["record", "--attach", "--out", "x", "--countdown", "0", "--task", "wipe"], "--out, --countdown, --task: not"),
        (["record", "--out", "x", "--name", "Ada", "--auto-start"], "--name, --auto-start: for a person"),
        (["eval", "sim", "nowhere", "--cell", "moon"], "sim_franka"),
        (["eval", "sim", "nowhere", "--episodes", "0"], "--episodes 0"),
        (["eval", "sim", "nowhere", "--runtime", "fastest"], "auto, int8, reference"),
        (["eval", "sim", "nowhere", "--seed", "-1"], "valid: 0 and above"),
        (["up", "deploy"], "checkpoint"),
    ],
)
def test_expected_failures_are_one_line(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error


def test_bugs_are_not_hidden():
    assert is_expected(ContractError("x")) and is_expected(CommandError("x")) and is_expected(FileNotFoundError("x"))
    assert not is_expected(ValueError("x")) and not is_expected(KeyError("x"))


def test_what_a_file_system_refuses_is_no_bug(tmp_path):
    for number in (errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EISDIR):
        assert is_expected(OSError(number, "refused"))
    assert not is_expected(OSError(errno.EBADF, "closed"))


def test_a_place_for_the_figures_is_checked_before_the_work(tmp_path, capsys):
    (tmp_path / "file").touch()
    for place, named in ((tmp_path, "is a folder"), (tmp_path / "file" / "figures.json", "cannot be written")):
        assert main(["dataset", "info", "nowhere.zarr", "--json", str(place)]) == 2
        error = capsys.readouterr().err
        assert "--json" in error and named in error
    assert main(["dataset", "info", "nowhere.zarr", "--json", str(tmp_path / "new" / "figures.json")]) == 2
    assert "nowhere.zarr" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("module", "arguments", "key", "default"),
    [
        ("commands.eval", ["sim", "checkpoint"], "runtime", "auto"),
        ("commands.eval", ["pusht", "checkpoint"], "runtime", "reference"),
        ("commands.export", ["checkpoint", "--out", "export"], "precision", "auto"),
        ("commands.up", ["deploy"], "runtime", "auto"),
        ("commands.benchmark_latency", ["--checkpoint", "place=checkpoint"], "runtime", "reference"),
        ("policy_bench.command", [], "runtime", "auto"),
    ],
)
def test_reference_forces_the_plain_path(module, arguments, key, default):
    parser = argparse.ArgumentParser()
    importlib.import_module(f"dp_bringup.{module}").configure(parser)
    assert getattr(parser.parse_args(arguments), key) == default
    assert getattr(parser.parse_args([*arguments, f"--{key}", "int8", "--reference"]), key) == "reference"
