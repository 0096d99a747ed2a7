"""Checks of the cameras: on USB, by their driver, and against the cells that name them."""

from __future__ import annotations

from dp_core.configuration import ConfigurationError
from dp_core.contract import config_directory, load_contract

from dp_bringup.finding import OK, WARN, Finding
from dp_bringup.usb_bus import usb_devices

REALSENSE_VENDOR, REALSENSE_NAME = "8086", "RealSense"


def check_camera() -> Finding:
    """A RealSense camera on USB."""
    names = [name for vendor, name in usb_devices() if vendor == REALSENSE_VENDOR and REALSENSE_NAME in name]
    if names:
        return Finding("camera", OK, ", ".join(names))
    return Finding("camera", WARN, "no RealSense", "no real cell; the simulated cell renders its own", "plug it in")


def check_camera_devices() -> Finding:
    """The driver of RealSense cameras, and whether it finds those that cells name in `camera_devices`."""
    cost = "no camera_node; realsense-ros or another driver has to publish the images"
    try:
        import pyrealsense2
        from dp_camera.realsense_devices import ConnectedCameras

        there = ConnectedCameras()
        found = "; ".join(there.list()) or "no camera"
        absent = [camera for camera in wanted_cameras() if not there.is_there(camera[2])]
    except ImportError as error:
        return Finding("camera driver", WARN, str(error), cost, "pip install pyrealsense2")
    except RuntimeError as error:
        return Finding("camera driver", WARN, f"librealsense: {error}", cost, "its udev rules, and a USB 3 port")
    version = f"pyrealsense2 {pyrealsense2.__version__}"
    if absent:
        missing = ", ".join(f"{cell}: {name} ({serial})" for cell, name, serial in absent)
        text = f"{version}, found: {found}; not found: {missing}"
        return Finding("camera driver", WARN, text, "these cells have no pictures", "plug them in, or correct the cell")
    return Finding("camera driver", OK, f"{version}, found: {found}")


def wanted_cameras() -> list[tuple[str, str, str]]:
    """`(cell, camera, serial number)` of each camera that a cell of the configuration opens itself."""
    wanted = []
    for path in sorted((config_directory() / "cells").glob("*.yaml")):
        try:
            devices = load_contract(path).camera_devices
        except ConfigurationError:
            continue  # what is wrong with a cell is told by whoever uses it
        wanted += [(path.stem, name, device.serial_number) for name, device in devices.items()]
    return wanted
