"""SpaceMouse drivers without ROS: the socket of spacenavd, spoken directly.

Each device delivers :class:`dp_teleop.mapping.SpaceMouseSample` in the axes of the robot's base frame
(x forward, y left, z up). Loss of the device raises; it never shows as zeros.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable

import numpy as np

from dp_teleop.mapping import SpaceMouseSample

# Eight native 32-bit integers: type, then data (libspnav, proto_unix.c).
_EVENT = struct.Struct("=8i")
_MOTION, _BUTTON_PRESS, _BUTTON_RELEASE = 0, 1, 2
# Full deflection of a SpaceMouse as spacenavd reports it at its default sensitivity.
FULL_SCALE = 350.0


class DeviceLostError(RuntimeError):
    """The SpaceMouse or its daemon has gone away."""


class SpacenavdDevice:
    """Reads motion and buttons from the spacenavd daemon.

    Args:
        now_ns: ROS clock, for stamps.
        path: the daemon's UNIX socket.
        buttons: number of buttons to report.

    Raises:
        DeviceLostError: no daemon listens at ``path``.
    """

    def __init__(self, now_ns: Callable[[], int], path: str = "/var/run/spnav.sock", buttons: int = 2) -> None:
        self._now_ns = now_ns
        self._axes = np.zeros(6)
        self._buttons = [False] * buttons
        self._pending = b""
        self._confirmed_ns = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise DeviceLostError(
                f"no spacenavd at {path} ({error.strerror}); start it: systemctl start spacenavd"
            ) from error

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` for news; returns the present deflection either way.

        The stamp of a deflection is that of the event that reported it, so one that is no longer confirmed grows old
        and stops the arm: a hand never holds perfectly still, a hung daemon does. A cap at rest is stamped now.

        Raises:
            DeviceLostError: the daemon closed the connection.
        """
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        if ready:
            try:
                data = self._socket.recv(64 * _EVENT.size)
            except OSError as error:
                raise DeviceLostError(f"spacenavd: {error.strerror}") from error
            if not data:
                raise DeviceLostError("spacenavd closed the connection")
            self._pending += data
            while len(self._pending) >= _EVENT.size:
                self._take(_EVENT.unpack(self._pending[: _EVENT.size]))
                self._pending = self._pending[_EVENT.size :]
        now_ns = self._now_ns()
        if ready or not np.any(self._axes):
            self._confirmed_ns = now_ns
        return SpaceMouseSample(self._confirmed_ns, self._axes.copy(), tuple(self._buttons))

    def _take(self, event: tuple[int, ...]) -> None:
        kind = event[0]
        if kind == _MOTION:
            x, y, z, rx, ry, rz = event[1:7]
            # spacenavd's frame is x right, y up, z away from the user, who faces along the robot's x: the same
            # conversion as the spacenav node of ROS makes.
            self._axes = np.clip(np.array([z, -x, y, rz, -rx, ry]) / FULL_SCALE, -1.0, 1.0)
        elif kind in (_BUTTON_PRESS, _BUTTON_RELEASE) and 0 <= event[1] < len(self._buttons):
            self._buttons[event[1]] = kind == _BUTTON_PRESS

    def close(self) -> None:
        """Leave the daemon."""
        self._socket.close()
