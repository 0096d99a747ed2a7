"""When the desk asks control to follow the operator, and what it asks for; control is a node of its own on real DDS."""

import contextlib
import time

import pytest
from dp_bringup.operator_desk.desk import Desk
from dp_bringup.operator_desk.recorder_link import RecorderLink
from dp_bringup.operator_desk.terminal import Terminal
from dp_core.contract import load_contract
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_srvs.srv import Trigger

from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

CONTRACT = load_contract("sim_franka")


class Control(Node):
    """Answers as dp_control does, and keeps what it was asked for."""

    def __init__(self, mode, resumes=True):
        super().__init__("control_node")
        self.mode, self.resumes, self.asked = mode, resumes, []
        self.create_service(SetMode, "control/set_mode", self.set_mode)
        self.create_service(Trigger, "control/resume", self.resume)
        self.publisher = self.create_publisher(CommandState, CONTRACT.streams["command"].topic, qos.STATE)
        self.create_timer(0.02, lambda: self.publisher.publish(CommandState(mode=self.mode)))

    def set_mode(self, request, response):
        self.asked.append(("mode", request.mode))
        response.success = self.mode != CommandState.FAULT
        response.message = "" if response.success else "cannot follow FAULT"
        self.mode = request.mode if response.success else self.mode
        return response

    def resume(self, request, response):
        self.asked.append(("resume",))
        response.success, response.message = self.resumes, "" if self.resumes else "the robot is still in reflex"
        self.mode = CommandState.HOLD if self.resumes else self.mode
        return response


@pytest.fixture
def link():
    with contextlib.closing(RecorderLink(CONTRACT)) as made:
        yield made


@pytest.fixture
def make_control(link):
    """Each goes with its test: the services of one that is left over would be taken for those of the next."""
    with contextlib.ExitStack() as made:

        def make(mode, **options):
            control = Control(mode, **options)
            made.callback(control.destroy_node)
            return control

        yield make


def serve(link, desk, control, seconds=1.0, until=lambda: False):
    executor = SingleThreadedExecutor()
    executor.add_node(control)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not until():
        executor.spin_once(timeout_sec=0.01)
        link.poll()
        desk._take_replies()
        desk._prepare_arm()
    executor.shutdown()


def serve_until_heard(link, desk, control):
    services = (link._mode, link._resume)

    def heard():
        there = all(client.service_is_ready() for client in services)
        return there and link.command is not None and link.command.mode == control.mode

    serve(link, desk, control, 30.0, heard)
    assert heard()


@pytest.mark.parametrize("mode", [CommandState.STOPPED, CommandState.POLICY, CommandState.HOLD, CommandState.FAULT])
def test_a_desk_that_joins_leaves_the_arm_as_it_is(link, make_control, mode):
    """Somebody may have stopped it for a reason."""
    desk, control = Desk(link, Terminal(), "cell", drives=False), make_control(mode)
    serve_until_heard(link, desk, control)
    serve(link, desk, control)
    assert (control.asked, control.mode) == ([], mode)


def test_a_desk_of_its_own_graph_asks_once_and_never_after_a_stop(link, make_control):
    desk, control = Desk(link, Terminal(), "cell"), make_control(CommandState.STOPPED)
    serve(link, desk, control, 30.0, lambda: control.mode == CommandState.TELEOP and not link.busy)
    serve_until_heard(link, desk, control)
    serve(link, desk, control, 0.2)
    control.mode = CommandState.STOPPED
    serve_until_heard(link, desk, control)
    serve(link, desk, control, 4.0)
    assert control.asked == [("mode", CommandState.TELEOP)]


@pytest.mark.parametrize("mode", [CommandState.HOLD, CommandState.FAULT])
def test_a_desk_of_its_own_graph_overrules_nobody(link, make_control, mode):
    desk, control = Desk(link, Terminal(), "cell"), make_control(mode)
    serve_until_heard(link, desk, control)
    serve(link, desk, control)
    assert control.asked == []


def test_the_key_goes_on_after_a_fault(link, make_control):
    desk, control = Desk(link, Terminal(), "cell", drives=False), make_control(CommandState.FAULT)
    serve_until_heard(link, desk, control)
    link.ask_teleop()
    serve(link, desk, control, 30.0, lambda: control.mode == CommandState.TELEOP)
    assert control.asked == [("resume",), ("mode", CommandState.TELEOP)]


def test_a_fault_that_stays_is_named(link, make_control):
    desk, control = Desk(link, Terminal(), "cell", drives=False), make_control(CommandState.FAULT, resumes=False)
    serve_until_heard(link, desk, control)
    link.ask_teleop()
    serve(link, desk, control, 30.0, lambda: not link.busy and desk._message[0])
    assert control.asked == [("resume",)]
    assert desk._message[0] == "resume: the robot is still in reflex"
