"""The miniature loop over real DDS: interrupted while recording, continued, and checked from the bags to the report."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from dp_core.contract import config_directory, load_contract
from dp_dataset.bag_reader import BagReader
from dp_dataset.store import open_store

DP = [sys.executable, "-m", "dp_bringup.cli"]
TIMEOUT_S = 1200
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}


def dp(*arguments, timeout=TIMEOUT_S):
    command = [*DP, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, check=False)


def processes_naming(folder):
    """Command lines of running processes that name a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(file.parent.name) != os.getpid():
            found.append(line)
    return found


def recorded_episodes(state):
    return json.loads(state.read_text())["demonstrations"]


def interrupt_after_first_episode(runs):
    """Start the demo, press Ctrl-C once one episode is recorded; returns the run folder."""
    command = [*DP, "demo", "--quick", "--runs", str(runs)]
    # stdin is not a terminal; SIGINT goes to the parent only, as its children have their own sessions
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as demo:
        deadline = time.monotonic() + 400
        try:
            while not (states := list(runs.glob("2*/state.json"))) or not recorded_episodes(states[0]):
                assert demo.poll() is None, demo.stderr.read()
                assert time.monotonic() < deadline, "no episode was recorded"
                time.sleep(0.1)
            time.sleep(1.0)  # the next episode is open now
        finally:
            demo.send_signal(signal.SIGINT)  # also where nothing was recorded: it would go on beside all other tests
        errors = demo.communicate(timeout=240)[1]
    assert demo.returncode == 130, errors
    assert "--resume" in errors and "Traceback" not in errors
    return states[0].parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    folder = interrupt_after_first_episode(runs)
    deadline = time.monotonic() + 10  # multiprocessing's own tracker notices the end a moment later
    while (left := processes_naming(runs)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"still running after Ctrl-C: {left}"
    assert recorded_episodes(folder / "state.json")
    finished = dp("demo", "--resume", folder, "--json", folder / "copy.json")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert not processes_naming(runs)
    return folder


@pytest.fixture(scope="module")
def summary(run):
    data = json.loads((run / "copy.json").read_text())
    assert data["command"] == "demo" and data["rows"] and data["versions"]["ros-rclpy"]
    return data["summary"]


def test_demonstrations_are_bags_with_every_stream(run):
    contract = load_contract("sim_franka")
    state = json.loads((run / "state.json").read_text())
    assert len(state["demonstrations"]) == state["plan"]["demonstrations"]
    for episode in state["demonstrations"]:
        bag = BagReader(Path(episode["path"]))
        assert bag.indexed and bag.episode["seed"] == episode["seed"]
        for stream in (*contract.cameras.values(), *contract.streams.values()):
            assert bag.message_counts["/" + stream.topic] > 0.8 * stream.rate_hz * episode["duration_s"]


def test_operator_succeeds_and_nothing_is_lost(summary):
    assert summary["operator_success"] >= 0.75
    assert summary["messages_lost"] == 0 and summary["messages_published"] > 10_000


def test_store_holds_the_demonstrations(run):
    store = open_store(run / "place.zarr")
    assert store.contract == load_contract("sim_franka")
    assert len(store.episodes) >= 3
    assert np.mean(store.valid) > 0.95
    assert np.ptp(store.action[:, :3], axis=0).max() > 0.1
    assert {image.shape[0] for image in store.images.values()} == {len(store.action)}


def test_checkpoint_can_be_deployed(run):
    folder = run / "checkpoint"
    assert (folder / "model.safetensors").is_file()
    assert json.loads((folder / "checkpoint.json").read_text())


def test_chunks_of_the_policy_were_executed(summary):
    ledger = summary["ledger"]
    # Hardly trained, the policy may end the episode by a collision soon after its first chunk.
    assert ledger["chunks"] >= 2 and ledger["executed_actions"] >= 5
    assert 0 < ledger["observation_to_publication_s"]["p50"] < 1.0


def test_report_is_whole(run, summary):
    text = (run / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 3 and "data:video/mp4;base64," in text
    for key in ("policy_success", "operator_success", "collision_rate", "side_counts", "wall_s"):
        assert key in summary
    assert summary["policy_episodes"] == 1


def changed_cell(tmp_path, change):
    cell = yaml.safe_load((config_directory() / "cells/sim_franka.yaml").read_text())
    change(cell)
    file = tmp_path / "sim_changed.yaml"
    file.write_text(yaml.safe_dump(cell))
    return file


def refused(*arguments):
    """Run a command that must be refused; returns the one line that says why."""
    result = dp(*arguments, timeout=400)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_checkpoint_of_another_cell_is_refused(run, tmp_path):
    cell = changed_cell(tmp_path, lambda c: c["cameras"]["front"].update(width=128))
    line = refused("eval", "sim", run / "checkpoint", "--cell", cell, "--episodes", "1", "--out", tmp_path / "out")
    assert "cameras.front.width" in line and "128" in line


def test_stream_that_never_comes_is_named(tmp_path):
    silent = {"topic": "robot/temperature", "type": "sensor_msgs/msg/JointState", "rate_hz": 10.0, "max_age_s": 1.0}
    cell = changed_cell(tmp_path, lambda c: c["streams"].update(temperature=silent))
    line = refused("record", "--cell", cell, "--episodes", "1", "--out", tmp_path / "out")
    assert "robot/temperature" in line


def test_missing_contract_key_is_named(tmp_path):
    cell = changed_cell(tmp_path, lambda c: c["control"].pop("rate_hz"))
    line = refused("record", "--cell", cell, "--episodes", "1", "--out", tmp_path / "out")
    assert "control.rate_hz" in line
