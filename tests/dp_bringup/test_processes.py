import os
import signal
import subprocess
import sys
import time

import pytest
from dp_bringup.cli import main
from dp_bringup.domain import choose_domain, dds_environment
from dp_bringup.processes import ProcessDiedError, ProcessGroup

STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


@pytest.fixture
def group(tmp_path, monkeypatch):
    for name in ("ROS_DOMAIN_ID", "ROS_LOG_DIR"):  # the group sets them for the whole process
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.delenv("ROS_DOMAIN_ID")
    with ProcessGroup(tmp_path) as running:
        yield running


def python(code):
    return [sys.executable, "-c", code]


def wait_for_text(path, text):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.is_file() and text in path.read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never held {text!r}")


def test_children_share_one_dds_environment(group):
    child = group.start("print", python("import os; print(os.environ['ROS_DOMAIN_ID'], os.environ['OMP_NUM_THREADS'])"))
    assert group.wait(child) == 0
    assert child.log.read_text().split() == [os.environ["ROS_DOMAIN_ID"], "1"]
    assert "dds" in group.environment["FASTRTPS_DEFAULT_PROFILES_FILE"]


def test_dead_child_is_reported_with_its_last_words(group):
    child = group.start("camera", python("import sys; print('lens fell off'); sys.exit(3)"))
    child.process.wait(60)
    with pytest.raises(ProcessDiedError, match=r"camera ended with status 3.*lens fell off"):
        group.check()


def test_stubborn_child_is_ended(group):
    child = group.start("stubborn", python(STUBBORN))
    wait_for_text(child.log, "up")
    group.check()
    process = child.process
    group.stop()
    assert process.returncode == -signal.SIGTERM


def test_children_die_with_a_killed_parent(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from dp_bringup.processes import ProcessGroup\n"
        f"group = ProcessGroup(Path({str(tmp_path)!r}))\n"
        "child = group.start('child', [sys.executable, '-c', 'import time; print(1, flush=True); time.sleep(60)'])\n"
        "print(child.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(python(code), stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    wait_for_text(tmp_path / "logs" / "child.log", "1")  # the child must be past its exec for the signal to find it
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while is_running(pid):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.05)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/status") as file:
            return "State:\tZ" not in file.read()
    except (FileNotFoundError, ProcessLookupError):  # it may end between two looks
        return False


def test_domains_of_two_processes_differ(monkeypatch):
    monkeypatch.delenv("ROS_DOMAIN_ID", raising=False)
    mine = choose_domain()
    code = "from dp_bringup.domain import choose_domain; print(choose_domain())"
    environment = {k: v for k, v in os.environ.items() if k != "ROS_DOMAIN_ID"}
    other = subprocess.run(python(code), capture_output=True, text=True, env=environment, check=True)
    assert mine != int(other.stdout)


def test_given_domain_is_kept(monkeypatch):
    monkeypatch.setenv("ROS_DOMAIN_ID", "42")
    assert choose_domain() == 42


def test_a_real_cell_is_looked_for_where_its_drivers_run(monkeypatch, tmp_path):
    for name in ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE"):
        monkeypatch.delenv(name, raising=False)
    found = dds_environment(tmp_path, isolated=False)
    assert (found["ROS_DOMAIN_ID"], found["ROS_AUTOMATIC_DISCOVERY_RANGE"]) == ("0", "SUBNET")
    monkeypatch.setenv("ROS_DOMAIN_ID", "7")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    found = dds_environment(tmp_path, isolated=False)
    assert (found["ROS_DOMAIN_ID"], found["ROS_AUTOMATIC_DISCOVERY_RANGE"]) == ("7", "LOCALHOST")


@pytest.mark.parametrize(("cell", "isolated"), [("sim_franka", True), ("fr3_crisp", False)])
def test_only_a_simulated_cell_is_hidden_from_other_graphs(monkeypatch, tmp_path, cell, isolated):
    asked = []

    def group(folder, isolated=True):
        asked.append(isolated)
        raise KeyboardInterrupt

    monkeypatch.setattr("dp_bringup.commands.up.ProcessGroup", group)
    assert main(["up", "teleop", "--cell", cell, "--run", str(tmp_path)]) == 130
    monkeypatch.setattr("dp_bringup.operator_desk.recording.ProcessGroup", group)
    assert (
        main(["record", "--operator", "person", "--cell", cell, "--out", str(tmp_path), "--run", str(tmp_path)]) == 130
    )
    assert asked == [isolated, isolated]


def test_a_terminal_that_closes_ends_a_command_as_ctrl_c_does(tmp_path):
    code = "import sys; from dp_bringup.cli import main; sys.exit(main(sys.argv[1:]))"
    # Control waits for a robot for ever; one that lacks a package of its cell would end by itself.
    cell = ["--cell", "sim_franka", "--simulate", "false", "--operator", "false"]
    command = [*python(code), "up", "teleop", *cell, "--run", str(tmp_path)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that run under nohup hand on that the signal is ignored, which a command respects.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        assert "ends it" in process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130 and "Traceback" not in error
