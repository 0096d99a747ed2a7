"""How the control node ends: by a signal, and by a failure inside it. A moving arm is braked first."""

import subprocess
import sys
import time

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_ros.messages import stamp_to_ns

from dp_msgs.msg import CommandState

CONTRACT = load_contract("sim_franka")


def test_a_signal_brakes_the_arm_before_the_process_ends(cell, control, make_hand):
    hand = make_hand()
    try:
        cell.wait(lambda: cell.set_mode(CommandState.TELEOP).success, "mode TELEOP")
        time.sleep(0.2)
        hand.values = np.array([0.2, 0, 0, 0, 0, 0])
        cell.wait(lambda: cell.states[-1].commanded_twist.linear.x > 0.19, "full speed")
        control.terminate()
        control.wait(10.0)
    finally:
        hand.close()
    assert cell.states[-1].mode == CommandState.STOPPED
    speeds = np.array([s.commanded_twist.linear.x for s in cell.states if s.mode == CommandState.TELEOP][-30:])
    assert speeds[-1] < 0.01, "the last command before the end still moved"
    step = CONTRACT.limits.linear_acceleration_m_s2 / CONTRACT.control.rate_hz
    assert np.all(np.diff(speeds) >= -step * (1 + 1e-6))


FAILING_STEP = """
from dp_control import node
class Core(node.ControlCore):
    def step(self, inputs, t_ns, periods=1):
        output = super().step(inputs, t_ns, periods)
        if output.twist[0] > 0.19:
            raise ArithmeticError("of the step")
        return output
node.ControlCore = Core
node.main()
"""
FAILING_CALLBACK = """
from dp_control import node
def fail(self):
    if self._last is not None and self._last[0].twist[0] > 0.19:
        raise ArithmeticError("of the callback")
node.ControlNode._diagnose = fail
node.main()
"""


@pytest.mark.parametrize("script", [FAILING_STEP, FAILING_CALLBACK])
def test_a_failure_inside_control_brakes_the_arm_before_the_process_ends(cell, script, make_hand):
    control = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
    cell.wait(lambda: cell.states, "the first command state", 20.0)
    hand = make_hand()
    try:
        cell.wait(lambda: cell.set_mode(CommandState.TELEOP).success, "mode TELEOP")
        time.sleep(0.2)
        hand.values = np.array([0.2, 0, 0, 0, 0, 0])
        _, log = control.communicate(timeout=15)
    finally:
        hand.close()
        control.kill()
    assert control.returncode != 0 and "ArithmeticError" in log
    cell.wait(lambda: cell.states[-1].commanded_twist.linear.x < 0.01, "a last command at rest", 2.0)
    speeds = np.array([state.commanded_twist.linear.x for state in cell.states])
    times = 1e-9 * np.array([stamp_to_ns(state.header.stamp) for state in cell.states])
    assert speeds.max() > 0.18 and cell.states[-1].mode in (CommandState.FAULT, CommandState.STOPPED)
    braking = -np.diff(speeds) / np.diff(times)
    assert braking.max() <= CONTRACT.limits.linear_acceleration_m_s2 * (1 + 1e-6), "braked, not cut off"
