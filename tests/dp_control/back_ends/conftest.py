"""Control's side of a back end and a peer that plays the robot, each with an executor of its own, over real DDS."""

import dataclasses
import importlib.util
import itertools
import sys
import threading
import time
from pathlib import Path

import pytest
import rclpy
from dp_bringup.domain import choose_domain
from dp_core.contract import load_contract
from dp_ros.executor import LeanExecutor
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

CONTRACT = load_contract("sim_franka")
_COUNTER = itertools.count()


def robot_contract(**robot):
    """The simulated cell's contract with another ``robot`` section and a rate that suits all back ends."""
    control = dataclasses.replace(CONTRACT.control, rate_hz=250.0)
    return dataclasses.replace(CONTRACT, control=control, robot=dataclasses.replace(CONTRACT.robot, **robot))


class Turn:
    """``await Turn()`` in an action of the robot: its executor does something else meanwhile."""

    def __await__(self):
        time.sleep(0.002)
        yield


class Side:
    """A node that spins in a thread."""

    def __init__(self, name, namespace, executor_class, context):
        self.node = Node(name, namespace=namespace, context=context)
        self.node.failure = ""  # as dp_ros's workers expect of a node
        self.executor = executor_class(context=context)
        self.executor.add_node(self.node)
        self._closed = threading.Event()
        self.thread = threading.Thread(target=self._spin, daemon=True)
        self.thread.start()

    def _spin(self):
        while not self._closed.is_set():
            if isinstance(self.executor, LeanExecutor):
                self.executor.spin_until(self._closed.is_set)
            else:
                self.executor.spin_once(0.01)

    def close(self):
        """End the thread before what it uses is taken away."""
        self._closed.set()
        self.executor.wake()
        self.thread.join()
        self.executor.shutdown()

    def now_ns(self):
        return self.node.get_clock().now().nanoseconds


class Bench:
    """Both sides. ``cycle`` does for a while what the control thread does with a back end."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        # A namespace of its own: entities of the test before may take a while to disappear.
        namespace = f"bench_{next(_COUNTER)}"
        self.control = Side("control", namespace, LeanExecutor, self.context)
        self.robot = Side("robot", namespace, SingleThreadedExecutor, self.context)
        self.listener: Side | None = None
        self.made = []

    def listen(self, message_type, topic, callback):
        """Subscribe outside the robot's executor, which is slower than fast senders."""
        if self.listener is None:
            namespace = self.control.node.get_namespace()
            self.listener = Side("listener", namespace, SingleThreadedExecutor, self.context)
        self.listener.node.create_subscription(message_type, topic, callback, 1000)

    def make(self, factory, contract):
        made = factory(self.control.node, contract)
        self.made.append(made)
        return made

    def cycle(self, until, what, step=lambda t_ns: None, timeout_s=30.0):
        """Run 100 cycles a second until ``until()`` holds.

        Returns the seconds it took by the number of cycles: a pause of the whole machine is no time of the test.
        """
        begun, cycles = time.monotonic(), 0
        while not until():
            assert time.monotonic() - begun < timeout_s, f"waited {timeout_s} s in vain for {what}"
            step(self.control.now_ns())
            time.sleep(0.01)
            cycles += 1
        return 0.01 * cycles

    def turn(self):
        return Turn()

    def run_for(self, seconds, step):
        end = time.monotonic() + seconds
        self.cycle(lambda: time.monotonic() > end, "the end", step, seconds + 30)

    def settle(self, received):
        """Wait until nothing more has come for a while: what was under way, on a busy machine, too."""
        seen = [(-1, 0.0)]

        def quiet():
            if len(received) != seen[-1][0]:
                seen.append((len(received), time.monotonic()))
            return time.monotonic() - seen[-1][1] > 0.5

        self.cycle(quiet, "silence")

    def close(self):
        """In the order of a node: its executor ends first."""
        sides = [side for side in (self.control, self.robot, self.listener) if side is not None]
        for side in sides:
            side.close()
        for made in self.made:
            made.close()
        for side in sides:
            side.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.close()


@pytest.fixture
def make_contract():
    return robot_contract


@pytest.fixture(scope="session")
def domain_of_simulators():
    """A ROS domain that no other run on this machine has, without what earlier tests of this one have left."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("ROS_DOMAIN_ID", raising=False)
        return choose_domain()


@pytest.fixture(scope="session")
def robot_interfaces():
    """franka_msgs, control_msgs and controller_manager_msgs: the installed ones, else compiled for the tests."""
    if all(importlib.util.find_spec(name) for name in ("franka_msgs", "control_msgs", "controller_manager_msgs")):
        return
    path = Path(__file__).with_name("interface_overlay.py")
    spec = importlib.util.spec_from_file_location("interface_overlay", path)
    overlay = sys.modules["interface_overlay"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(overlay)
    try:
        overlay.use_overlay(overlay.build_overlay())
    except overlay.OverlayError as error:
        pytest.skip(f"interfaces of real robots: {error}")
