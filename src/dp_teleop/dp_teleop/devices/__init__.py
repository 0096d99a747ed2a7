"""SpaceMouse drivers without ROS, each behind one interface: loss of the device raises, it never shows as zeros."""

from dp_teleop.devices.device import (
    LOSS_WITHIN_S,
    Clock,
    DeviceLostError,
    DeviceSilentError,
    SpaceMouseDevice,
)
from dp_teleop.devices.gamepad import GamepadDevice
from dp_teleop.devices.hid import HidDevice
from dp_teleop.devices.keyboard import KeyboardDevice
from dp_teleop.devices.selection import KINDS, open_device
from dp_teleop.devices.spacenavd import SpacenavdDevice

__all__ = [
    "KINDS",
    "LOSS_WITHIN_S",
    "Clock",
    "DeviceLostError",
    "DeviceSilentError",
    "GamepadDevice",
    "HidDevice",
    "KeyboardDevice",
    "SpaceMouseDevice",
    "SpacenavdDevice",
    "open_device",
]
