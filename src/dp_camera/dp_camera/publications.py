"""What a camera tells: images, camera_info, metadata of each frame, diagnostics."""

from __future__ import annotations

from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from dp_core.camera_device import CameraDevice, CameraTopics
from dp_core.images import encode_jpeg
from dp_ros.loop_diagnostics import key_values
from dp_ros.messages import ns_to_stamp
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dp_camera.camera_health import HealthReport
from dp_camera.camera_source import CameraDescription, CameraFrame, CameraModel
from dp_camera.frame_stamps import FrameStamp
from dp_camera.serialized_image import SerializedCompressedImage, SerializedImage
from dp_msgs.msg import FrameMetadata
from dp_ros import qos


class CameraPublications:
    """The publishers of one camera; `started` and `publish` are called by its thread.

    Args:
        node: owns the publishers.
        name: of the camera.
        topics: their names.
        device: what to publish.
    """

    def __init__(self, node: Node, name: str, topics: CameraTopics, device: CameraDevice) -> None:
        self._device = device
        self._frame_id = f"{name}_color_optical_frame"

        def publisher(kind: Any, topic: str, wanted: bool = True) -> Any:
            # What is small is kept for longer: a reader that falls behind loses none of it.
            profile = qos.IMAGE if kind in (Image, CompressedImage) else qos.STATE
            return node.create_publisher(kind, topic, profile) if wanted else None

        self._image = publisher(Image, topics.image, device.jpeg != "only")
        self._jpeg = publisher(CompressedImage, topics.compressed, device.jpeg != "off")
        self._info = publisher(CameraInfo, topics.camera_info)
        self._metadata = publisher(FrameMetadata, topics.metadata)
        self._depth = publisher(Image, topics.depth, device.depth)
        self._depth_info = publisher(CameraInfo, topics.depth_camera_info, device.depth)
        self._raw_images: SerializedImage | None = None
        self._raw_depths: SerializedImage | None = None
        self._raw_jpegs = SerializedCompressedImage(self._frame_id, device.encoding)
        self._info_message = CameraInfo()
        self._metadata_message = FrameMetadata()
        self._metadata_message.header.frame_id = self._frame_id

    def started(self, description: CameraDescription) -> None:
        """Learn the size and the intrinsics."""
        model = description.model
        size = (self._frame_id, model.width, model.height)
        self._raw_images = SerializedImage(*size, self._device.encoding, 3)
        self._raw_depths = SerializedImage(*size, "16UC1", 2)
        self._info_message = camera_info(self._frame_id, model)

    def publish(self, frame: CameraFrame, times: FrameStamp) -> None:
        """One frame: the image first, what explains it after it."""
        if self._raw_images is None or self._raw_depths is None:
            raise RuntimeError("publish was called before started")
        if self._image is not None:
            self._image.publish(self._raw_images.serialize(frame.pixels, times.stamp_ns))
        stamp = ns_to_stamp(times.stamp_ns)
        self._info_message.header.stamp = stamp
        self._info.publish(self._info_message)
        self._metadata.publish(self._fill_metadata(frame, times, stamp))
        if self._jpeg is not None and self._jpeg.get_subscription_count():
            rgb = frame.pixels if self._device.encoding == "rgb8" else np.ascontiguousarray(frame.pixels[..., ::-1])
            data = encode_jpeg(rgb, self._device.jpeg_quality)
            self._jpeg.publish(self._raw_jpegs.serialize(data, times.stamp_ns))
        if self._depth is not None and frame.depth is not None:
            self._depth.publish(self._raw_depths.serialize(frame.depth, times.stamp_ns))
            self._depth_info.publish(self._info_message)

    def _fill_metadata(self, frame: CameraFrame, times: FrameStamp, stamp: Any) -> FrameMetadata:
        message = self._metadata_message
        message.header.stamp = stamp
        message.frame_number = frame.frame_number
        message.sensor_time_ns = frame.camera_ns
        message.clock_domain = frame.clock_domain
        message.received_ns = times.received_ns
        message.stamp_uncertainty_ns = times.uncertainty_ns
        message.exposure_us = frame.exposure_us
        message.gain = frame.gain
        return message


def camera_info(frame_id: str, model: CameraModel) -> CameraInfo:
    """The message of a camera model: no rectification, projection as the camera is."""
    fx, fy, cx, cy = model.K
    message = CameraInfo(width=model.width, height=model.height, distortion_model=model.distortion_model)
    message.header.frame_id = frame_id
    message.d = [float(value) for value in model.D]
    message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def diagnostic_status(name: str, serial_number: str, report: HealthReport) -> DiagnosticStatus:
    """The status of a camera."""
    status = DiagnosticStatus(name=f"camera: {name}", hardware_id=serial_number, message=report.message)
    status.level = bytes([report.level])
    status.values = key_values(report.values)
    return status
