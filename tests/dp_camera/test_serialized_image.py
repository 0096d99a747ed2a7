"""Bytes made here against those that rclpy makes of the same message."""

import array

import numpy as np
import pytest
from dp_camera.serialized_image import SerializedCompressedImage, SerializedImage
from dp_ros.messages import ns_to_stamp
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

STAMP_NS = 1_700_000_123_456_789_012


def rclpy_image(pixels, frame_id, encoding, stamp_ns):
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding)
    message.header.frame_id, message.header.stamp = frame_id, ns_to_stamp(stamp_ns)
    message.step = pixels.strides[0]
    message.data = array.array("B", pixels.tobytes())
    return message


def fields_of(message, *texts):
    """The bytes that mean something: rclpy leaves whatever was in memory in the padding before a number.

    Args:
        message: serialized.
        texts: (text, bytes of numbers before its length, bytes of small fields right after it), in order.
    """
    kept, place = message[:12], 12  # CDR header and stamp
    for text, before, after in texts:
        end = place + before + 4 + len(text) + 1 + after
        kept, place = kept + message[place:end], end + -end % 4
    return kept + message[place:]


@settings(max_examples=60, deadline=None)
@given(
    frame_id=st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=40),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    layout=st.sampled_from([("rgb8", 3, np.uint8), ("bgr8", 3, np.uint8), ("16UC1", 1, np.uint16)]),
    stamp_ns=st.integers(0, 2**31 * 10**9 - 1),
)
def test_an_image_is_serialized_byte_for_byte_as_rclpy_does(frame_id, size, layout, stamp_ns):
    encoding, channels, kind = layout
    shape = (*size, channels) if channels > 1 else size
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(kind)
    made = SerializedImage(frame_id, size[1], size[0], encoding, channels * pixels.itemsize)
    message = rclpy_image(pixels, frame_id, encoding, stamp_ns)
    bytes_here, bytes_there = made.serialize(pixels, stamp_ns), serialize_message(message)
    assert len(bytes_here) == len(bytes_there)
    texts = ((frame_id, 0, 0), (encoding, 8, 1))  # height and width before encoding, is_bigendian after it
    assert fields_of(bytes_here, *texts) == fields_of(bytes_there, *texts)


def test_it_is_read_back_as_what_it_was_and_the_next_one_has_its_own_stamp():
    made = SerializedImage("front_color_optical_frame", 64, 48, "rgb8", 3)
    pixels = np.arange(64 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    first = made.serialize(pixels, STAMP_NS)
    second = made.serialize(pixels[::-1].copy(), STAMP_NS + 33)
    back = deserialize_message(first, Image)
    assert back == rclpy_image(pixels, "front_color_optical_frame", "rgb8", STAMP_NS)
    assert deserialize_message(second, Image).header.stamp.nanosec == 456_789_045
    assert np.array_equal(np.frombuffer(back.data, np.uint8).reshape(48, 64, 3), pixels)


def test_a_frame_of_another_size_or_layout_is_refused():
    made = SerializedImage("f", 8, 4, "rgb8", 3)
    with pytest.raises(ValueError, match="a frame of 72 bytes, wanted 96"):
        made.serialize(np.zeros((3, 8, 3), np.uint8), 0)
    with pytest.raises(ValueError, match="do not follow each other"):
        made.serialize(np.zeros((4, 16, 3), np.uint8)[:, ::2], 0)


@pytest.mark.parametrize("frame_id", ["", "a", "abc", "front_color_optical_frame"])
def test_a_jpeg_is_serialized_byte_for_byte_as_rclpy_does(frame_id):
    message = CompressedImage(format="rgb8; jpeg compressed bgr8")
    message.header.frame_id, message.header.stamp = frame_id, ns_to_stamp(STAMP_NS)
    message.data = array.array("B", b"\xff\xd8 any bytes \xff\xd9")
    made = SerializedCompressedImage(frame_id, "rgb8").serialize(bytes(message.data), STAMP_NS)
    bytes_there = serialize_message(message)
    assert len(made) == len(bytes_there)
    texts = ((frame_id, 0, 0), (message.format, 0, 0))
    assert fields_of(made, *texts) == fields_of(bytes_there, *texts)
