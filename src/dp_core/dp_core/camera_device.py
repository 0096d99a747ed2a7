"""The cameras that this stack's own camera node opens: the ``camera_devices`` section of a contract."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dp_core.configuration import ConfigurationError, require_choice, require_range

DRIVERS = ("realsense",)
ENCODINGS = ("rgb8", "bgr8")
JPEG_MODES = ("off", "also", "only")
#: Values of ``rs2_option`` inter_cam_sync_mode, by the name they have here.
SYNC_MODES = {"off": 0, "master": 1, "slave": 2}


@dataclass(frozen=True)
class CameraTopics:
    """Topics of one camera, relative, next to each other as realsense-ros has them."""

    image: str
    compressed: str
    camera_info: str
    metadata: str
    depth: str
    depth_camera_info: str


def camera_topics(image_topic: str) -> CameraTopics:
    """The topics that belong to a colour image.

    Args:
        image_topic: ``topic`` of the camera in the contract, for example ``camera/front/color/image_raw``.
    """
    folder = image_topic.rpartition("/")[0]
    base = folder.removesuffix("/color").removesuffix("color")
    beside, depth = (f"{part}/" if part else "" for part in (folder, base))
    depth += "aligned_depth_to_color/"
    return CameraTopics(
        image=image_topic,
        compressed=f"{image_topic}/compressed",
        camera_info=f"{beside}camera_info",
        metadata=f"{beside}metadata",
        depth=f"{depth}image_raw",
        depth_camera_info=f"{depth}camera_info",
    )


@dataclass(frozen=True)
class CameraDevice:
    """One entry of ``camera_devices``: which device delivers a camera of the contract, and how it is set.

    Size and rate are those of the camera (``cameras.<name>``) unless given here.

    Attributes:
        serial_number: of the device, as ``rs-enumerate-devices -s`` or `dp doctor` prints it.
        driver: realsense.
        width, height: of the stream, pixels; null: as the camera.
        rate_hz: of the stream, Hz; null: as the camera.
        encoding: rgb8 or bgr8.
        exposure_us: exposure of the colour sensor, us; null: automatic.
        gain: of the colour sensor, in the device's own units; null: as the device has it. Needs ``exposure_us``.
        white_balance_K: colour temperature, K; null: automatic.
        depth: publish the depth image aligned to the colour image as well.
        jpeg: off, also (a CompressedImage beside the raw one, while anybody listens) or only (instead of it).
        jpeg_quality: 1 to 100.
        sync_mode: hardware synchronisation of several cameras by their cable: off, master or slave.
        transport_latency_s: the shortest time from acquisition to receipt, s: read-out and USB. No software can see
            it, since even the fastest frame took it; null: half a period of the stream and its bytes at 300 MB/s.
            What is left of the error is measured by `dp calibrate camera` and stands in ``cameras.<name>.latency_s``.
    """

    serial_number: str
    driver: str = "realsense"
    width: int | None = None
    height: int | None = None
    rate_hz: float | None = None
    encoding: str = "rgb8"
    exposure_us: float | None = None
    gain: float | None = None
    white_balance_K: float | None = None
    depth: bool = False
    jpeg: str = "off"
    jpeg_quality: int = 90
    sync_mode: str = "off"
    transport_latency_s: float | None = None

    def __post_init__(self) -> None:
        """Check choices and ranges."""
        require_choice("driver", self.driver, DRIVERS)
        if not self.serial_number.strip():
            raise ConfigurationError("serial_number: '' is not valid; valid: the device's own, such as '819612073628'")
        require_choice("encoding", self.encoding, ENCODINGS)
        require_choice("jpeg", self.jpeg, JPEG_MODES)
        require_choice("sync_mode", self.sync_mode, SYNC_MODES)
        require_range("jpeg_quality", self.jpeg_quality, 1, 100)
        for name, low, high, unit in (
            ("width", 8, 8192, "pixels"),
            ("height", 8, 8192, "pixels"),
            ("rate_hz", 1, 300, "Hz"),
            ("exposure_us", 1, 1_000_000, "us"),
            ("gain", 0, 1000, ""),
            ("white_balance_K", 1000, 12000, "K"),
            ("transport_latency_s", 0, 0.5, "s"),
        ):
            value = getattr(self, name)
            if value is not None:
                require_range(name, value, low, high, unit)
        if self.gain is not None and self.exposure_us is None:
            raise ConfigurationError(
                f"gain: {self.gain} needs exposure_us: automatic exposure sets the gain itself; valid: null, or both"
            )


def require_matching_cameras(devices: Mapping[str, CameraDevice], cameras: Iterable[str]) -> None:
    """Check that each device belongs to a camera, and that no device is used twice.

    Raises:
        ConfigurationError: names the key, its value and what is valid.
    """
    valid = sorted(cameras)
    owners: dict[str, str] = {}
    masters = []
    for name, device in devices.items():
        if name not in valid:
            raise ConfigurationError(f"camera_devices: '{name}' is not a camera; valid: {', '.join(valid)}")
        serial = device.serial_number
        if serial in owners:
            raise ConfigurationError(
                f"camera_devices.{name}.serial_number: '{serial}' is that of {owners[serial]} too; give each its own"
            )
        owners[serial] = name
        masters += [name] if device.sync_mode == "master" else []
    if len(masters) > 1:
        raise ConfigurationError(f"camera_devices: {', '.join(masters)} are all sync_mode master; one at most")
