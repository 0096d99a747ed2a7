"""How the control node ends: by a signal, and by a failure inside it. A moving arm is braked first."""

import subprocess
import sys

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


def test_a_signal_brakes_the_arm_before_the_process_ends(cell, control, make_hand):
    hand = make_hand()
    try:
        hand.drive(0.2, 0, 0, 0, 0, 0, ready=lambda: cell.states[-1].commanded_twist.linear.x > 0.19)
        control.terminate()
        control.wait(30.0)
    finally:
        hand.close()
    cell.wait(lambda: cell.states[-1].mode == CommandState.STOPPED, "the last state")
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
from dp_control import subscriptions
def fail(self, message):
    hear(self, message)
    self.pushed = getattr(self, "pushed", 0) + 1 if message.twist.linear.x > 0.19 else 0
    if self.pushed > 40:  # 0.4 s: the arm moves
        raise ArithmeticError("of the callback")
hear, subscriptions.ControlSubscriptions._on_twist = subscriptions.ControlSubscriptions._on_twist, fail
node.main()
"""


@pytest.mark.parametrize("script", [FAILING_STEP, FAILING_CALLBACK])
def test_a_failure_inside_control_brakes_the_arm_before_the_process_ends(cell, script, on_cell, make_hand):
    control = subprocess.Popen([sys.executable, "-c", script, *on_cell()], stderr=subprocess.PIPE, text=True)
    try:
        cell.wait(lambda: cell.states, "the first command state", 60.0)
        hand = make_hand()
        fast = lambda: max(s.commanded_twist.linear.x for s in cell.states) > 0.18  # noqa: E731
        hand.drive(0.2, 0, 0, 0, 0, 0, ready=lambda: fast() or control.poll() is not None)
        _, log = control.communicate(timeout=30)
        hand.close()
    finally:
        control.kill()
    assert control.returncode != 0 and "ArithmeticError" in log
    ended = (CommandState.FAULT, CommandState.STOPPED)
    at_rest = lambda state: state.mode in ended and state.commanded_twist.linear.x < 0.01  # noqa: E731
    cell.wait(lambda: at_rest(cell.states[-1]), "a last command at rest")
    assert fast()
    allowed = CONTRACT.limits.linear_acceleration_m_s2 * (1 + 1e-6)
    assert strongest_braking(cell.states) <= allowed, "braked, not cut off"
