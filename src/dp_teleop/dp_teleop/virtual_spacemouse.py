"""A SpaceMouse for people without one: a keyboard or gamepad, published as the spacenav node publishes the device.

Publishes ``spacenav/joy`` (sensor_msgs/Joy, stamped, axes x y z roll pitch yaw of the base frame in [-1, 1]), which
the teleop node takes with ``teleop.device: topic``. While the device is lost it publishes nothing.

    ros2 run dp_teleop virtual_spacemouse                                   # keyboard of this terminal
    ros2 run dp_teleop virtual_spacemouse --ros-args -p kind:=gamepad
"""

from __future__ import annotations

import sys
import threading
import time

from dp_ros.messages import ns_to_stamp
from dp_ros.node_main import declare, run_node, start_worker
from rclpy.node import Node
from sensor_msgs.msg import Joy

from dp_ros import qos
from dp_teleop.devices import DeviceLostError, KeyboardDevice, SpaceMouseDevice, open_device
from dp_teleop.devices.key_bindings import HELP
from dp_teleop.sample import VIRTUAL_FRAME_ID, SpaceMouseSample

KINDS = ("keyboard", "gamepad")
# Numbers as on a SpaceMouse Pro, so that a contract for one can be tried without it.
BUTTONS = 9
LOOK_AGAIN_S = 0.1
SHOW_EVERY_S = 0.1


class VirtualSpaceMouse(Node):
    """ROS shell around a keyboard or gamepad; see the module."""

    def __init__(self) -> None:
        super().__init__("virtual_spacemouse")
        self._kind = str(declare(self, "kind", "keyboard", f"What stands for the SpaceMouse: {' or '.join(KINDS)}."))
        if self._kind not in KINDS:
            raise ValueError(f"kind '{self._kind}' is none of {', '.join(KINDS)}")
        self._path = str(declare(self, "path", "", "Terminal or /dev/input/jsN; empty finds it."))
        rate_hz = declare(self, "rate_hz", 100.0, "Messages per second.", low=20.0, high=1000.0)
        self._period_s = 1.0 / float(rate_hz)
        self._clutch_button = int(
            declare(self, "clutch_button", 1, "Button that the space bar holds down; -1: none.", low=-1, high=63)
        )
        self._joys = self.create_publisher(Joy, "spacenav/joy", qos.COMMAND_OUT)
        self._closed = threading.Event()
        self.failure = ""
        # Here, so that a terminal which cannot be used ends the process before anything is published.
        self._device: SpaceMouseDevice | None = self._open()
        if self._device is None and self._kind == "keyboard":
            raise ValueError(self._problem)
        self._shown_s = 0.0
        self._thread = start_worker(self, self._kind, self._run)

    def _open(self) -> SpaceMouseDevice | None:
        """The device, or None and why not in ``_problem``."""
        self._problem = ""
        try:
            device = open_device(self._kind, self._path, self._now_ns, BUTTONS, self._clutch_button)
        except DeviceLostError as error:
            self._problem = str(error)
            return None
        self.get_logger().info(f"{device.name} publishes {self._joys.topic_name}")
        if self._kind == "keyboard":
            print(HELP, flush=True)
        return device

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _run(self) -> None:
        """Thread: publish what the device says; a gamepad that is lost is looked for again, a terminal is not."""
        while not self._closed.is_set():
            if self._device is None:
                self.get_logger().error(self._problem, throttle_duration_sec=5.0)
                self._closed.wait(LOOK_AGAIN_S)
                self._device = self._open()
                continue
            try:
                self._publish_until_closed(self._device)
            except DeviceLostError as error:
                self._device.close()
                self._device, self._problem = None, str(error)
                if self._kind == "keyboard":
                    self.failure = self._problem
                    return

    def _publish_until_closed(self, device: SpaceMouseDevice) -> None:
        """Publish once per period, and at once what is pressed or moved; DeviceLostError when it is gone."""
        due_s = time.monotonic()
        while not self._closed.is_set():
            sample = device.read(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s, time.monotonic() - self._period_s) + self._period_s
            self._joys.publish(to_joy(sample, device.tells_every_loss))
            if isinstance(device, KeyboardDevice):
                self._show(device, sample)

    def _show(self, device: KeyboardDevice, sample: SpaceMouseSample) -> None:
        """One line under the help with what is sent."""
        if device.bindings.help_wanted:
            device.bindings.help_wanted = False
            print("\n" + HELP, flush=True)
        now_s = time.monotonic()
        if sys.stdout.isatty() and now_s - self._shown_s >= SHOW_EVERY_S:
            self._shown_s = now_s
            print("\r" + status_line(sample, device.bindings.size, self._clutch_button), end="\x1b[K", flush=True)

    def close(self) -> None:
        """Stop reading and give the terminal back."""
        self._closed.set()
        self._thread.join(timeout=2.0)
        if self._device is not None:
            self._device.close()
            if self._kind == "keyboard":
                print(flush=True)  # below the line of values


def to_joy(sample: SpaceMouseSample, tells_every_loss: bool) -> Joy:
    """A sample as the spacenav node of ROS publishes it, with the stamp of the sample.

    The name of its frame says whether silence will tell of any loss; else the teleop node watches for readings that
    stand still.
    """
    frame_id = VIRTUAL_FRAME_ID if tells_every_loss else ""
    message = Joy(axes=[float(value) for value in sample.axes], buttons=[int(pressed) for pressed in sample.buttons])
    message.header.stamp, message.header.frame_id = ns_to_stamp(sample.t_ns), frame_id
    return message


def status_line(sample: SpaceMouseSample, size: float, clutch_button: int) -> str:
    """What is sent, in one line of a terminal."""
    axes = " ".join(
        f"{name} {value:+.2f}" for name, value in zip("x y z roll pitch yaw".split(), sample.axes, strict=True)
    )
    pressed = [str(number) for number, down in enumerate(sample.buttons) if down and number != clutch_button]
    clutch = "" if clutch_button < 0 else f" | clutch {'ON ' if sample.buttons[clutch_button] else 'off'}"
    return f"{axes}{clutch} | deflection {size:.2f} | buttons {' '.join(pressed) or '-'}"


def main() -> None:
    """Entry point of the executable ``virtual_spacemouse``."""
    sys.exit(run_node(VirtualSpaceMouse))


if __name__ == "__main__":
    main()
