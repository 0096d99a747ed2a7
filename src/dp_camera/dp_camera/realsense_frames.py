"""Frames of librealsense as :class:`dp_camera.camera_source.CameraFrame`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyrealsense2 as rs
from numpy.typing import NDArray

from dp_camera.camera_model import camera_model
from dp_camera.camera_source import BadFrameError, CameraFrame, CameraModel

#: The camera's counter of microseconds has 32 bits: it begins anew every 71.6 minutes.
WRAP_NS = (1 << 32) * 1_000
_METADATA = rs.frame_metadata_value


def read_frame(color: Any, depth: Any, width: int, height: int, received_ns: int) -> CameraFrame:
    """Take a colour frame, and its depth frame or None.

    Raises:
        BadFrameError: no frame, or not of this size.
    """
    if not color:
        raise BadFrameError("no colour in the frame set")
    pixels: NDArray[np.uint8] = np.asanyarray(color.get_data())
    if pixels.shape != (height, width, 3) or pixels.dtype != np.uint8:
        raise BadFrameError(f"colour frame of {pixels.shape} {pixels.dtype}, wanted ({height}, {width}, 3) uint8")
    depths = np.asanyarray(depth.get_data()) if depth else None
    if depths is not None and (depths.shape != (height, width) or depths.dtype != np.uint16):
        raise BadFrameError(f"depth frame of {depths.shape} {depths.dtype}, wanted ({height}, {width}) uint16")
    camera_ns, domain, wrap_ns = frame_time(color)
    return CameraFrame(
        pixels=pixels,
        frame_number=int(_metadata(color, _METADATA.frame_counter, color.get_frame_number())),
        camera_ns=camera_ns,
        clock_domain=domain,
        wrap_ns=wrap_ns,
        received_ns=received_ns,
        exposure_us=float(_metadata(color, _METADATA.actual_exposure, -1)),
        gain=float(_metadata(color, _METADATA.gain_level, -1)),
        depth=depths,
        owner=(color, depth),
    )


def frame_time(frame: Any) -> tuple[int, str, int | None]:
    """When the light fell on the sensor: time, ns, its clock, and after how long that wraps.

    The sensor's own time is that of the middle of the exposure. Without metadata (a kernel that hands none through)
    librealsense stamps the arrival by the computer's clock.
    """
    domain = frame.get_frame_timestamp_domain()
    if domain == rs.timestamp_domain.hardware_clock:
        if frame.supports_frame_metadata(_METADATA.sensor_timestamp):
            return int(frame.get_frame_metadata(_METADATA.sensor_timestamp)) * 1_000, domain.name, WRAP_NS
        return round(frame.get_timestamp() * 1e6), domain.name, WRAP_NS
    return round(frame.get_timestamp() * 1e6), domain.name, None


def read_model(profile: Any) -> CameraModel:
    """Intrinsics of a stream."""
    given = profile.as_video_stream_profile().get_intrinsics()
    K = (float(given.fx), float(given.fy), float(given.ppx), float(given.ppy))
    coefficients = tuple(float(c) for c in given.coeffs)
    return camera_model(int(given.width), int(given.height), K, given.model.name, coefficients)


def _metadata(frame: Any, key: Any, otherwise: float) -> float:
    return frame.get_frame_metadata(key) if frame.supports_frame_metadata(key) else otherwise
