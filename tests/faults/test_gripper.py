"""A gripper that refuses what it is told does not disturb the arm; the action server is the test's own."""

import contextlib
import importlib.util
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from rclpy.action import ActionServer, GoalResponse
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from dp_msgs.msg import CommandState, GripperCommand
from dp_ros import qos

ROBOT = {"gripper": "gripper_command"}
OVERLAY = Path(__file__).parents[1] / "dp_control" / "back_ends" / "interface_overlay.py"


@pytest.fixture(scope="module", autouse=True)
def action():
    """control_msgs, installed or compiled for the tests; before control starts, which inherits the paths."""
    if importlib.util.find_spec("control_msgs") is None:
        spec = importlib.util.spec_from_file_location("interface_overlay", OVERLAY)
        overlay = sys.modules["interface_overlay"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(overlay)
        try:
            overlay.use_overlay(overlay.build_overlay())
        except overlay.OverlayError as error:
            pytest.skip(f"control_msgs: {error}")
    from control_msgs.action import GripperCommand as Action

    return Action


class RefusingGripper:
    """Refuses goals while `refuses`; opens and closes at once otherwise."""

    def __init__(self, action, context):
        self.refuses, self.asked, self.positions = True, 0, []
        self.node = Node("gripper", context=context)
        self._action = action
        self._server = ActionServer(
            self.node, action, "gripper_controller/gripper_cmd", self._close, goal_callback=self._decide
        )
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def _decide(self, _goal):
        self.asked += 1
        return GoalResponse.REJECT if self.refuses else GoalResponse.ACCEPT

    def _close(self, handle):
        self.positions.append(handle.request.command.position)
        handle.succeed()
        return self._action.Result(position=self.positions[-1], reached_goal=True)

    def close(self):
        self._executor.shutdown()
        self._thread.join(20.0)
        self.node.destroy_node()


@pytest.fixture
def gripper(action, cell):
    gripper = RefusingGripper(action, cell.context)
    yield gripper
    gripper.close()


def test_a_gripper_that_refuses_is_told_again_and_the_arm_goes_on(gripper, cell, driven, table):
    wishes = cell.node.create_publisher(GripperCommand, "teleop/gripper", qos.EVENT)
    cell.wait(lambda: wishes.get_subscription_count() > 0, "control's ear for the gripper")
    driven.mark()
    wishes.publish(GripperCommand(width=0.0))
    cell.wait(lambda: gripper.asked >= 3, "three attempts")
    cell.wait(lambda: "refused" in cell.states[-1].text, "control to say so")
    for _ in range(4):
        good = all(s.mode == CommandState.TELEOP and s.input_alive for s in driven.since_mark)
        if good or driven.late_s() < 0.05:
            break
        cell.drive()  # this process or control was late; the gripper still refuses
        driven.mark()
        cell.pause(1.0)
    assert good, driven.story()
    gripper.refuses = False
    cell.wait(lambda: gripper.positions, "the gripper to close", 15.0)
    assert np.allclose(gripper.positions, 0.0)
    cell.wait(lambda: "refused" not in cell.states[-1].text, "the end of the complaint")
    table.append(driven.row("gripper refuses", "goes on and says so", "closes by itself once it may"))
