"""A RealSense camera, through librealsense's sensor interface.

The same code drives a device on USB, a recorded stream (`rs.context.load_device`) and librealsense's software device:
they differ only in the context that :class:`dp_camera.realsense_devices.ConnectedCameras` is given.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyrealsense2 as rs
from dp_core.camera_device import CameraDevice

from dp_camera.camera_source import CameraDescription, CameraFrame, CameraLostError
from dp_camera.realsense_devices import ConnectedCameras, describe, information
from dp_camera.realsense_frames import read_frame, read_model
from dp_camera.realsense_settings import StreamChoice, apply_settings, color_layout, find_profile

#: Frames that wait for a thread that was kept from running. A camera has 16 buffers; each has its own true stamp.
_QUEUE_FRAMES = 8
#: Starts in a row without a frame after which the camera is reset: some hang until their power is cut, or this is done.
_FRUITLESS_STARTS = 3
_TEMPERATURES = ("asic_temperature", "projector_temperature", "motion_module_temperature")


@dataclass
class _Running:
    """What lives while the camera sends."""

    device: Any
    sensors: list[Any]
    queue: Any
    align: Any
    changes: int


class RealSenseCamera:
    """One camera by serial number. See :class:`dp_camera.camera_source.CameraSource`.

    Args:
        cameras: what is connected.
        spec: entry of `camera_devices`.
        width: of the colour image, pixels.
        height: of the colour image, pixels.
        rate_hz: Hz.
    """

    def __init__(self, cameras: ConnectedCameras, spec: CameraDevice, width: int, height: int, rate_hz: float) -> None:
        self._cameras = cameras
        self._spec = spec
        self._choice = StreamChoice(spec.width or width, spec.height or height, spec.rate_hz or rate_hz, spec.encoding)
        self._running: _Running | None = None
        self._fruitless = 0

    def start(self) -> CameraDescription:
        """Find the device, set it, start its streams."""
        self.stop()
        changes = self._cameras.changes
        device = self._cameras.find(self._spec.serial_number)
        self._reset_if_stuck(device)
        layout = color_layout(self._spec.encoding)
        try:
            color, profile = find_profile(device, rs.stream.color, layout, self._choice, "width, height, rate_hz")
            # A recording was made with the settings that it was made with.
            notes = [] if device.is_playback() else apply_settings(device, color, self._spec)
            wanted = [(color, [profile])]
            if self._spec.depth:
                self._add_depth(device, color, wanted)
            running = _Running(device, [], _queue(self._spec.depth), None, changes)
            if self._spec.depth:
                running.align = rs.align(rs.stream.color)
            self._running = running
            for sensor, profiles in wanted:
                sensor.open(profiles if len(profiles) > 1 else profiles[0])
                running.sensors.append(sensor)
            for sensor in running.sensors:
                sensor.start(running.queue)
            model = read_model(profile)
            unit_m = _depth_unit_m(wanted) if self._spec.depth else None
        except RuntimeError as error:
            self.stop()
            raise CameraLostError(f"{describe(device)} does not start: {error}") from None
        return CameraDescription(
            serial_number=self._spec.serial_number,
            product=information(device, "name"),
            firmware=information(device, "firmware_version"),
            connection=information(device, "usb_type_descriptor"),
            model=model,
            depth_unit_m=unit_m,
            notes=(*notes, *_port_notes(device)),
        )

    def wait(self, timeout_s: float) -> CameraFrame | None:
        """The next frame; while none comes, whether the device is still there."""
        running = self._running
        if running is None:
            raise CameraLostError(f"camera {self._spec.serial_number} was not started")
        try:
            taken = self._take(running, timeout_s)
            if taken is not None:
                self._fruitless = 0
                color, depth, received_ns = taken
                return read_frame(color, depth, self._choice.width, self._choice.height, received_ns)
        except RuntimeError as error:
            raise CameraLostError(f"camera {self._spec.serial_number}: {error}") from None
        changes = self._cameras.changes
        if changes == running.changes:
            return None
        try:
            there = self._cameras.is_there(self._spec.serial_number)
        except RuntimeError:
            return None  # another camera comes or goes: asked again at the next silence
        running.changes = changes
        if not there:
            raise CameraLostError(f"camera {self._spec.serial_number} was unplugged")
        return None

    def temperatures_celsius(self) -> dict[str, float]:
        """What the device's sensors report."""
        running = self._running
        found: dict[str, float] = {}
        if running is None:
            return found
        for sensor in running.sensors:
            for name in _TEMPERATURES:
                option = getattr(rs.option, name)
                with suppress(RuntimeError):  # not while the device restarts
                    if sensor.supports(option):
                        found[name.removesuffix("_temperature")] = float(sensor.get_option(option))
        return found

    def stop(self) -> None:
        """Stop and close the sensors; a device that is gone does not mind."""
        running, self._running = self._running, None
        if running is None:
            return
        for action in ("stop", "close"):
            for sensor in running.sensors:
                with suppress(RuntimeError):
                    getattr(sensor, action)()

    def _reset_if_stuck(self, device: Any) -> None:
        if self._fruitless < _FRUITLESS_STARTS:
            self._fruitless += 1
            return
        self._fruitless = 0
        with suppress(RuntimeError):
            device.hardware_reset()  # it leaves USB and comes back after some seconds
        raise CameraLostError(f"{describe(device)} sent nothing after {_FRUITLESS_STARTS} starts and was reset")

    def _add_depth(self, device: Any, color: Any, wanted: list[tuple[Any, list[Any]]]) -> None:
        """The depth stream at the colour stream's size; one sensor may deliver both (D405)."""
        sensor, profile = find_profile(device, rs.stream.depth, rs.format.z16, self._choice, "depth")
        if _is_same(sensor, color):
            wanted[0][1].append(profile)
        else:
            wanted.append((sensor, [profile]))

    def _take(self, running: _Running, timeout_s: float) -> tuple[Any, Any, int] | None:
        """Colour, depth (or None) and receipt of the next frame set that has colour; None when none came in time."""
        if running.align is None:
            got, frame = running.queue.try_wait_for_frame(max(1, round(1e3 * timeout_s)))
            return (frame.as_video_frame(), None, time.monotonic_ns()) if got else None
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0.0:
            got, frames = running.queue.try_wait_for_frames(max(1, round(1e3 * left_s)))
            received_ns = time.monotonic_ns()  # before the alignment, which takes its time
            if got and frames.get_color_frame():
                if frames.get_depth_frame():
                    frames = running.align.process(frames)
                return frames.get_color_frame(), frames.get_depth_frame(), received_ns
        return None


def _queue(synchronised: bool) -> Any:
    return rs.syncer(_QUEUE_FRAMES) if synchronised else rs.frame_queue(_QUEUE_FRAMES, keep_frames=True)


def _is_same(one: Any, other: Any) -> bool:
    return bool(one.get_info(rs.camera_info.name) == other.get_info(rs.camera_info.name))


def _depth_unit_m(wanted: list[tuple[Any, list[Any]]]) -> float:
    for sensor, _ in wanted:
        if sensor.supports(rs.option.depth_units):
            return float(sensor.get_option(rs.option.depth_units))
    return 0.001


def _port_notes(device: Any) -> tuple[str, ...]:
    port = information(device, "usb_type_descriptor")
    if port.startswith("2"):
        return (f"on USB {port}: few sizes and rates; use a USB 3 port and cable",)
    return ()
