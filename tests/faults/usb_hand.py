"""A hand on a SpaceMouse at a daemon that speaks spacenavd's protocol, as the teleoperation node finds it."""

import importlib.util
import threading
import time
from pathlib import Path

import numpy as np

from dp_msgs.msg import CommandState

_FILE = Path(__file__).parents[1] / "dp_teleop" / "devices" / "conftest.py"
_spec = importlib.util.spec_from_file_location("absent_devices", _FILE)
absent_devices = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(absent_devices)

MOTION, PRESS, RELEASE = 0, 1, 2
NAME = "3Dconnexion SpaceMouse Compact"


class UsbHand:
    """Reports a deflection each 10 ms while there is one.

    Attributes:
        axes: gives the deflection at a time, (6,) in the robot's base frame; None: the cap is at rest.
    """

    def __init__(self, path):
        self.daemon = absent_devices.SpacenavDaemon(path, name=NAME)
        self.path = self.daemon.path
        self.axes, self._at_rest = None, True
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._closed.wait(0.01):
            axes = self.axes
            if self.daemon.name and not (axes is None and self._at_rest):
                x, y, z, roll, pitch, yaw = np.zeros(6) if axes is None else axes(time.monotonic())
                # The daemon's axes: right, up, away, in counts of 350.
                counts = np.round(350 * np.array([-y, z, x, -pitch, yaw, roll])).astype(int)
                self.daemon.send((MOTION, *counts.tolist(), 10))
                self._at_rest = axes is None

    def press(self, button):
        self.daemon.send((PRESS, button))

    def release(self, button):
        self.daemon.send((RELEASE, button))

    def drive(self, cell):
        """Let go of the cap, hold the clutch and move the arm of a driven cell."""

        def begin():
            self.axes = None
            self.press(1)
            cell.ask_mode(CommandState.TELEOP)
            if not cell.wait_in_mode(CommandState.TELEOP, lambda: cell.states[-1].input_alive, "the clutch"):
                return False
            began = time.monotonic()
            self.axes = lambda t: np.array([0.4, 0.8, 0.0, 0.0, 0.0, 0.5]) * np.cos(2.0 * (t - began))
            return cell.wait_in_mode(CommandState.TELEOP, lambda: cell.speed() > 0.1, "motion")

        cell.try_hard(begin)

    def unplug(self):
        self.daemon.unplug()

    def plug(self):
        self.daemon.name = NAME

    def close(self):
        self._closed.set()
        self._thread.join(10)
        self.daemon.close()
