"""`dp calibrate` on simulated cells whose delays are known, from start to the number in a contract."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dp_bringup.cli import main
from dp_core.contract import load_contract

RUNS = {
    # Delays that are no whole number of ticks. Half a frame is 50 ms; the mean over the pictures is far finer.
    "camera": ["--cameras", "front", "--pictures", "30", "--sim-camera-delay", "0.075"],
    # Along a single axis, as docs/calibration.md has it begin, with the default of --repeat.
    "robot": ["--axes", "y", "--duration", "3", "--sim-command-delay", "0.033"],
    "gripper": ["--steps", "3", "--rest", "0.9", "--sim-gripper-delay", "0.047"],
}
# By hand, see test_simulated_arm and test_gripper_latency: what the arm's law and the fingers' servo add.
ARM_LAG_S = 2.0 * np.sqrt(5.46 / 3000.0) + 0.005
FINGER_LAG_S = 0.0165


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[Path, str]]:
    """Folder and output of each action; each run has a ROS domain of its own, so they run side by side."""
    environment = {name: value for name, value in os.environ.items() if name != "ROS_DOMAIN_ID"}
    folders = {action: tmp_path_factory.mktemp(action) for action in RUNS}
    started = {}
    for action, options in RUNS.items():
        folder = folders[action]
        command = [sys.executable, "-m", "dp_bringup.cli", "calibrate", action, "--cell", "sim_franka", *options]
        command += [
            "--out",
            str(folder / "cell.yaml"),
            "--json",
            str(folder / "out.json"),
            "--run",
            str(folder / "run"),
        ]
        started[action] = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    try:
        output = {action: process.communicate(timeout=600)[0] for action, process in started.items()}
    finally:
        for process in started.values():
            process.kill()
    for action, process in started.items():
        assert process.returncode == 0, f"{action}: {output[action][-3000:]}"
    return {action: (folders[action], output[action]) for action in RUNS}


def test_the_delay_of_a_camera_is_recovered(outcomes):
    contract = load_contract(outcomes["camera"][0] / "cell.yaml")
    assert contract.cameras["front"].latency_s == pytest.approx(0.075, abs=0.003)
    assert 0.0 < contract.cameras["front"].latency_uncertainty_s < 0.003
    assert contract.cameras["wrist"] == load_contract("sim_franka").cameras["wrist"]


def test_the_delay_and_the_lag_of_the_arm_are_recovered(outcomes):
    action = load_contract(outcomes["robot"][0] / "cell.yaml").action
    assert action.latency_s == pytest.approx(0.033 + ARM_LAG_S, abs=0.003)
    assert 0.0 < action.latency_uncertainty_s < 0.003


def test_the_delay_and_the_lag_of_the_gripper_are_recovered(outcomes):
    gripper = load_contract(outcomes["gripper"][0] / "cell.yaml").gripper
    assert gripper.latency_s == pytest.approx(0.047 + FINGER_LAG_S, abs=0.003)
    assert 0.0 < gripper.latency_uncertainty_s < 0.003


@pytest.mark.parametrize("action", sorted(RUNS))
def test_each_leaves_a_plot_figures_and_says_what_it_wrote(outcomes, action):
    folder, output = outcomes[action]
    plots = list((folder / "run").glob("*.png"))
    assert len(plots) == 1 and plots[0].stat().st_size > 10_000
    results = json.loads((folder / "out.json").read_text())
    assert results["command"] == f"calibrate {action}" and len(results["rows"]) == 1
    row = results["rows"][0]
    assert results["summary"][row["key"]] == row["latency_s"]
    low, high = row["interval_95_s"]
    assert low <= row["latency_s"] <= high and row["uncertainty_s"] >= row["statistical_s"]
    assert f"written: {folder / 'cell.yaml'}" in output and "+" in output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["camera"], "--dry-run"),
        (["camera", "--dry-run", "--cameras", "side"], "front, wrist"),
        (["camera", "--dry-run", "--pictures", "3"], "--pictures: 3"),
        (["camera", "--dry-run", "--display-uncertainty", "-0.01"], "--display-uncertainty: -0.01"),
        (["camera", "--dry-run", "--cell", "fr3_crisp", "--sim-camera-delay", "0.04"], "--sim-camera-delay: only"),
        (["gripper", "--dry-run", "--start", "false", "--sim-gripper-delay", "0.05"], "--sim-gripper-delay: only"),
        (["robot", "--dry-run", "--bag", "nowhere", "--sim-command-delay", "0.03"], "--sim-command-delay: only"),
        (["robot", "--dry-run", "--axes", "yaw"], "x, y, z"),
        (["robot", "--dry-run", "--amplitude", "2"], "--amplitude 2"),
        (["robot", "--dry-run", "--axes", "z", "--repeat", "2"], "2 wobbles; at least 3"),
        (["robot", "--bag", "nowhere"], "--cell"),
        (["robot", "--dry-run", "--bag", "nowhere"], "nowhere"),
        (["robot", "--dry-run", "--start", "false"], "--yes"),
        (["gripper", "--dry-run", "--steps", "1"], "--steps 1"),
        (["robot", "--dry-run", "--cell", "fr3_crisp", "--start", "true"], "dp up teleop"),
        (["robot", "--dry-run", "--cell", "fr3_crisp"], "--yes"),
        (["gripper", "--cell", "moon"], "sim_franka"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line_before_anything_moves(
    arguments, named, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert main(["calibrate", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error
