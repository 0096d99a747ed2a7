"""SpaceMouse by the socket of the daemon spacenavd, spoken directly, old daemons and new."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import time

import numpy as np

from dp_teleop.devices import spacenavd_protocol as wire
from dp_teleop.devices.axis_range import full_scale
from dp_teleop.devices.device import Clock, DeviceLostError, ReportedState
from dp_teleop.sample import SpaceMouseSample

DEFAULT_PATHS = ("/run/spnav.sock", "/var/run/spnav.sock")
# In names of devices; a wireless one on its cable has the same name.
_RADIO_WORDS = ("wireless", "receiver", "bluetooth")
# A daemon that is not asked for anything else is asked this often whether its device is there, and answers within
# this, or it hangs. A local socket takes less than a millisecond; the rest is for a machine under load.
ASK_EVERY_S = 0.05
ANSWER_WITHIN_S = 0.1


def socket_paths(path: str) -> tuple[str, ...]:
    """Where the daemon may listen: the given path alone, else $SPNAV_SOCKET, then the daemon's two defaults."""
    if path:
        return (path,)
    named = os.environ.get("SPNAV_SOCKET", "")
    return (named, *DEFAULT_PATHS) if named else DEFAULT_PATHS


def to_base_frame(axes: tuple[int, ...], scale: float) -> np.ndarray:
    """Six integers of a motion event, ``scale`` at full deflection, to axes of the base frame in [-1, 1].

    spacenavd's axes are x right, y up, z away from the user, who faces along the robot's x, and the rotations
    right-handed about them: the same conversion as the spacenav node of ROS makes.
    """
    x, y, z, rx, ry, rz = axes
    return np.clip(np.array([z, -x, y, rz, -rx, ry]) / scale, -1.0, 1.0)


class SpacenavdDevice:
    """Reads motion and buttons from the spacenavd daemon.

    With protocol 1 (spacenavd 1.0 and later) the daemon says when a device is removed, and is asked every 50 ms
    whether it has one: the removal, the end of the daemon, and a daemon that hangs (unanswered for 100 ms) raise
    within 0.15 s while ``read`` is called at least every 50 ms. A daemon without a device is lost from the start.

    With protocol 0 (spacenavd 0.x) only the end of the daemon can be known, at once, and at the start that it hangs.
    Whether a device is connected cannot: an unplugged one looks like one at rest, and ``knows_device`` is False. What
    is safe is kept safe: a deflection that no event confirms any more keeps its stamp and grows old.

    Either way a daemon reports changes only: the cap counts as at rest until its first event, and a wireless
    SpaceMouse that is out of reach looks like one at rest. The raw driver (:mod:`dp_teleop.devices.hid`) sees that.
    ``sensitivity`` and the axis mapping of ``/etc/spnavrc`` act before this driver; leave them at their defaults.

    Args:
        now_ns: ROS clock, for stamps.
        path: the daemon's UNIX socket; empty looks at $SPNAV_SOCKET, /run/spnav.sock and /var/run/spnav.sock.
        buttons: number of buttons to report at least.

    Raises:
        DeviceLostError: no daemon listens, or it hangs, or it has no device.
    """

    def __init__(self, now_ns: Clock, path: str = "", buttons: int = 2) -> None:
        self._now_ns = now_ns
        self._state = ReportedState(buttons)
        self._bytes = b""
        self._asked_s: float | None = None
        self._answered_s = 0.0
        self._full_scale = full_scale("")
        self.protocol = 0
        self._socket, self._path = _connect(socket_paths(path))
        try:
            self.protocol = self._agree_on_protocol()
            self._name = self._introduce()
        except DeviceLostError:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The device's own name where the daemon tells it."""
        return self._name

    @property
    def tells_every_loss(self) -> bool:
        """Not with protocol 0, nor of a device that is reached by radio."""
        by_radio = any(word in self._name.lower() for word in _RADIO_WORDS)
        return self.knows_device and not by_radio

    @property
    def figures(self) -> dict[str, str]:
        """None."""
        return {}

    @property
    def knows_device(self) -> bool:
        """Whether the daemon says if a device is connected (protocol 1)."""
        return self.protocol >= 1

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` for news; returns the present deflection either way.

        Raises:
            DeviceLostError: the device was removed, or the daemon ended or hangs.
        """
        try:
            confirmed = self._await_events(timeout_s)
        except DeviceLostError:
            self.close()  # every further call is to say so too
            raise
        return self._state.sample(self._now_ns(), confirmed)

    def _await_events(self, timeout_s: float) -> bool:
        """Take events as they come; whether there were any within ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        if self._take_events():
            return True
        wait_s = 0.0
        while True:
            self._receive(wait_s)
            self._supervise()
            if self._take_events():
                return True
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            wait_s = min(left_s, ASK_EVERY_S)

    def close(self) -> None:
        """Leave the daemon; a second call does nothing."""
        self._socket.close()
        self._bytes = b""

    def _receive(self, timeout_s: float) -> None:
        """Append what has come, waiting up to ``timeout_s`` for it."""
        try:
            if select.select([self._socket], [], [], timeout_s)[0]:
                data = self._socket.recv(64 * wire.PACKET.size)
                if not data:
                    raise DeviceLostError(f"spacenavd at {self._path} closed the connection")
                self._bytes += data
        except (OSError, ValueError) as error:  # ValueError: closed here
            raise DeviceLostError(f"spacenavd at {self._path}: {error}") from error

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise DeviceLostError(f"spacenavd at {self._path}: {error.strerror}") from error

    def _take_events(self) -> bool:
        """Take whole events up to the first press or release, so that none is skipped; whether the device spoke."""
        spoke = False
        while len(self._bytes) >= wire.WORD.size:
            if wire.protocol_answer(wire.WORD.unpack_from(self._bytes)[0]) is not None:
                raise DeviceLostError(f"spacenavd at {self._path} agreed on the protocol too late; connect again")
            if len(self._bytes) < wire.PACKET.size:
                break
            packet = self._next_packet()
            spoke = self._take(packet) or spoke
            if packet.kind in (wire.PRESS, wire.RELEASE):
                break
        return spoke

    def _next_packet(self) -> wire.Packet:
        packet, self._bytes = self._bytes[: wire.PACKET.size], self._bytes[wire.PACKET.size :]
        return wire.unpack(packet)

    def _take(self, packet: wire.Packet) -> bool:
        """Take an event or an answer; whether it came from the device itself."""
        if packet.is_answer:
            self._take_answer(packet)
        elif packet.kind == wire.MOTION:
            self._state.axes = to_base_frame(packet.data[:6], self._full_scale)
            return True
        elif packet.kind in (wire.PRESS, wire.RELEASE):
            self._state.press(packet.data[0], packet.kind == wire.PRESS)
            return True
        elif packet.kind == wire.DEVICE_CHANGE and packet.data[0] == wire.DEVICE_REMOVED:
            # With several devices connected nobody knows whose deflection the last one was: start anew.
            raise DeviceLostError(f"spacenavd at {self._path}: the SpaceMouse was removed")
        return False

    def _take_answer(self, packet: wire.Packet) -> None:
        self._asked_s, self._answered_s = None, time.monotonic()
        if packet.kind == wire.DEVICE_TYPE and packet.refused:
            raise DeviceLostError(
                f"spacenavd at {self._path} runs, but has no SpaceMouse: plug it in, or switch it on "
                "(what the daemon sees: /var/log/spnavd.log)"
            )

    def _supervise(self) -> None:
        """Ask the daemon for its device from time to time. Everything that has come is in ``_bytes`` already."""
        if not self.knows_device:
            return
        now_s = time.monotonic()
        if self._asked_s is None:
            if now_s - self._answered_s >= ASK_EVERY_S:
                self._asked_s = now_s
                self._send(wire.pack_request(wire.DEVICE_TYPE))
        elif now_s - self._asked_s > ANSWER_WITHIN_S and len(self._bytes) < wire.PACKET.size:
            raise self._hangs()

    def _hangs(self) -> DeviceLostError:
        return DeviceLostError(f"spacenavd at {self._path} hangs: no answer within {ANSWER_WITHIN_S} s")

    def _agree_on_protocol(self) -> int:
        """Ask for protocol 1; silence of a daemon that has read the question means that it knows none but 0."""
        self._send(wire.protocol_request(1))
        deadline_s = time.monotonic() + ANSWER_WITHIN_S
        while True:
            # Events of protocol 0 may come first, and the answer is four bytes only.
            while len(self._bytes) >= wire.WORD.size:
                version = wire.protocol_answer(wire.WORD.unpack_from(self._bytes)[0])
                if version is not None:
                    self._bytes = self._bytes[wire.WORD.size :]
                    return version
                if len(self._bytes) < wire.PACKET.size:
                    break
                self._take(self._next_packet())
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                if _is_unread(self._socket):
                    raise self._hangs()  # the kernel connects in its place, and its silence would look like rest
                # It took the request for a sensitivity, one that is not a number.
                self._send(wire.SENSITIVITY.pack(1.0))
                return 0
            self._receive(left_s)

    def _introduce(self) -> str:
        """Ask for the device and set what depends on it; returns its name."""
        if not self.knows_device:
            return "SpaceMouse (spacenavd, protocol 0)"
        self._ask(wire.pack_request(wire.DEVICE_TYPE))
        mask = wire.MASK_MOTION | wire.MASK_BUTTON | wire.MASK_DEVICE
        self._ask(wire.pack_request(wire.SET_EVENT_MASK, mask))
        self._ask(wire.pack_request(wire.SET_SENSITIVITY, wire.float_bits(1.0)))
        count = self._ask(wire.pack_request(wire.DEVICE_BUTTONS))
        if not count.refused and count.data[0] > 0:
            self._state.press(count.data[0] - 1, False)
        self._full_scale = full_scale(self._ask_text(wire.DEVICE_PATH))
        return f"{self._ask_text(wire.DEVICE_NAME) or 'SpaceMouse'} (spacenavd)"

    def _ask_text(self, kind: int) -> str:
        """Ask for a string, which may come in several answers; empty when there is none."""
        packet = self._ask(wire.pack_request(kind))
        text = packet.text
        while not packet.refused and packet.remaining > wire.TEXT_CHUNK:
            packet = self._await_answer()
            text += packet.text
        shown = "".join(filter(str.isprintable, text.decode(errors="replace")))
        return "" if packet.refused else shown.strip()

    def _ask(self, request: bytes) -> wire.Packet:
        self._send(request)
        return self._await_answer()

    def _await_answer(self) -> wire.Packet:
        """The next answer; events that come before it are taken."""
        deadline_s = time.monotonic() + ANSWER_WITHIN_S
        while True:
            while len(self._bytes) >= wire.PACKET.size:
                packet = self._next_packet()
                self._take(packet)
                if packet.is_answer:
                    return packet
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise self._hangs()
            self._receive(left_s)


def _is_unread(connection: socket.socket) -> bool:
    """Whether the other end of a UNIX socket has not taken all that was sent."""
    return int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder) > 0


def _connect(paths: tuple[str, ...]) -> tuple[socket.socket, str]:
    """Connect to the first daemon that listens at one of ``paths``."""
    problems = []
    for path in paths:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(ANSWER_WITHIN_S)
        try:
            connection.connect(path)
        except OSError as error:
            connection.close()
            problems.append(f"{path} ({error.strerror or error})")
            continue
        return connection, path
    raise DeviceLostError(
        f"no spacenavd at {', '.join(problems)}; install and start it: "
        "apt-get install spacenavd && systemctl start spacenavd"
    )
