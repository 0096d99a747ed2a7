"""What the node asks of a camera; :mod:`dp_camera.realsense` is the real one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class CameraLostError(RuntimeError):
    """The camera is not there, or not there any more; says which cameras are."""


class CameraSettingError(ValueError):
    """The camera cannot do what the contract asks; names the key, its value and what the camera can do."""


@dataclass(frozen=True)
class CameraModel:
    """A pinhole camera with the distortion model of ROS.

    Attributes:
        width, height: pixels.
        K: `(fx, fy, cx, cy)`, pixels.
        distortion_model: plumb_bob (`k1 k2 t1 t2 k3`), equidistant (`k1 k2 k3 k4`), or empty: not known to ROS.
        D: its coefficients.
    """

    width: int
    height: int
    K: tuple[float, float, float, float]
    distortion_model: str
    D: tuple[float, ...]


@dataclass(frozen=True)
class CameraDescription:
    """A camera that was started.

    Attributes:
        serial_number, product, firmware, connection: as the device gives them; connection is the type of its USB port.
        model: of the colour image, and of the depth image aligned to it.
        depth_unit_m: metres of one step of the depth image; None without depth.
        notes: what the operator should know, for example that the cable makes it USB 2.
    """

    serial_number: str
    product: str
    firmware: str
    connection: str
    model: CameraModel
    depth_unit_m: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CameraFrame:
    """A colour frame, and the depth frame aligned to it where there is one.

    Attributes:
        pixels: `(height, width, 3) uint8`, a view of the driver's buffer, valid as long as this object lives.
        frame_number: the camera's own counter.
        camera_ns: time of the frame on the clock `clock_domain`, ns.
        clock_domain: hardware_clock (the camera's), system_time or global_time.
        wrap_ns: that clock goes on from zero after this much; None: it does not.
        received_ns: when the host had it, monotonic clock, ns.
        exposure_us, gain: negative: not reported.
        depth: `(height, width) uint16`, a view.
        owner: keeps the driver's buffers alive.
    """

    pixels: NDArray[np.uint8]
    frame_number: int
    camera_ns: int
    clock_domain: str
    wrap_ns: int | None
    received_ns: int
    exposure_us: float = -1.0
    gain: float = -1.0
    depth: NDArray[np.uint16] | None = None
    owner: Any = field(default=None, repr=False)


class CameraSource(Protocol):
    """One camera. One thread calls everything; `stop` may be called at any time, and again."""

    def start(self) -> CameraDescription:
        """Find the camera, set it and let it send.

        Raises:
            CameraLostError: it is not connected, or does not answer; lists those that are connected.
            CameraSettingError: it cannot do what is asked.
        """

    def wait(self, timeout_s: float) -> CameraFrame | None:
        """The next frame; None when none came in time.

        Raises:
            CameraLostError: it was unplugged.
            BadFrameError: what came is no frame of the size that was asked for.
        """

    def temperatures_celsius(self) -> dict[str, float]:
        """Temperatures by the name of their place; empty where none is reported."""

    def stop(self) -> None:
        """Let it rest; it may be started again."""


class BadFrameError(ValueError):
    """A frame of the wrong size or layout, or none at all where one was announced."""
