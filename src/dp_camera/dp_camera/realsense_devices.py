"""The RealSense cameras that are connected, by serial number."""

from __future__ import annotations

import threading
from typing import Any

import pyrealsense2 as rs

from dp_camera.camera_source import CameraLostError


class ConnectedCameras:
    """The devices of one librealsense context, shared by all cameras of a process; any thread may ask.

    Args:
        context: a context of librealsense, or what behaves like one; None makes one that sees USB.
    """

    def __init__(self, context: Any = None) -> None:
        self._context = context if context is not None else rs.context()
        self._lock = threading.Lock()
        self._changes = 0
        self._context.set_devices_changed_callback(self._changed)

    @property
    def changes(self) -> int:
        """Counts up whenever a device comes or goes."""
        return self._changes

    def find(self, serial_number: str) -> Any:
        """The device with this serial number.

        Raises:
            CameraLostError: it is not connected, or librealsense cannot say; lists those that are.
        """
        try:
            devices = self._listed()
        except RuntimeError as error:
            raise CameraLostError(f"librealsense cannot list its cameras: {error}") from None
        for device in devices:
            if information(device, "serial_number") == serial_number:
                return device
        found = "; ".join(describe(device) for device in devices) or "none"
        raise CameraLostError(f"no RealSense with serial number {serial_number}; connected: {found}")

    def is_there(self, serial_number: str) -> bool:
        """Whether a device is connected.

        Raises:
            RuntimeError: librealsense cannot say, as while another device comes or goes.
        """
        return any(information(device, "serial_number") == serial_number for device in self._listed())

    def list(self) -> list[str]:
        """One line for each device; RuntimeError as in :meth:`is_there`."""
        return [describe(device) for device in self._listed()]

    def _listed(self) -> tuple[Any, ...]:
        with self._lock:
            return tuple(self._context.query_devices())

    def _changed(self, event: Any) -> None:
        self._changes += 1  # on librealsense's thread: nothing may be asked of it here


def describe(device: Any) -> str:
    """Serial number, product and port of a device, for people."""
    port = information(device, "usb_type_descriptor")
    return (
        f"{information(device, 'serial_number') or 'without serial number'} "
        f"({information(device, 'name') or 'unknown product'}, {f'USB {port}' if port else 'not on USB'})"
    )


def information(device: Any, key: str) -> str:
    """An entry of `rs.camera_info`; empty where the device has none, or is going away."""
    try:
        kind = getattr(rs.camera_info, key)
        return str(device.get_info(kind)) if device.supports(kind) else ""
    except RuntimeError:
        return ""
