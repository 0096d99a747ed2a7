"""A cell with every safety rule switched on, real nodes as processes, and the table of what the arm did."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from dp_bringup.processes import clean_shared_memory
from dp_core.contract import config_directory, load_contract
from dp_ros.transports import PROFILES, REACH, leave_shared_memory

sys.path.insert(0, str(Path(__file__).parent))

from driven_cell import DrivenCell
from fault_rows import HEADER, Watch

TABLE = Path(__file__).resolve().parents[2] / "build" / "fault_table.md"
# Changes of the simulated cell's contract: all rules are on, and the joints are checked and followed.
RULES = {
    "safety": {
        "table_height_m": 0.02,
        "orientation_cone": {"half_angle_rad": 0.6},
        "keep_out": {"post": {"min_m": [0.45, 0.25, 0.0], "max_m": [0.6, 0.4, 0.4]}},
        "force_limit_N": 40.0,
        "torque_limit_Nm": 15.0,
        "dead_man": ["teleop"],
        "takeover": True,
        "input_lost_s": 0.8,
    },
    "robot": {"back_end": "sim", "gripper": "sim", "description": "fr3"},
}

# Longer than in the shipped cells: on a busy machine this process, which plays the robot, is late at times.
AGES = {"state_max_age_s": 0.6, "input_max_age_s": 0.3}


class NodeProcess:
    """One node, or a script with its arguments, as a process of its own, with its log in a file."""

    def __init__(self, module, log, parameters, arguments=()):
        self._command = [sys.executable, *(("-m", module) if not arguments else (module, *map(str, arguments)))]
        if parameters:
            self._command.append("--ros-args")
        for name, value in parameters.items():
            self._command += ["-p", f"{name}:={value}"]
        self._log = log
        self.process = None
        self.start()

    def start(self):
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)

    def send(self, number):
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait(30)

    @property
    def killed(self):
        """True while it is dead because a test has killed it."""
        return self.process.poll() == -signal.SIGKILL

    @property
    def log(self):
        return self._log.read_text(errors="replace")

    def close(self):
        """End it; why that did not go well, or empty."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            status = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
            return f"{self._command} did not end within 30 s of SIGTERM"
        return "" if status in (0, -signal.SIGKILL) else f"{self._command} ended with {status}: {self.log[-3000:]}"


@pytest.fixture(scope="module")
def cell_file(tmp_path_factory, request):
    """The contract; a file of tests may change its sections `robot` and `safety` by `ROBOT` and `SAFETY`."""
    contract = yaml.safe_load((config_directory() / "cells/sim_franka.yaml").read_text())
    contract.update(RULES)
    contract["robot"] = {**RULES["robot"], **getattr(request.module, "ROBOT", {})}
    contract["safety"] = {**RULES["safety"], **getattr(request.module, "SAFETY", {})}
    contract["control"].update(AGES)
    contract["teleop"]["clutch_button"] = 1
    path = tmp_path_factory.mktemp("faults") / "faults.yaml"
    path.write_text(yaml.safe_dump(contract))
    return path


@pytest.fixture(scope="module")
def start_node(tmp_path_factory):
    """Starts nodes; those that still run at the end of the file are ended and must end well."""
    started, logs = [], tmp_path_factory.mktemp("logs")

    def start(module, *arguments, **parameters):
        node = NodeProcess(module, logs / f"{len(started)}_{Path(module).name}.log", parameters, arguments)
        started.append(node)
        return node

    yield start
    problems = [problem for node in started if (problem := node.close())]
    clean_shared_memory()  # of those that were killed
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="module")
def shared_cell(cell_file, request):
    """The rest of the cell, with the clock and the messages that the file of tests names in `CELL`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (PROFILES, REACH):
            patch.setenv(name, os.environ[name])  # back to it afterwards: the nodes choose for themselves
        leave_shared_memory()  # it plays the arm, which no killed process may hold up
        cell = DrivenCell(load_contract(cell_file), **getattr(request.module, "CELL", {}))
    yield cell
    cell.close()


@pytest.fixture(scope="module")
def control_command():
    """What starts control."""
    return ("dp_control.node",)


@pytest.fixture(scope="module")
def control(shared_cell, start_node, cell_file, control_command):
    simulated = shared_cell.clock != "real"
    node = start_node(*control_command, cell=cell_file, use_sim_time=str(simulated).lower())
    shared_cell.wait(lambda: shared_cell.states, "the first command state", 60.0)
    for stream in shared_cell.sends or ("pose", "twist", "chunk", "wrench", "joints", "engaged"):
        shared_cell.wait(lambda stream=stream: shared_cell.listeners(stream) > 0, f"control's ear for {stream}", 30.0)
    return node


def revive(cell, control):
    """Control runs again where a failed test has killed it, so that the tests that follow do not fail as well."""
    if control.killed:
        come = cell.newcomer("pose")
        control.start()
        cell.wait(come, "control's return", 60.0)


@pytest.fixture
def cell(shared_cell, control):
    """The shared cell in order, control STOPPED; what a test left behind is cleared before and after."""
    shared_cell.heal()
    revive(shared_cell, control)
    shared_cell.stop()
    yield shared_cell
    shared_cell.heal()


@pytest.fixture
def driven(cell):
    """The arm is driven to and fro by the operator, and watched."""
    watch = Watch(cell)
    cell.begin_teleop()
    watch.mark()
    return watch


@pytest.fixture
def planned(cell):
    """The arm follows a policy's plans, and is watched."""
    watch = Watch(cell)
    cell.begin_policy()
    watch.mark()
    return watch


@pytest.fixture(scope="session")
def table():
    """Rows of the table; written to build/fault_table.md when all tests are through."""
    rows = []
    yield rows
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(HEADER + "".join(row.markdown() for row in rows))
