"""Opens the SpaceMouse that a configuration names, or finds one."""

from __future__ import annotations

from dp_teleop.devices.device import Clock, DeviceLostError, SpaceMouseDevice
from dp_teleop.devices.gamepad import GamepadDevice
from dp_teleop.devices.hid import HidDevice
from dp_teleop.devices.keyboard import KeyboardDevice
from dp_teleop.devices.spacenavd import SpacenavdDevice

KINDS = ("auto", "spacenavd", "hid", "keyboard", "gamepad")


def open_device(kind: str, path: str, now_ns: Clock, buttons: int, clutch_button: int = 1) -> SpaceMouseDevice:
    """Open a SpaceMouse or what stands for it.

    ``auto`` takes spacenavd when it says that it has a device, else the raw device, else a spacenavd so old that it
    cannot say (protocol 0). It never takes a keyboard or gamepad: nobody should steer an arm by accident.

    Opening takes milliseconds (100 ms with spacenavd 0.x): called again every 0.1 s after a loss, it finds a device
    within 0.2 s of its return, counted from when the kernel, or the daemon, offers it.

    Args:
        kind: one of :data:`KINDS`.
        path: socket (spacenavd), path or serial number (hid), terminal (keyboard) or /dev/input/jsN (gamepad); empty
            finds it.
        now_ns: ROS clock, for stamps.
        buttons: how many buttons to report at least, where the device does not say how many it has.
        clutch_button: number of the button that the space bar of a keyboard holds down; negative: none.

    Raises:
        DeviceLostError: there is none; the text says what was tried and why that failed.
        ValueError: unknown kind.
    """
    if kind == "auto":
        return _find(path, now_ns, buttons)
    if kind == "spacenavd":
        return SpacenavdDevice(now_ns, path, buttons)
    if kind == "hid":
        return HidDevice(now_ns, path)
    if kind == "keyboard":
        return KeyboardDevice(now_ns, path, buttons, clutch_button)
    if kind == "gamepad":
        return GamepadDevice(now_ns, path, buttons)
    raise ValueError(f"unknown kind of device '{kind}'; there are {', '.join(KINDS)}")


def _find(path: str, now_ns: Clock, buttons: int) -> SpaceMouseDevice:
    daemon: SpacenavdDevice | None = None
    problems = []
    try:
        daemon = SpacenavdDevice(now_ns, path, buttons)
        if daemon.knows_device:
            return daemon
    except DeviceLostError as error:
        problems.append(f"spacenavd: {error}")
    try:
        device = HidDevice(now_ns, path)
    except DeviceLostError as error:
        if daemon is not None:
            return daemon
        problems.append(f"hid: {error}")
        raise DeviceLostError(f"no SpaceMouse found. Tried {'; and '.join(problems)}") from error
    if daemon is not None:
        daemon.close()
    return device
