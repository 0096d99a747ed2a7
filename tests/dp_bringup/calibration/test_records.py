"""Latencies out of recorded episodes."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.gripper_latency import estimate_gripper
from dp_bringup.calibration.records import MotionRecord, record_of_bags
from dp_bringup.calibration.robot_latency import axis_means, estimate_robot, spans_of
from dp_bringup.cli import main
from dp_core.contract import load_contract
from dp_dataset.store import open_store

from dp_msgs.msg import CommandState

ARM_LAG_S, GRIPPER_LAG_S = 0.07, 0.12


def test_the_lag_of_the_arm_with_the_latency_of_its_pose_taken_off(episodes):
    motion, contract = record_of_bags(episodes)
    record = motion.poses()
    spans = spans_of(record, ("x", "y", "z"), 8.0, 0.6)
    assert len(spans) == 6, "one of each axis and episode, and none across the two"
    estimate, windows = estimate_robot(record, contract, spans)
    assert axis_means(windows) == pytest.approx({"x": ARM_LAG_S, "y": ARM_LAG_S}, abs=1e-3)
    assert estimate.systematic_s["latency of ee_pose"] == 0.002
    assert estimate.uncertainty_s >= 0.002


def test_the_onset_of_the_gripper(episodes):
    motion, contract = record_of_bags(episodes)
    estimate, fits = estimate_gripper(motion.widths(), contract)
    assert len(estimate.samples_s) >= 5 and estimate.latency_s == pytest.approx(GRIPPER_LAG_S, abs=1e-3)
    assert sum(bool(fit.problem) for fit in fits) <= 1, "the next episode begins as the one before did not end"


def test_the_command_writes_the_number_and_its_plot(episodes, tmp_path, capsys):
    out = tmp_path / "cell.yaml"
    arguments = ["calibrate", "robot", "--bag", *map(str, episodes), "--axes", "x,y", "--window", "3"]
    arguments += ["--cell", "sim_franka", "--out", str(out), "--run", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert load_contract(out).action.latency_s == pytest.approx(ARM_LAG_S, abs=2e-3)
    assert (tmp_path / "run" / "robot.png").is_file()
    assert "action.latency_s" in capsys.readouterr().out


def test_a_dry_run_writes_nothing(episodes, tmp_path, capsys):
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    arguments = ["calibrate", "gripper", "--bag", *map(str, episodes), "--dry-run", "--run", str(tmp_path / "run")]
    assert main(arguments) == 0
    assert "nothing was written" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in set(after) - set(before)} == {"gripper.png"}


def test_episodes_without_the_streams_are_refused(tmp_path, record):
    folder = record(tmp_path / "bags", without=("control/command_state",)).folder
    with pytest.raises(CalibrationError, match=r"has no topic control/command_state"):
        record_of_bags([folder])


def test_commands_that_were_not_sent_do_not_count(contract):
    motion = MotionRecord(contract)
    for tick, mode in enumerate((CommandState.STOPPED, CommandState.HOLD, CommandState.FAULT)):
        state = CommandState(mode=mode)
        state.header.stamp.sec = tick
        motion.add("command", state)
    with pytest.raises(CalibrationError, match=r"^1 messages of control/command_state: nothing to measure"):
        motion.poses()


def test_bags_recorded_before_are_aligned_better_with_the_measured_numbers(episodes, tmp_path):
    """From bags to numbers to a store: what is commanded for an instant is what is measured at it, and only then."""
    recorded = record_of_bags(episodes)[1]
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(recorded.to_dict()))
    for what in (["robot", "--axes", "x,y", "--window", "3"], ["gripper"]):
        arguments = ["calibrate", *what, "--cell", str(path), "--run", str(tmp_path / what[0])]
        assert main([*arguments, "--bag", *map(str, episodes)]) == 0
    build = ["dataset", "build", str(tmp_path / "bags"), "--outcome", "success", "--workers", "1", "--out"]
    assert main([*build, str(tmp_path / "before.zarr")]) == 0
    assert main([*build, str(tmp_path / "after.zarr"), "--cell", str(path)]) == 0
    error_m, closing = {}, {}
    for name in ("before", "after"):
        store = open_store(tmp_path / f"{name}.zarr")
        rows = store.episode_slice(0)
        commanded, measured = store.action[rows], store.proprioception[rows]
        error_m[name] = float(np.sqrt(np.mean((commanded[:, :3] - measured[:, :3]) ** 2)))
        moved = np.abs(np.diff(measured[:, 9], prepend=measured[0, 9])) > 1e-4
        closing[name] = int(np.argmax(moved)) - int(np.argmax(commanded[:, 9] < 0.04))
    # The wobble runs at up to 0.1 m/s, so 70 ms are millimetres; what is left is the interpolation at 10 Hz.
    assert error_m["before"] > 1e-3 and error_m["after"] < 0.1 * error_m["before"]
    assert closing["before"] > closing["after"] >= 0, "instants between a command and the fingers"
