"""Streams and options of a RealSense device, checked against what the device says it can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyrealsense2 as rs
from dp_core.camera_device import SYNC_MODES, CameraDevice

from dp_camera.camera_source import CameraSettingError

#: The colour sensors of the D400 count exposure in units of UVC, 100 us, and reach to 10,000 of them; the stereo
#: sensors, which also give the colour of a D405, count in microseconds and reach farther.
_UVC_EXPOSURE_US = 100.0
_UVC_EXPOSURE_MAX = 10_000.0


@dataclass(frozen=True)
class StreamChoice:
    """Size, rate and layout of a stream that is asked for."""

    width: int
    height: int
    rate_hz: float
    encoding: str


def find_profile(device: Any, kind: Any, layout: Any, choice: StreamChoice, key: str) -> tuple[Any, Any]:
    """The sensor that has a stream, and the stream's profile.

    Raises:
        CameraSettingError: no such stream; lists the sizes and rates there are.
    """
    there = []
    for sensor in device.query_sensors():
        for profile in sensor.get_stream_profiles():
            if profile.stream_type() != kind or profile.format() != layout:
                continue
            video = profile.as_video_stream_profile()
            size = (video.width(), video.height(), profile.fps())
            if size == (choice.width, choice.height, round(choice.rate_hz)):
                return sensor, profile
            there.append(size)
    sizes = ", ".join(f"{w}x{h} at {fps} Hz" for w, h, fps in sorted(set(there)))
    wanted = f"{choice.width}x{choice.height} at {choice.rate_hz:g} Hz"
    raise CameraSettingError(f"{key}: no stream {layout.name} of {wanted}; valid: {sizes or 'none on this device'}")


def color_layout(encoding: str) -> Any:
    """The format of librealsense for a ROS encoding."""
    return {"rgb8": rs.format.rgb8, "bgr8": rs.format.bgr8}[encoding]


def apply_settings(device: Any, color: Any, spec: CameraDevice) -> list[str]:
    """Set a device as its section of the contract says.

    Args:
        device: of librealsense.
        color: its sensor that delivers colour.
        spec: what to set.

    Returns:
        Notes: what could not be set and does no harm.

    Raises:
        CameraSettingError: an option that is asked for does not exist, or the value is out of its range.
    """
    notes: list[str] = []
    for sensor in device.query_sensors():
        # Off: the sensor's own clock, which our fit maps to the ROS clock; on: an average over some seconds of USB.
        if sensor.supports(rs.option.global_time_enabled):
            sensor.set_option(rs.option.global_time_enabled, 0.0)
    _set_automatic(color, rs.option.enable_auto_exposure, spec.exposure_us is None, "exposure_us", notes)
    if color.supports(rs.option.auto_exposure_priority):
        # On, which is the default, automatic exposure lowers the rate when it is dark.
        color.set_option(rs.option.auto_exposure_priority, 0.0)
    if spec.exposure_us is not None:
        unit_us = exposure_unit_us(color)
        set_option(color, rs.option.exposure, spec.exposure_us / unit_us, "exposure_us", unit_us, "us")
    if spec.gain is not None:
        set_option(color, rs.option.gain, spec.gain, "gain")
    _set_automatic(color, rs.option.enable_auto_white_balance, spec.white_balance_K is None, "white_balance_K", notes)
    if spec.white_balance_K is not None:
        set_option(color, rs.option.white_balance, spec.white_balance_K, "white_balance_K", unit="K")
    _set_sync(device, spec, notes)
    return notes


def exposure_unit_us(sensor: Any) -> float:
    """Microseconds of one step of a sensor's exposure."""
    if not sensor.supports(rs.option.exposure):
        return 1.0
    uvc = not sensor.is_depth_sensor() and sensor.get_option_range(rs.option.exposure).max <= _UVC_EXPOSURE_MAX
    return _UVC_EXPOSURE_US if uvc else 1.0


def set_option(sensor: Any, option: Any, value: float, key: str, scale: float = 1.0, unit: str = "") -> None:
    """Set an option, to the nearest of its steps.

    Args:
        sensor: of librealsense.
        option: which.
        value: in the sensor's unit.
        key: of the contract, for errors.
        scale: units of the contract in one unit of the sensor.
        unit: of the contract.

    Raises:
        CameraSettingError: the sensor has no such option, or the value is out of its range.
    """
    if not sensor.supports(option):
        raise CameraSettingError(f"{key}: sensor '{_name(sensor)}' has no option {option.name}; valid: leave it out")
    reach = sensor.get_option_range(option)
    if not reach.min <= value <= reach.max:
        low, high = reach.min * scale, reach.max * scale
        valid = f"{low:.10g} to {high:.10g} {unit}".rstrip()
        raise CameraSettingError(
            f"{key}: {value * scale:.10g} is out of range of sensor '{_name(sensor)}'; valid: {valid}"
        )
    if reach.step > 0:
        value = reach.min + round((value - reach.min) / reach.step) * reach.step
    sensor.set_option(option, float(value))


def _set_automatic(sensor: Any, option: Any, on: bool, key: str, notes: list[str]) -> None:
    """Switch an automatic on or off; a sensor without it is as if it were off."""
    if sensor.supports(option):
        sensor.set_option(option, 1.0 if on else 0.0)
    elif on:
        notes.append(f"{key}: no automatic on sensor '{_name(sensor)}'")


def _set_sync(device: Any, spec: CameraDevice, notes: list[str]) -> None:
    option = rs.option.inter_cam_sync_mode
    sensors = [sensor for sensor in device.query_sensors() if sensor.supports(option)]
    if not sensors and spec.sync_mode != "off":
        raise CameraSettingError(f"sync_mode: {spec.sync_mode}: the device has no hardware synchronisation; valid: off")
    for sensor in sensors:
        set_option(sensor, option, SYNC_MODES[spec.sync_mode], "sync_mode")


def _name(sensor: Any) -> str:
    return str(sensor.get_info(rs.camera_info.name)) if sensor.supports(rs.camera_info.name) else "without name"
