"""The desk in a real terminal, in front of a real recorder and a cell that publishes on real DDS."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

CELL = Path(__file__).parents[2] / "dp_recorder" / "cell_publisher.py"
PLAN = "task: place\nepisodes: 3\nprompts: [left mark, right mark]\ncountdown_s: 4\nreset_pause_s: 2000\n"
COLUMNS, ROWS = 80, 24
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with `dp record` in it."""

    def __init__(self, environment, *arguments):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.settings = termios.tcgetattr(self.slave)
        command = [sys.executable, "-m", "dp_bringup.cli", "record", *map(str, arguments)]
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        self.process = subprocess.Popen(
            command, env={**environment, "TERM": "xterm"}, start_new_session=True, **streams
        )
        self.output = ""

    def read(self, timeout_s=0.1):
        while select.select([self.master], [], [], timeout_s)[0]:
            self.output += os.read(self.master, 65536).decode(errors="replace")
            timeout_s = 0.0

    @property
    def screen(self):
        """What was drawn last, without colours."""
        return ESCAPES.sub("", self.output.rsplit("\x1b[H", 1)[-1])

    def screens(self, begin):
        """What was drawn since a place in the output, without colours."""
        return [ESCAPES.sub("", part) for part in self.output[begin:].split("\x1b[H")]

    def wait_for(self, *texts, timeout_s=120.0):
        """Read until all texts are on a screen at once, that of now or a later one, however short it is there."""
        deadline = time.monotonic() + timeout_s
        begin = max(0, self.output.rfind("\x1b[H"))
        while not any(all(text in screen for text in texts) for screen in self.screens(begin)):
            assert self.process.poll() is None, f"it ended: {self.output[-2000:]}"
            assert time.monotonic() < deadline, f"no {texts} on:\n{self.screen}"
            self.read()

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self, timeout_s=60.0):
        """Wait for the end; the exit status."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.screen}"
            self.read()
        self.read()
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    return {**os.environ, "ROS_LOG_DIR": str(tmp_path_factory.mktemp("log"))}


@pytest.fixture(scope="module")
def episodes(tmp_path_factory):
    return tmp_path_factory.mktemp("episodes")


@pytest.fixture(scope="module")
def graph(environment, episodes):
    """A recorder and a cell; count-down and pause are in its time, four times as fast as ours."""
    parameters = ("-p", f"directory:={episodes}", "-p", "use_sim_time:=true", "-p", "gate_timeout_s:=20.0")
    commands = [
        [sys.executable, "-m", "dp_recorder.node", "--ros-args", *parameters],
        [sys.executable, CELL, "endless"],
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, env=environment, **quiet) for command in commands]
    yield processes
    try:
        for process in processes:
            process.terminate()
        recorder, _ = (process.wait(timeout=60) for process in processes)
        assert recorder == 0
    finally:
        for process in processes:
            process.kill()


@pytest.fixture
def terminal(environment, graph, tmp_path):
    plan = tmp_path / "marks.yaml"
    plan.write_text(PLAN)
    shown = Terminal(environment, "--attach", "--plan", plan, "--json", tmp_path / "rows.json")
    yield shown
    shown.close()


def read(folder):
    return json.loads((folder / "episode.json").read_text())


def frames(output):
    """Every screen that was drawn."""
    return [ESCAPES.sub("", part).replace("\a", "").split("\r\n") for part in output.split("\x1b[H")[1:-1]]


def test_an_operator_records_by_keys_and_ctrl_c_keeps_the_open_episode(terminal, episodes, tmp_path):
    terminal.wait_for("READY", "item 1 of 3", "> left mark", "+ camera/front/color/image_raw", "100.0")
    terminal.press("s")
    terminal.wait_for("COUNT-DOWN")
    terminal.wait_for("RECORDING", "MB/s")
    terminal.press("y")
    terminal.wait_for("RESET", "last episode_0001_place: success", "item 2 of 3", "> right mark", "kept 1")
    terminal.press("n")  # pressed the wrong key: the label changes
    terminal.wait_for("last episode_0001_place: failure")
    terminal.press("r")
    terminal.wait_for("item 1 of 3", "kept 0")
    assert read(episodes / "discarded" / "episode_0001_place")["outcome"] == "discard"
    terminal.press("y")
    terminal.wait_for("'success' is not valid now")
    terminal.press("?")
    terminal.wait_for("put the simulated scene into its start state")
    terminal.press("?s")
    terminal.wait_for("RECORDING")
    terminal.press("q")
    terminal.wait_for("q again")
    terminal.press("z")  # any other key goes on
    terminal.process.send_signal(signal.SIGTSTP)  # Ctrl-Z
    os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert termios.tcgetattr(terminal.slave) == terminal.settings, "the shell has its terminal"
    terminal.process.send_signal(signal.SIGCONT)
    terminal.wait_for("RECORDING")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130

    assert terminal.output.count("\x1b[?1049h") == terminal.output.count("\x1b[?1049l") == 2, "the screen of before"
    tail = ESCAPES.sub("", terminal.output.rsplit("\x1b[?1049l", 1)[1])
    assert "2 episodes closed" in tail and "Traceback" not in terminal.output
    assert termios.tcgetattr(terminal.slave) == terminal.settings, "the terminal is as it was"
    assert terminal.output.count("\a") >= 6, "it counted down, started and stopped aloud"
    shown = frames(terminal.output)
    assert [line for frame in shown for line in frame if len(line) > COLUMNS] == []
    assert max(len(frame) for frame in shown) <= ROWS
    content = read(episodes / "episode_0002_place")
    assert (content["state"], content["outcome"], content["plan"]["item"]) == ("closed", "unlabelled", 1)
    assert (episodes / "episode_0002_place" / "metadata.yaml").is_file()
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert [row["outcome"] for row in rows] == ["discard", "unlabelled"]


def test_the_plan_goes_on_at_the_next_desk_and_a_killed_desk_loses_nothing(terminal, episodes):
    terminal.wait_for("item 2 of 3", "> right mark")
    terminal.press("s")
    terminal.wait_for("RECORDING")
    terminal.process.kill()
    terminal.end()
    # The recorder goes on without a desk: its operator may come back.
    assert read(episodes / "episode_0003_place")["state"] == "recording"


def test_without_a_terminal_it_prints_lines(environment, graph):
    command = [sys.executable, "-m", "dp_bringup.cli", "record", "--attach"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=120)
    assert first.startswith("RECORDING episode_0003_place")
    assert process.returncode == 130 and "\x1b" not in first + rest and "Traceback" not in rest
    assert "episode_0003_place: unlabelled" in rest
