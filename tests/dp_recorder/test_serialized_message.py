import array

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from dp_recorder.serialized_message import (
    SerializedMessageError,
    read_image,
    read_stamp_ns,
    write_compressed_image,
)
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState

STAMP_NS = 1_763_000_000_123_456_789


def stamp() -> Time:
    return Time(sec=STAMP_NS // 10**9, nanosec=STAMP_NS % 10**9)


@pytest.mark.parametrize("message", [PoseStamped(), JointState(name=["a"], position=[1.0]), Image()])
@pytest.mark.parametrize("frame", ["", "f", "fr3_link0"])
def test_stamp_is_that_of_the_header(message, frame):
    message.header.stamp = stamp()
    message.header.frame_id = frame
    assert read_stamp_ns(serialize_message(message)) == STAMP_NS


def test_big_endian_stamp():
    seconds, nanoseconds = divmod(STAMP_NS, 10**9)
    assert read_stamp_ns(b"\x00\x00\x00\x00" + seconds.to_bytes(4, "big") + nanoseconds.to_bytes(4, "big")) == STAMP_NS


@pytest.mark.parametrize("message", [b"", b"\x00\x01\x00\x00", b"\x00\x01\x00\x00\x01\x02\x03\x04\x05\x06\x07"])
def test_too_short_a_message_is_refused(message):
    with pytest.raises(SerializedMessageError, match="too few"):
        read_stamp_ns(message)


@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "camera_front_optical_frame"])
@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono16"])
def test_image_is_read_whatever_its_strings(frame, encoding):
    pixels = np.arange(5 * 4 * 3, dtype=np.uint8)
    image = Image(height=5, width=4, encoding=encoding, step=12, data=array.array("B", pixels.tobytes()))
    image.header.stamp = stamp()
    image.header.frame_id = frame
    read = read_image(serialize_message(image))
    assert (read.stamp_ns, read.frame_id, read.height, read.width) == (STAMP_NS, frame, 5, 4)
    assert (read.encoding, read.step, bytes(read.data)) == (encoding, 12, pixels.tobytes())


def test_a_cut_image_is_refused():
    image = Image(height=5, width=4, encoding="rgb8", step=12, data=array.array("B", bytes(60)))
    data = serialize_message(image)
    for length in range(0, len(data) - 4):
        with pytest.raises(SerializedMessageError):
            read_image(data[:length])


def test_an_image_whose_size_lies_is_refused():
    image = Image(height=6, width=4, encoding="rgb8", step=12, data=array.array("B", bytes(60)))
    with pytest.raises(SerializedMessageError, match="6 rows of 12 bytes carries 60"):
        read_image(serialize_message(image))


@pytest.mark.parametrize("frame", ["", "a", "ab", "abc", "camera"])
@pytest.mark.parametrize("size", [0, 1, 1000])
def test_compressed_image_is_what_ros_reads(frame, size):
    payload = bytes(range(256))[: size % 256] + bytes(size - size % 256)
    image = deserialize_message(write_compressed_image(STAMP_NS, frame, "jpeg", payload), CompressedImage)
    assert image.header.stamp == stamp()
    assert (image.header.frame_id, image.format, bytes(image.data)) == (frame, "jpeg", payload)
