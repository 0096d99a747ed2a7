"""A virtual SpaceMouse on a gamepad, read through the joystick interface of Linux (/dev/input/js*)."""

from __future__ import annotations

import fcntl
import glob
import os
import select
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dp_teleop.devices.device import MOST_BUTTONS, Clock, DeviceLostError, ReportedState
from dp_teleop.sample import SpaceMouseSample

# struct js_event of linux/joystick.h: milliseconds, value, type, number; the ioctl that reads the name.
EVENT = struct.Struct("=IhBB")
BUTTON, AXIS, INITIAL = 0x01, 0x02, 0x80
_FULL_SCALE = 32767.0
SYSFS = Path("/sys/class/input")
_BLUETOOTH = 0x05  # BUS_BLUETOOTH of linux/input.h
_NAME_BYTES = 128
_READ_NAME = 0x80006A13 | _NAME_BYTES << 16

# Sticks and triggers as the kernel numbers them for Xbox and PlayStation pads.
_LEFT_X, _LEFT_Y, _LEFT_TRIGGER, _RIGHT_X, _RIGHT_Y, _RIGHT_TRIGGER, _PAD_X = range(7)
_AXES = 8
# A B X Y LB RB: the gripper on A, the clutch where a finger can hold it, on RB; the others follow.
_BUTTON_ORDER = (0, 5, 1, 2, 3, 4)


def button_number(pad_button: int) -> int:
    """Button of the pad to button of the virtual SpaceMouse: A is 0, RB is 1, then B X Y LB, the rest as they are."""
    return _BUTTON_ORDER.index(pad_button) if pad_button < len(_BUTTON_ORDER) else pad_button


def sticks_to_base_frame(sticks: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8,) axes of the pad in [-1, 1], right and down positive, released triggers -1, to (6,) axes of the base frame.

    Left stick: forward and left. Right trigger up, left trigger down. Right stick: nose down (forward) and turn;
    roll on the directional pad.
    """
    up = (sticks[_RIGHT_TRIGGER] - sticks[_LEFT_TRIGGER]) / 2.0
    return np.array(
        [-sticks[_LEFT_Y], -sticks[_LEFT_X], up, sticks[_PAD_X], -sticks[_RIGHT_Y], -sticks[_RIGHT_X]],
    )


@dataclass(frozen=True)
class FoundPad:
    """A gamepad that is connected."""

    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} at {self.path}"


class GamepadDevice:
    """Reads a gamepad.

    An unplugged pad makes the read fail at once. One that is connected by Bluetooth and gets out of reach is unplugged
    by the kernel as well, but only when the link times out, up to 20 s later (the default of BlueZ); until then its
    sticks and buttons stay as they were, so that ``tells_every_loss`` is False. The kernel reports changes only, so
    that a stick held still is confirmed by the open device alone. A stick that is held while the pad is opened counts
    as at rest until it moves: some drivers report nonsense before the first move.

    Args:
        now_ns: ROS clock, for stamps.
        path: ``/dev/input/js0``; empty takes the only one.
        buttons: number of buttons to report at least.

    Raises:
        DeviceLostError: none connected, several, or no permission.
    """

    def __init__(self, now_ns: Clock, path: str = "", buttons: int = 2) -> None:
        self._now_ns = now_ns
        self._found = FoundPad(path, os.path.basename(path)) if path else _only_pad()
        self._state = ReportedState(buttons)
        self._sticks = np.zeros(_AXES)
        self._sticks[[_LEFT_TRIGGER, _RIGHT_TRIGGER]] = -1.0
        self._bytes = b""
        self._open = False
        try:
            self._file = os.open(self._found.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise DeviceLostError(
                f"cannot open gamepad {self._found.path} ({error.strerror}); connected: "
                f"{'; '.join(map(str, find_pads())) or 'none'}. Reading it may need: sudo usermod -aG input $USER"
            ) from error
        self._open = True
        self._name = f"{_pad_name(self._file) or self._found.name} (gamepad)"
        self._by_bluetooth = _is_by_bluetooth(self._found.path)

    @property
    def name(self) -> str:
        """The pad's own name."""
        return self._name

    @property
    def tells_every_loss(self) -> bool:
        """Not of a pad that is connected by Bluetooth, whose loss shows late."""
        return not self._by_bluetooth

    @property
    def figures(self) -> dict[str, str]:
        """None."""
        return {}

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` for news; returns the present deflection either way.

        Raises:
            DeviceLostError: the pad is gone.
        """
        try:
            self._take_news(timeout_s)
        except DeviceLostError:
            self.close()
            raise
        return SpaceMouseSample(self._now_ns(), sticks_to_base_frame(self._sticks), tuple(self._state.buttons))

    def close(self) -> None:
        """Close the pad; a second call does nothing."""
        if self._open:
            self._open = False
            os.close(self._file)

    def _take_news(self, timeout_s: float) -> None:
        if not self._open:
            raise DeviceLostError(f"{self._found} is closed")
        if self._take_events():
            return
        try:
            ready = select.select([self._file], [], [], timeout_s)[0]
            data = os.read(self._file, 64 * EVENT.size) if ready else None
        except BlockingIOError:
            data = None
        except OSError as error:
            raise DeviceLostError(f"{self._found} was unplugged ({error.strerror})") from error
        if data == b"":
            raise DeviceLostError(f"{self._found} was unplugged")
        self._bytes += data or b""
        self._take_events()

    def _take_events(self) -> bool:
        """Take events up to the first press or release, so that none is skipped; whether there was one."""
        while len(self._bytes) >= EVENT.size:
            _, value, kind, number = EVENT.unpack_from(self._bytes)
            self._bytes = self._bytes[EVENT.size :]
            if kind == AXIS and number < _AXES:
                self._sticks[number] = max(value / _FULL_SCALE, -1.0)
            elif kind & ~INITIAL == BUTTON and number < MOST_BUTTONS:
                self._state.press(button_number(number), bool(value))
                if kind == BUTTON:
                    return True
        return False


def find_pads() -> list[FoundPad]:
    """All gamepads that may be read; SpaceMice, which the kernel offers here as well, are left out."""
    pads = []
    for path in sorted(glob.glob("/dev/input/js*")):
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            pads.append(FoundPad(path, f"joystick ({error.strerror})"))
            continue
        try:
            name = _pad_name(file)
        finally:
            os.close(file)
        if "3dconnexion" not in name.lower() and "space" not in name.lower():
            pads.append(FoundPad(path, name or "joystick"))
    return pads


def _only_pad() -> FoundPad:
    pads = find_pads()
    if not pads:
        raise DeviceLostError("no gamepad is connected (no /dev/input/js*; the kernel module is joydev)")
    if len(pads) > 1:
        raise DeviceLostError(f"{len(pads)} gamepads are connected; name one by path: {'; '.join(map(str, pads))}")
    return pads[0]


def _pad_name(file: int) -> str:
    """Name that the driver tells, or nothing."""
    try:
        return fcntl.ioctl(file, _READ_NAME, bytes(_NAME_BYTES)).split(b"\0")[0].decode(errors="replace").strip()
    except OSError:
        return ""


def _is_by_bluetooth(path: str) -> bool:
    """Whether the kernel says that a pad is connected by Bluetooth; a device that it does not know is not."""
    name = os.path.basename(os.path.realpath(path))
    try:
        return int((SYSFS / name / "device/id/bustype").read_text(), 16) == _BLUETOOTH
    except (OSError, ValueError):
        return False
