"""The teleoperation node as a process of its own, and what the rest of the cell hears of it over real DDS."""

import importlib.util
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from dp_ros.messages import ns_to_stamp, stamp_to_ns
from geometry_msgs.msg import PoseStamped, TwistStamped
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters, SetParametersAtomically
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState, EpisodeState, GripperCommand, OperatorCommand, TeleopState
from dp_ros import qos

_spec = importlib.util.spec_from_file_location("absent_devices", Path(__file__).parent / "devices" / "conftest.py")
absent_devices = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(absent_devices)

SERVICES = {
    "set_parameters": SetParameters,
    "set_parameters_atomically": SetParametersAtomically,
    "get_parameters": GetParameters,
    "describe_parameters": DescribeParameters,
}
# The daemon of the tests lives in the process of the tests: on a busy machine it answers late, which is no hang.
PATIENT = (
    "from dp_teleop.devices import spacenavd; spacenavd.ANSWER_WITHIN_S = {}; import dp_teleop.node as n; n.main()"
)


class Hand:
    """A SpaceMouse at `spacenav/joy`, control and the recorder, as far as the node sees them.

    Args:
        answer_within_s: how long the node waits for spacenavd.
        parameters: of the node.
    """

    def __init__(self, answer_within_s=10.0, **parameters):
        command = [sys.executable, "-c", PATIENT.format(answer_within_s)]
        for name, value in parameters.items():
            command += [*(["--ros-args"] if len(command) == 3 else []), "-p", f"{name}:={value}"]
        self.process = subprocess.Popen(command)
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("hand", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.twists, self.grips, self.states, self.asked, self.statuses = [], [], [], [], []
        self._listen(TwistStamped, "teleop/twist", self.twists)
        self._listen(GripperCommand, "teleop/gripper", self.grips)
        self._listen(TeleopState, "teleop/state", self.states)
        self._listen(OperatorCommand, "recorder/operator_command", self.asked)
        self._listen(DiagnosticArray, "/diagnostics", self.statuses)
        publish = self.node.create_publisher
        self.joys = publish(Joy, "spacenav/joy", qos.STATE)
        self.modes = publish(CommandState, "control/command_state", qos.STATE)
        self.poses = publish(PoseStamped, "robot/ee_pose", qos.STATE)
        self.episodes = publish(EpisodeState, "recorder/episode_state", qos.LATCHED)
        self.clients = {name: self.node.create_client(kind, f"teleop/{name}") for name, kind in SERVICES.items()}

    def _listen(self, kind, topic, heard):
        self.node.create_subscription(kind, topic, lambda message: heard.append(message), qos.STATE)

    @property
    def diagnostics(self):
        """The newest status of the device, its values as a dictionary."""
        status = [s for message in self.statuses for s in message.status if s.name == "teleop: device"][-1]
        return status.level, status.message, {pair.key: pair.value for pair in status.values}

    def spin(self, seconds=0.0):
        """Hear what has come."""
        self.executor.spin_once(seconds)
        for _ in range(10):
            self.executor.spin_once(0)

    def wait(self, ready, what, each=None, timeout_s=60.0):
        """Wait for a condition, and do something each 10 ms meanwhile."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
            if each is not None:
                each()
            self.spin(0.01)

    def show(self, axes=(0.0,) * 6, buttons=(0, 0), mode=CommandState.TELEOP, frame_id=""):
        """One reading of the device, and control's mode."""
        joy = Joy(axes=list(map(float, axes)), buttons=list(map(int, buttons)))
        joy.header.stamp = ns_to_stamp(self.node.get_clock().now().nanoseconds)
        joy.header.frame_id = frame_id
        self.modes.publish(CommandState(mode=mode, commanded_width=0.08))
        self.joys.publish(joy)
        return joy.header.stamp

    def hold(self, seconds, axes=(0.0,) * 6, button=0, mode=CommandState.TELEOP, buttons=None):
        """Readings at 100 Hz for a time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.show(axes, buttons or (button, 0), mode)
            self.spin()
            time.sleep(0.01)

    @property
    def engaged(self):
        """What the node said last."""
        return bool(self.states) and self.states[-1].engaged

    def push(self, ready, what, axes=(0.0,) * 6, buttons=(0, 0), mode=CommandState.TELEOP):
        """Show a reading until something is the case.

        On a busy machine the device may be lost meanwhile; then it is shown at rest until it is armed again.
        """
        self.wait(ready, what, lambda: self.show(axes, buttons, mode) if self.engaged else self.show(mode=mode))

    def steady(self, seconds, axes, buttons=(0, 0)):
        """The twist that a reading gives once it was there for a time, by the stamps of the samples."""
        begun_ns = None

        def show():
            nonlocal begun_ns
            stamp = self.show(axes, buttons) if self.engaged else self.show()
            begun_ns = (begun_ns or stamp_to_ns(stamp)) if self.engaged else None

        def ready():
            newest_ns = stamp_to_ns(self.twists[-1].header.stamp) if self.twists else 0
            return self.engaged and begun_ns is not None and newest_ns - begun_ns > 1e9 * seconds

        self.wait(ready, f"a reading of {seconds} s", show)
        return self.twists[-1].twist

    def settle(self, mode=CommandState.STOPPED):
        """The device at rest and armed; forgets what was heard before."""
        begun_ns = stamp_to_ns(self.show(mode=mode))
        self.twists.clear()
        self.wait(
            lambda: self.twists and stamp_to_ns(self.twists[-1].header.stamp) > begun_ns,
            "a twist from the node",
            lambda: self.show(mode=mode),
        )
        for heard in (self.twists, self.grips, self.states, self.asked, self.statuses):
            heard.clear()

    def call(self, service, request):
        """Answer of a service of the node."""
        client = self.clients[service]
        self.wait(client.service_is_ready, service)
        future = client.call_async(request)
        self.wait(future.done, f"an answer of {service}")
        return future.result()

    def set(self, atomically=True, **values):
        """Set parameters; their results."""
        parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        if atomically:
            request = SetParametersAtomically.Request(parameters=parameters)
            return self.call("set_parameters_atomically", request).result
        return self.call("set_parameters", SetParameters.Request(parameters=parameters)).results

    def close(self):
        """End the node, which must end well; a second call does nothing."""
        if self.process.returncode is not None:
            return
        self.process.terminate()
        try:
            assert self.process.wait(timeout=30) == 0
        finally:
            self.process.kill()
            self.node.destroy_node()
            self.context.try_shutdown()


@pytest.fixture(scope="module")
def make_hand():
    with ExitStack() as hands:

        def make(**parameters):
            hand = Hand(**parameters)
            hands.callback(hand.close)
            return hand

        yield make


@pytest.fixture(scope="session")
def make_daemon():
    """Makes what speaks spacenavd's protocol; to be closed."""
    return absent_devices.SpacenavDaemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory, make_daemon):
    daemon = make_daemon(tmp_path_factory.mktemp("daemon") / "spnav.sock")
    yield daemon
    daemon.close()
