"""However a motion of a calibration ends, the arm is left to whoever ended it; control is a node on real DDS."""

from __future__ import annotations

import contextlib
import threading
import time

import numpy as np
import pytest
from dp_bringup.calibration import cell
from dp_bringup.calibration.cell import CalibrationSession
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.processes import ProcessGroup
from dp_core.contract import load_contract
from dp_ros.messages import ns_to_stamp
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from dp_msgs.msg import ActionChunk, CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

CONTRACT = load_contract("sim_franka")
TIMES = np.array([0.0, 0.5, 1.0])
POSES = np.tile([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0], (3, 1))
WIDTHS = np.zeros(3)


class Control(Node):
    """Reaches every mode at once; keeps what it was asked for and the plans that it got."""

    def __init__(self):
        super().__init__("control_node")
        self.mode, self.asked, self.plans = CommandState.HOLD, [], 0
        self.create_service(SetMode, "control/set_mode", self.set_mode)
        self.create_subscription(ActionChunk, "policy/chunk", self.on_chunk, qos.EVENT)
        self.publisher = self.create_publisher(CommandState, CONTRACT.streams["command"].topic, qos.STATE)
        self.create_timer(0.01, self.publish)

    def publish(self):
        message = CommandState(mode=self.mode)
        message.header.stamp = ns_to_stamp(time.time_ns())
        self.publisher.publish(message)

    def set_mode(self, request, response):
        self.asked.append(request.mode)
        self.mode, response.success = request.mode, True
        return response

    def on_chunk(self, message):
        self.plans += 1


@pytest.fixture
def running(tmp_path, monkeypatch):
    monkeypatch.setattr(cell, "LEAD_S", 0.3)
    with ProcessGroup(tmp_path) as group, contextlib.closing(CalibrationSession(group, CONTRACT)) as session:
        control, executor = Control(), SingleThreadedExecutor()
        executor.add_node(control)
        spinning = threading.Thread(target=executor.spin, daemon=True)
        spinning.start()
        try:
            session.wait_for_control(60.0)
            yield session, control
        finally:
            executor.shutdown()
            spinning.join(20.0)
            control.destroy_node()  # the next session would take its services for those of the next control


@pytest.mark.parametrize("mode", [CommandState.STOPPED, CommandState.FAULT, CommandState.TELEOP])
@pytest.mark.parametrize("at_s", [0.2, 1.2], ids=["during the motion", "while it comes to rest"])
def test_a_stop_and_a_takeover_are_not_undone(running, mode, at_s):
    session, control = running

    def on_time(done_s):
        if done_s >= min(at_s, TIMES[-1]):
            control.mode = mode

    with pytest.raises(CalibrationError, match="mode"):
        session.execute(TIMES, POSES, WIDTHS, on_time)
    assert (control.asked, control.mode) == ([CommandState.POLICY], mode)


@pytest.mark.parametrize("mode", [CommandState.STOPPED, CommandState.TELEOP])
def test_no_motion_begins_and_none_ends_against_a_stop(running, mode):
    session, control = running
    control.mode = mode
    session.wait_for(lambda: session.command.mode == mode, 30.0, "the mode")
    with pytest.raises(CalibrationError, match="during the calibration"):
        session.execute(TIMES, POSES, WIDTHS, lambda done_s: None)
    with pytest.raises(CalibrationError, match="during the calibration"):
        session.hold()
    assert (control.asked, control.plans) == ([], 0)


def test_an_interrupted_motion_is_held(running):
    session, control = running

    def interrupted(done_s):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.execute(TIMES, POSES, WIDTHS, interrupted)
    assert control.asked == [CommandState.POLICY, CommandState.HOLD]


def test_a_motion_to_its_end_is_followed_by_hold(running):
    session, control = running
    session.execute(TIMES, POSES, WIDTHS, lambda done_s: None)
    session.hold()
    assert (control.asked, control.plans) == ([CommandState.POLICY, CommandState.HOLD], 1)
