"""Cameras that exist only inside librealsense: its software device, for tests, the benchmark and desks without one.

Frames enter at the sensor and take librealsense's own way from there: queues, metadata, alignment, the context's list
of devices and its callback. What is missing is USB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

_EXPOSURE_RANGE = (1.0, 10_000.0, 1.0, 156.0)
_GAIN_RANGE = (0.0, 128.0, 1.0, 64.0)
_WHITE_BALANCE_RANGE = (2800.0, 6500.0, 10.0, 4600.0)
_SWITCH = (0.0, 1.0, 1.0, 1.0)


class SoftwareContext:
    """A context in which software devices can be plugged in and out.

    librealsense forgets a software device that was added to a context unless somebody keeps the event that announced
    it, so this keeps it, and passes it on.
    """

    def __init__(self) -> None:
        self._context = rs.context()
        self._kept: dict[str, Any] = {}
        self._event: Any = None
        self._listener: Callable[[Any], None] | None = None
        self._context.set_devices_changed_callback(self._announce)

    def set_devices_changed_callback(self, callback: Callable[[Any], None]) -> None:
        """As the context's own."""
        self._listener = callback

    def query_devices(self) -> Any:
        """As the context's own."""
        return self._context.query_devices()

    def plug_in(self, camera: SoftwareCamera) -> None:
        """Connect a camera."""
        camera.device.add_to(self._context)
        self._kept[camera.serial_number] = (self._event, self._event.get_new_devices(), camera)
        self._event = None

    def unplug(self, camera: SoftwareCamera) -> None:
        """Take a camera away; nothing of it arrives any more."""
        event, *_ = self._kept.pop(camera.serial_number)
        camera.unplugged = True
        if self._listener is not None:
            self._listener(event)

    def _announce(self, event: Any) -> None:
        self._event = event
        if self._listener is not None:
            self._listener(event)


class SoftwareCamera:
    """A camera whose frames and clock are given by hand.

    Attributes:
        device: of librealsense.
        color, depth: its sensors; depth is None where there is none.
        unplugged: nothing that is sent arrives.
    """

    def __init__(
        self,
        serial_number: str,
        width: int = 64,
        height: int = 48,
        rate_hz: int = 30,
        depth: bool = False,
        distortion: tuple[str, tuple[float, ...]] = ("inverse_brown_conrady", (0.0,) * 5),
    ) -> None:
        self.serial_number = serial_number
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self.unplugged = False
        self._distortion = distortion
        self.device = rs.software_device()
        information = {"serial_number": serial_number, "name": "Software D435", "firmware_version": "5.16.0.1"}
        for key, value in {**information, "usb_type_descriptor": "3.2"}.items():
            self.device.register_info(getattr(rs.camera_info, key), value)
        self.color = self.device.add_sensor("RGB Camera")
        self._profiles = [self.color.add_video_stream(self._stream(rs.stream.color, rs.format.rgb8, 3, 1), True)]
        for option, values in (
            (rs.option.exposure, _EXPOSURE_RANGE),
            (rs.option.gain, _GAIN_RANGE),
            (rs.option.white_balance, _WHITE_BALANCE_RANGE),
            (rs.option.enable_auto_exposure, _SWITCH),
            (rs.option.enable_auto_white_balance, _SWITCH),
            (rs.option.auto_exposure_priority, _SWITCH),
            (rs.option.global_time_enabled, _SWITCH),
        ):
            self.color.add_option(option, _range(*values))
        self.color.add_read_only_option(rs.option.asic_temperature, 41.5)
        self.depth = self._add_depth() if depth else None

    def send(
        self,
        pixels: NDArray[np.uint8],
        number: int,
        camera_ns: int,
        depth: NDArray[np.uint16] | None = None,
        hardware_clock: bool = True,
    ) -> None:
        """Let a frame come out of the sensor.

        Args:
            pixels: `(height, width, 3) uint8`.
            number: the camera's counter.
            camera_ns: its clock, ns; the counter of 32 bits is that of the caller.
            depth: `(height, width) uint16`, sent just before.
            hardware_clock: whether the stamp is the camera's, with metadata, or the computer's.
        """
        if self.unplugged:
            return
        if depth is not None and self.depth is not None:
            self._send(self.depth, self._profiles[1], depth, 2, number, camera_ns, hardware_clock)
        self._send(self.color, self._profiles[0], pixels, 3, number, camera_ns, hardware_clock)

    def _send(
        self, sensor: Any, profile: Any, image: NDArray[Any], octets: int, number: int, camera_ns: int, hardware: bool
    ) -> None:
        if hardware:
            for key, value in (
                (rs.frame_metadata_value.frame_counter, number),
                (rs.frame_metadata_value.sensor_timestamp, camera_ns // 1_000),
                (rs.frame_metadata_value.actual_exposure, 8_000),
                (rs.frame_metadata_value.gain_level, 32),
            ):
                sensor.set_metadata(key, value)
        frame = rs.software_video_frame()
        frame.pixels = image
        frame.bpp = octets
        frame.stride = image.shape[1] * octets
        frame.timestamp = camera_ns / 1e6
        frame.frame_number = number
        frame.domain = rs.timestamp_domain.hardware_clock if hardware else rs.timestamp_domain.system_time
        frame.profile = profile.as_video_stream_profile()
        sensor.on_video_frame(frame)

    def _add_depth(self) -> Any:
        sensor = self.device.add_sensor("Stereo Module")
        self._profiles.append(sensor.add_video_stream(self._stream(rs.stream.depth, rs.format.z16, 2, 2), True))
        sensor.add_read_only_option(rs.option.depth_units, 0.001)
        sensor.add_option(rs.option.inter_cam_sync_mode, _range(0.0, 2.0, 1.0, 0.0))
        self._profiles[1].register_extrinsics_to(self._profiles[0], _together())
        self.device.create_matcher(rs.matchers.default)
        return sensor

    def _stream(self, kind: Any, layout: Any, octets: int, uid: int) -> Any:
        intrinsics = rs.intrinsics()
        intrinsics.width, intrinsics.height = self.width, self.height
        intrinsics.fx = intrinsics.fy = 0.95 * self.width
        intrinsics.ppx, intrinsics.ppy = 0.5 * self.width, 0.5 * self.height
        intrinsics.model = getattr(rs.distortion, self._distortion[0])
        intrinsics.coeffs = list(self._distortion[1])
        stream = rs.video_stream()
        stream.type, stream.fmt, stream.bpp, stream.uid, stream.index = kind, layout, octets, uid, 0
        stream.width, stream.height, stream.fps = self.width, self.height, self.rate_hz
        stream.intrinsics = intrinsics
        return stream


def _range(low: float, high: float, step: float, default: float) -> Any:
    made = rs.option_range()
    made.min, made.max, made.step, made.default = low, high, step, default
    return made


def _together() -> Any:
    """Extrinsics of two sensors in one place."""
    made = rs.extrinsics()
    made.rotation = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    made.translation = [0.0, 0.0, 0.0]
    return made
