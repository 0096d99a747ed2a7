"""The operator's flow over real DDS: recorder and cell in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

OPERATED = Path(__file__).with_name("operated_cell.py")
PLAN = """
task: place
episodes: 3
prompts: [left mark, right mark]
countdown_s: 1.0
reset_pause_s: 1.0
seed: 40
"""


def run_scenario(environment, scenario, directory, **parameters):
    values = {"directory": directory, "use_sim_time": True, "gate_timeout_s": 1.0, **parameters}
    arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "dp_recorder.node", "--ros-args", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as recorder:
        try:
            scene = [sys.executable, str(OPERATED), scenario]
            done = subprocess.run(scene, env=environment, capture_output=True, text=True, timeout=300)
        finally:
            output = end(recorder)
    assert done.returncode == 0, done.stderr + done.stdout + output
    assert recorder.returncode == 0, output
    return json.loads(done.stdout.splitlines()[-1])


def end(recorder):
    """Ask a recorder to end, which it must; its output."""
    recorder.send_signal(signal.SIGTERM)
    try:
        return recorder.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        recorder.kill()
        raise


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "ROS_LOG_DIR": str(tmp_path_factory.mktemp("log"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("planned")


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    file = tmp_path_factory.mktemp("plan") / "marks.yaml"
    file.write_text(PLAN)
    return file


@pytest.fixture(scope="module")
def planned(environment, folder, plan):
    return run_scenario(environment, "planned", folder, plan=plan, operator="ada")


def read(path):
    return json.loads((Path(path) / "episode.json").read_text())


def test_idle_shows_rates_plan_and_disk(planned):
    ready = planned["ready"]
    assert (ready["state"], ready["number"], ready["length"], ready["prompt"]) == ("IDLE", 1, 3, "left mark")
    assert ready["rates"]["/robot/ee_pose"] == pytest.approx(100.0, abs=2.0)
    assert ready["rates"]["/camera/front/color/image_raw"] == pytest.approx(10.0, abs=0.2)
    assert ready["free"] > 0 and ready["kept"] == 0 and ready["warnings"] == []


def test_a_start_by_service_counts_down_and_records_the_plans_item(planned):
    assert planned["start"] == [True, "begins in 1 s"]
    assert planned["counting"]["state"] == "COUNTDOWN" and 0 <= planned["counting"]["countdown_s"] <= 1.0
    assert planned["recording"]["id"] == "episode_0001_place"
    assert planned["success"] == [True, "episode_0001_place: success, good"]
    reset = planned["reset"]
    assert (reset["number"], reset["prompt"], reset["outcome"], reset["verdict"]) == (
        2,
        "right mark",
        "success",
        "good",
    )
    content = read(reset["path"])
    assert content["plan"] == {"name": "marks", "item": 1, "of": 3, "prompt": "left mark"}
    assert (content["task"], content["operator"], content["seed"], content["clock"]) == (
        "place",
        "ada",
        40,
        "simulation",
    )


def test_a_command_that_is_not_valid_names_those_that_are(planned):
    for key, name in (("wrong", "'success' is not valid now"), ("unknown", "no command 'jump'")):
        ok, message = planned[key]
        assert not ok and message == f"{name}; valid now (idle): start, next, previous"


def test_a_start_by_message_is_taken_once_and_redo_repeats_the_item(planned):
    assert planned["by_message"]["id"] == "episode_0002_place" and planned["by_message"]["number"] == 2
    after = planned["after_redo"]
    assert (after["state"], after["number"], after["prompt"]) == ("RESET", 2, "right mark")
    assert Path(after["path"]).parent.name == "discarded" and read(after["path"])["plan"]["item"] == 2
    assert planned["again"] == [True, "begins in 1 s"]


def test_the_pause_is_held_as_long_as_the_operator_wants(planned):
    assert planned["pause"][0] and planned["go_on"][0]
    # The pause of one second was held for one and a half.
    assert planned["held"]["state"] == "RESET" and planned["idle"]["state"] == "IDLE"


def test_discard_after_the_close_puts_the_last_one_aside(planned, folder):
    assert planned["failure"][1].startswith("episode_0003_place: failure")
    assert planned["discard"] == [True, "episode_0003_place is put aside"]
    said = planned["discarded"]
    assert (said["outcome"], said["kept"]) == ("discard", 1)
    assert said["path"] == str(folder / "discarded" / "episode_0003_place")
    assert read(said["path"])["outcome"] == "discard"
    assert said["number"] == 3, "the plan goes on; the item comes again at its end"


def test_a_count_down_is_cancelled_without_a_trace(planned, folder):
    (started, _), state, (cancelled, message) = planned["cancel"]
    assert started and cancelled and state == "COUNTDOWN" and message == "the start was cancelled"
    assert sorted(path.name for path in folder.iterdir()) == ["discarded", "episode_0001_place"]


def test_a_recorder_that_is_started_again_goes_on_with_the_plan(planned, environment, folder, plan):
    seen = run_scenario(environment, "resumed", folder, plan=plan)
    ready = seen["ready"]
    assert (ready["number"], ready["length"], ready["prompt"]) == (2, 3, "right mark"), "item 2 was put aside twice"
    assert [ok for ok, _ in seen["moved"]] == [True] * 3
    assert [text for _, text in seen["moved"]] == ["item 1 of 3 (recorded already)", "item 2 of 3", "item 3 of 3"]
    assert seen["labelled"] == ["item 1 of 3", "item 1 of 3 (recorded already)"]
    assert seen["service"] == [True, ""], "programs start without a count-down"
    assert seen["refused_plan"][0] is False and "not while recording" in seen["refused_plan"][1]
    assert seen["stop"][1].startswith("episode_0004_other: unlabelled, suspect")
    assert read(folder / "episode_0004_other")["plan"] is None, "it named a task of its own"
    assert seen["no_plan"] == [True, ""]
    assert (seen["after"]["number"], seen["after"]["length"], seen["after"]["prompt"]) == (0, 0, "")


def test_a_refused_start_names_the_stream_and_its_rate(environment, tmp_path):
    seen = run_scenario(environment, "half_rate", tmp_path, gate_timeout_s=0.2)
    expected = "/camera/wrist/color/image_raw: 5.0 Hz, at least 6.0 Hz are needed (60 % of the contract's 10)"
    assert seen["service"] == [False, expected] and seen["operator"] == [False, expected]
    assert seen["said"]["text"] == expected and any("5.0 Hz" in warning for warning in seen["said"]["warnings"])
    assert list(tmp_path.iterdir()) == []


def test_clocks_that_are_not_ours_are_refused_and_told(environment, tmp_path):
    """On the system's clock, as on a real robot."""
    seen = run_scenario(environment, "real", tmp_path, use_sim_time=False, gate_timeout_s=0.0)
    assert not seen["behind"][0] and "/robot/ee_pose: stamps are 0.4" in seen["behind"][1]
    assert "allowed 0.100 s: late, or a clock behind ours" in seen["behind"][1]
    assert not seen["ahead"][0] and "/robot/ee_pose: " in seen["ahead"][1] and "in the future" in seen["ahead"][1]
    assert seen["start"][0], seen["start"]
    assert any(text.startswith("robot/ee_pose: its clock drifts") for text in strip(seen["drift"]))
    assert any(text.startswith("robot/wrench: its stamps stand still") for text in strip(seen["frozen"]))
    assert seen["stop"][1] == "episode_0001_untitled: success, suspect"
    content = read(tmp_path / "episode_0001_untitled")
    assert content["clock"] == "system" and any("robot/wrench: " in reason for reason in content["reasons"])


def strip(warnings):
    return [text.lstrip("/") for text in warnings]


def test_auto_start_and_longest_duration(environment, tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text("task: place\nepisodes: 2\ncountdown_s: 0\nreset_pause_s: 1\nmax_duration_s: 1\n")
    seen = run_scenario(environment, "limited", tmp_path / "episodes", plan=file, auto_start=True)
    first, second = seen["closed"]
    assert first["outcome"] == "unlabelled" and seen["label"] == [True, "episode_0001_place is now a success"]
    assert second["id"] == "episode_0002_place" and second["state"] == "IDLE", "nothing is left to record"
    content = read(tmp_path / "episodes" / "episode_0001_place")
    assert content["outcome"] == "success" and "longest duration of 1 s" in content["note"]
    # The recorder looks each 50 ms of wall time, and later on a busy machine; the cell's time is four times as fast.
    assert 0.6 < content["duration_s"] < 4.0
    assert not seen["refused"][0] and "is done: 2 of 2" in seen["refused"][1]


def run_changed(environment, scenario, directory, change, ends_itself=False):
    """Run a scenario on a recorder that was changed first; what the cell saw, exit status and output."""
    program = f"{change}\nfrom dp_recorder.node import main\nmain()\n"
    parameters = ["-p", f"directory:={directory}", "-p", "use_sim_time:=true"]
    command = [sys.executable, "-c", program, "--ros-args", *parameters]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as recorder:
        scene = [sys.executable, str(OPERATED), scenario]
        try:
            done = subprocess.run(scene, env=environment, capture_output=True, text=True, timeout=300)
            if ends_itself:
                recorder.wait(timeout=60)
        finally:
            output = end(recorder)
    assert done.returncode == 0, done.stderr + done.stdout + output
    return json.loads(done.stdout.splitlines()[-1]), recorder.returncode, output


CRASHING = """
import dp_recorder.operator_flow as flow
from dp_recorder.flow_events import Command

step = flow.step

def crash(state, event, t_ns, settings):
    if event == Command("failure"):
        raise RuntimeError("a bug in the flow")
    return step(state, event, t_ns, settings)

flow.step = crash
"""
FULL = """
from dp_recorder.storage_space import StorageSpace

def problem(self):
    return "the disk is full" if any(self.directory.glob("*/*.mcap")) else None

StorageSpace.problem = problem
"""


def test_a_crash_of_the_flow_does_not_lose_the_open_episode(environment, tmp_path):
    _, status, output = run_changed(environment, "crash", tmp_path, CRASHING, ends_itself=True)
    assert status != 0 and "a bug in the flow" in output
    content = read(tmp_path / "episode_0001_untitled")
    assert (content["state"], content["outcome"]) == ("closed", "unlabelled")
    assert content["streams"]["robot/ee_pose"]["received"] >= 50
    assert (tmp_path / "episode_0001_untitled" / "metadata.yaml").is_file()


def test_a_full_disk_closes_the_episode_says_so_and_refuses_the_next(environment, tmp_path):
    seen, status, output = run_changed(environment, "failing", tmp_path, FULL)
    assert status == 0, output
    assert seen["start"][0] and seen["failed"]["text"] == "the disk is full"
    assert seen["again"] == [False, "the disk is full"]
    content = read(tmp_path / "episode_0001_untitled")
    assert (content["state"], content["outcome"], content["note"]) == ("closed", "unlabelled", "the disk is full")
