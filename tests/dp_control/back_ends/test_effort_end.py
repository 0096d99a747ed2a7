"""A torque must not outlive control: the controller holds the last one for ever."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from dp_control.arms.effort import EffortBackEnd
from dp_control.arms.effort_law import EffortLaw
from dp_control.robot_model import RobotModel
from dp_core.configuration import ConfigurationError
from dp_core.contract import load_contract
from geometry_msgs.msg import WrenchStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

CELL = load_contract("sim_franka_effort")
STEP_NM = CELL.impedance.torque_rate_limit_Nm_s / CELL.control.rate_hz

# The control node, whose worker ends in an exception at SIGUSR1.
CONTROL_THAT_CRASHES = """
import signal
from dp_control import node
step, crash = node.ControlCore.step, []
def crashing_step(*args):
    if crash:
        raise RuntimeError("injected")
    return step(*args)
node.ControlCore.step = crashing_step
signal.signal(signal.SIGUSR1, lambda *_: crash.append(True))
node.main()
"""


def contract_with_rate_limit(rate_Nm_s):
    return dataclasses.replace(CELL, impedance=dataclasses.replace(CELL.impedance, torque_rate_limit_Nm_s=rate_Nm_s))


def test_a_slow_ramp_is_waited_for_at_the_end(bench):
    arm = bench.make(EffortBackEnd, contract_with_rate_limit(50.0))
    bench.made.remove(arm)
    torques = []
    bench.listen(Float64MultiArray, "effort_controller/commands", lambda m: torques.append(np.array(m.data)))
    bench.cycle(lambda: "nobody listens" not in arm._topic.problem(bench.control.now_ns()), "the subscription")
    # 40 Nm, as a long pull would have left them: 0.8 s from rest at 50 Nm/s.
    law = arm._law.start(np.array([0.0, -0.7, 0.0, -2.3, 0.0, 1.6, 0.8]))
    law.reset(np.array([40.0, 0, 0, 0, 0, 0, 0]))
    arm._released = arm._rested = False
    arm.close()
    bench.cycle(lambda: torques and not torques[-1].any(), "zero torque")
    assert len(torques) > 150


def test_a_ramp_that_cannot_be_finished_ends_at_zero_all_the_same(bench, monkeypatch):
    arm = bench.make(EffortBackEnd, contract_with_rate_limit(50.0))
    bench.made.remove(arm)
    torques = []
    bench.listen(Float64MultiArray, "effort_controller/commands", lambda m: torques.append(np.array(m.data)))
    bench.cycle(lambda: "nobody listens" not in arm._topic.problem(bench.control.now_ns()), "the subscription")
    arm._law.start(np.array([0.0, -0.7, 0.0, -2.3, 0.0, 1.6, 0.8])).reset(np.array([40.0, 0, 0, 0, 0, 0, 0]))
    monkeypatch.setattr(arm, "_period_s", 0.5)  # the thread gets to run twice a second only
    arm._released = arm._rested = False
    arm.close()
    bench.cycle(lambda: torques and not torques[-1].any(), "zero torque")
    assert torques[0][0] > 39.0


def test_a_rate_limit_whose_ramp_would_outlast_the_process_is_refused():
    with pytest.raises(ConfigurationError, match=r"impedance\.torque_rate_limit_Nm_s: 20 .*valid: 43\.5 "):
        EffortLaw(contract_with_rate_limit(20.0), RobotModel.from_contract(CELL))


class Watch:
    """Asks control for a mode, pushes the arm, and reads the torques."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("watch", context=self.context)
        self.torques, self.state = [], None
        self.node.create_subscription(Float64MultiArray, "effort_controller/commands", self._on_torque, 1000)
        self.node.create_subscription(CommandState, "control/command_state", self._on_state, qos.STATE)
        self._mode = self.node.create_client(SetMode, "control/set_mode")
        self._pushes = self.node.create_publisher(WrenchStamped, "sim/push", 10)
        self.push_N = 0.0
        self.node.create_timer(0.02, self._push)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._closed.is_set():
            self._executor.spin_once(0.1)

    def _on_torque(self, message):
        self.torques.append(np.array(message.data))

    def _on_state(self, message):
        self.state = message

    def _push(self):
        message = WrenchStamped()
        message.header.frame_id = CELL.base_frame
        message.wrench.force.y = self.push_N
        self._pushes.publish(message)

    def hold(self):
        assert self._mode.wait_for_service(30.0)
        answer = self._mode.call_async(SetMode.Request(mode=CommandState.HOLD))
        self.wait(answer.done, "an answer of control")
        assert answer.result().success, answer.result().message

    def wait(self, ready, what, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
            time.sleep(0.01)

    def close(self):
        self._closed.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def processes():
    """Simulated arm and control, in lock step: what is measured does not depend on the machine's speed."""
    ros = ["--ros-args", "-p", "cell:=sim_franka_effort"]
    simulator = [*ros, "-p", "lock_step:=true", "-p", "cameras:=false", "-p", "task:=reach_around"]
    commands = {
        "dp_sim.node": ["-m", "dp_sim.node", *simulator],
        "dp_control.node": ["-c", CONTROL_THAT_CRASHES, *ros, "-p", "use_sim_time:=true"],
    }
    started = {name: subprocess.Popen([sys.executable, *command]) for name, command in commands.items()}
    yield started
    for process in started.values():
        process.terminate()
    for process in started.values():
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGUSR1, 3)], ids=["term", "int", "crash"]
)
def test_the_torque_ramps_to_zero_before_the_process_ends(processes, number, status):
    watch = Watch()
    try:
        watch.wait(lambda: watch.state is not None, "control", 90.0)
        watch.hold()
        watch.push_N = 60.0
        watch.wait(lambda: watch.torques and np.abs(watch.torques[-1]).max() > 15.0, "torques against the push")
        begin = len(watch.torques) - 1
        processes["dp_control.node"].send_signal(number)
        assert processes["dp_control.node"].wait(timeout=30) == status
        watch.wait(lambda: not watch.torques[-1].any(), "zero torque", 15.0)
    finally:
        watch.close()
    ramp = np.array(watch.torques[begin:])
    assert np.abs(ramp[0]).max() > 10.0
    # One lost message doubles a step.
    assert np.abs(np.diff(ramp, axis=0)).max() <= 2 * STEP_NM + 1e-6
