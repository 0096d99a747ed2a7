"""What is published of a frame, beside the raw image: depth, JPEG, and what explains them."""

import cv2
import numpy as np
import pytest
from dp_camera.camera_source import CameraDescription, CameraFrame, CameraModel
from dp_camera.frame_stamps import FrameStamp
from dp_camera.publications import CameraPublications
from dp_core.camera_device import CameraDevice, camera_topics
from dp_ros.messages import stamp_to_ns
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

STAMP_NS = 1_700_000_000_123_456_789
TOPIC = "camera/front/color/image_raw"


class Publisher:
    def __init__(self, kind, heard):
        self.kind, self.heard = kind, heard

    def publish(self, message):
        self.heard.append(deserialize_message(message, self.kind) if isinstance(message, bytes) else message)

    def get_subscription_count(self):
        return 1


class Node:
    """Keeps what is published, by topic."""

    def __init__(self):
        self.heard = {}

    def create_publisher(self, kind, topic, _profile):
        self.heard[topic] = []
        return Publisher(kind, self.heard[topic])


def heard_of_a_frame(**settings):
    node = Node()
    publications = CameraPublications(node, "front", camera_topics(TOPIC), CameraDevice("101", **settings))
    model = CameraModel(64, 48, (60.0, 61.0, 32.0, 24.0), "plumb_bob", (0.1, 0.0, 0.0, 0.0, 0.0))
    publications.started(CameraDescription("101", "Test", "1", "3.2", model, 0.001))
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[..., 0] = 200  # the first channel of the encoding
    depth = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) if settings.get("depth") else None
    frame = CameraFrame(pixels, 7, 1_000, "hardware_clock", None, 2_000, depth=depth)
    publications.publish(frame, FrameStamp(STAMP_NS, 10_000, STAMP_NS + 5_000_000))
    return node.heard, pixels, depth


def test_aligned_depth_has_the_stamp_and_the_intrinsics_of_the_colour_image():
    heard, pixels, depth = heard_of_a_frame(depth=True)
    (image,), (info,) = heard[TOPIC], heard["camera/front/color/camera_info"]
    (depth_image,) = heard["camera/front/aligned_depth_to_color/image_raw"]
    (depth_info,) = heard["camera/front/aligned_depth_to_color/camera_info"]
    assert isinstance(depth_image, Image) and isinstance(depth_info, CameraInfo)
    assert (depth_image.encoding, depth_image.width, depth_image.height, depth_image.step) == ("16UC1", 64, 48, 128)
    np.testing.assert_array_equal(np.frombuffer(bytes(depth_image.data), "<u2").reshape(48, 64), depth)
    np.testing.assert_array_equal(np.frombuffer(bytes(image.data), np.uint8).reshape(48, 64, 3), pixels)
    for message in (image, info, depth_image, depth_info):
        assert stamp_to_ns(message.header.stamp) == STAMP_NS
        assert message.header.frame_id == "front_color_optical_frame"
    assert list(depth_info.k) == list(info.k) == [60.0, 0.0, 32.0, 0.0, 61.0, 24.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(("encoding", "channel_in_rgb"), [("rgb8", 0), ("bgr8", 2)])
def test_jpeg_alone_keeps_stamp_size_and_colours(encoding, channel_in_rgb):
    heard, _, _ = heard_of_a_frame(jpeg="only", encoding=encoding)
    assert TOPIC not in heard and "camera/front/aligned_depth_to_color/image_raw" not in heard
    (jpeg,), (info,) = heard[f"{TOPIC}/compressed"], heard["camera/front/color/camera_info"]
    assert isinstance(jpeg, CompressedImage) and jpeg.format == f"{encoding}; jpeg compressed bgr8"
    assert stamp_to_ns(jpeg.header.stamp) == stamp_to_ns(info.header.stamp) == STAMP_NS
    rgb = cv2.imdecode(np.frombuffer(bytes(jpeg.data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert rgb.shape == (info.height, info.width, 3)
    assert abs(int(rgb[..., channel_in_rgb].mean()) - 200) < 3 and rgb[..., 1].mean() < 3
