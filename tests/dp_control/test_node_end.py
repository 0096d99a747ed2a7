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


def strongest_braking(states):
    """By the stamps: cycles that a busy machine has skipped are no harder braking."""
    speeds = np.array([state.commanded_twist.linear.x for state in states])
    times = 1e-9 * np.array([stamp_to_ns(state.header.stamp) for state in states])
    return np.max(-np.diff(speeds) / np.diff(times))


def drive(cell, hand, ready):
    """Push the cap until `ready`; a pause of this process ends the mode, and then it is asked for again."""
    for _ in range(5):
        hand.values = np.zeros(6)
        cell.wait(lambda: cell.set_mode(CommandState.TELEOP).success, "mode TELEOP")
        time.sleep(0.2)
        hand.values = np.array([0.2, 0, 0, 0, 0, 0])
        cell.wait(lambda: ready() or cell.states[-1].mode != CommandState.TELEOP, "motion or the end of the mode")
        if ready():
            return
        if cell.states[-1].mode == CommandState.FAULT:
            cell.resume()
    raise AssertionError(f"five times in vain: {cell.states[-1].text}")


def test_a_signal_brakes_the_arm_before_the_process_ends(cell, control, make_hand):
    hand = make_hand()
    try:
        drive(cell, hand, lambda: cell.states[-1].commanded_twist.linear.x > 0.19)
        control.terminate()
        control.wait(10.0)
    finally:
        hand.close()
    assert cell.states[-1].mode == CommandState.STOPPED
    last = [s for s in cell.states if s.mode == CommandState.TELEOP][-30:]
    assert last[-1].commanded_twist.linear.x < 0.01, "the last command before the end still moved"
    assert strongest_braking(last) <= CONTRACT.limits.linear_acceleration_m_s2 * (1 + 1e-6)


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
        fast = lambda: max(s.commanded_twist.linear.x for s in cell.states) > 0.18  # noqa: E731
        drive(cell, hand, lambda: fast() or control.poll() is not None)
        _, log = control.communicate(timeout=15)
    finally:
        hand.close()
        control.kill()
    assert control.returncode != 0 and "ArithmeticError" in log
    cell.wait(lambda: cell.states[-1].commanded_twist.linear.x < 0.01, "a last command at rest", 2.0)
    assert fast() and cell.states[-1].mode in (CommandState.FAULT, CommandState.STOPPED)
    allowed = CONTRACT.limits.linear_acceleration_m_s2 * (1 + 1e-6)
    assert strongest_braking(cell.states) <= allowed, "braked, not cut off"
