"""The executable as a process of its own: keys of a real terminal in, messages of real DDS out."""

import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from contextlib import contextmanager

import pytest
import rclpy
from dp_ros.messages import stamp_to_ns
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Joy

from dp_ros import qos

NAMESPACE = "/virtual_spacemouse_test"


class Listener:
    """Takes what the executable publishes, and what it writes to its screen."""

    def __init__(self, screen):
        self._screen = screen
        self.text = ""
        self.joys = []
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("listener", context=self.context, namespace=NAMESPACE)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.node.create_subscription(Joy, "spacenav/joy", self.joys.append, qos.SENSOR_IN)

    def until(self, condition, meanwhile=lambda: None, timeout_s=60.0):
        """The first message from now on that fulfils a condition."""
        del self.joys[:]
        deadline = time.monotonic() + timeout_s
        while True:
            meanwhile()
            self.executor.spin_once(0.05)
            while select.select([self._screen], [], [], 0)[0]:
                self.text += os.read(self._screen, 4096).decode(errors="replace")
            found = [joy for joy in self.joys if condition(joy)]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"{len(self.joys)} messages, none as wanted; screen:\n{self.text}"

    def close(self):
        self.node.destroy_node()
        self.context.try_shutdown()


@contextmanager
def running(terminal, *parameters):
    command = [sys.executable, "-m", "dp_teleop.virtual_spacemouse", "--ros-args", "-r", f"__ns:={NAMESPACE}"]
    for parameter in parameters:
        command += ["-p", parameter]
    process = subprocess.Popen(command, stdin=terminal.driver, stdout=terminal.driver, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=20)


@pytest.fixture
def listener(terminal):
    listener = Listener(terminal.person)
    yield listener
    listener.close()


def test_a_person_steers_with_keys(terminal, listener):
    before = termios.tcgetattr(terminal.driver)
    with running(terminal, f"path:={terminal.path}") as process:
        joy = listener.until(lambda joy: True)
        assert list(joy.axes) == [0.0] * 6 and len(joy.buttons) == 9
        assert joy.header.frame_id == "virtual_spacemouse"
        begun_ns = listener.node.get_clock().now().nanoseconds
        joy = listener.until(lambda joy: joy.axes[0] > 0, lambda: terminal.type(b"w"))
        assert stamp_to_ns(joy.header.stamp) > begun_ns - 1_000_000_000
        assert joy.axes[0] == 0.5 or 0 < joy.axes[0] < 0.5  # whole, or fading already
        listener.until(lambda joy: not any(joy.axes))  # the key is not held any more
        terminal.type(b" ")
        listener.until(lambda joy: joy.buttons[1])
        terminal.type(b"x")
        listener.until(lambda joy: not any(joy.buttons))
        assert "forward / back" in listener.text and re.search(r"clutch (ON|off)", listener.text)
        process.terminate()
        assert process.wait(timeout=20) == 0
    assert termios.tcgetattr(terminal.driver) == before


def test_a_gamepad_that_is_plugged_in_later_and_goes_again(terminal, listener, tmp_path):
    path = str(tmp_path / "js0")
    with running(terminal, "kind:=gamepad", f"path:={path}") as process:
        os.mkfifo(path)
        kernel = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        listener.until(lambda joy: True)
        listener.until(lambda joy: joy.axes[0] == 1.0, lambda: os.write(kernel, struct.pack("IhBB", 0, -32767, 2, 1)))
        os.unlink(path)
        os.close(kernel)
        deadline = time.monotonic() + 60
        while True:  # messages end, the process does not
            del listener.joys[:]
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                listener.executor.spin_once(0.05)
            if not listener.joys:
                break
            assert time.monotonic() < deadline
        assert process.poll() is None


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (("kind:=mouse",), "none of keyboard, gamepad"),
        (("path:=/dev/null",), "not a usable terminal"),
        (("rate_hz:=100",), "'rate_hz' to '100' of type 'INTEGER', expecting type 'DOUBLE'"),
        (("rate_hz:=1.0",), "rate_hz out of range Min: 20.0, Max: 1000.0"),
    ],
)
def test_what_cannot_be_ends_the_process_with_one_line(parameters, reason):
    command = [sys.executable, "-m", "dp_teleop.virtual_spacemouse", "--ros-args"]
    for parameter in parameters:
        command += ["-p", parameter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and reason in done.stderr and done.stderr.count("\n") == 1
