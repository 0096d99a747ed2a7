"""Counters read straight from serialized metadata, against what rclpy serializes and what realsense-ros sends."""

import json
import struct

import pytest
from dp_core.frame_gaps import GapSummary
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.frame_counter import (
    FRAME_METADATA_TYPE,
    REALSENSE_METADATA_TYPE,
    FrameCounter,
    read_frame_number,
)
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.serialized_message import SerializedMessageError
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from dp_msgs.msg import FrameMetadata

# As realsense-ros writes it (BaseRealSenseNode::publishMetadata): the clock domain as a text, all else as numbers.
JSON = (
    '{"frame_number":8957,"clock_domain":"global_time","frame_timestamp":1647786400999.951172,"frame_counter":8821,'
    '"hw_timestamp":2843219121,"sensor_timestamp":2843211121,"actual_exposure":156,"gain_level":64,"auto_exposure":1,'
    '"time_of_arrival":1647786401020,"backend_timestamp":0,"actual_fps":30000}'
)


def ours(number, frame_id="front_color_optical_frame"):
    message = FrameMetadata(frame_number=number, clock_domain="hardware_clock")
    message.header.frame_id = frame_id
    return serialize_message(message)


def realsense(text, frame_id="camera_color_optical_frame"):
    """realsense2_camera_msgs/Metadata: std_msgs/Header header, string json_data; laid out by hand."""
    body = struct.pack("<iI", 12, 34)
    for octets in (frame_id.encode() + b"\0", text.encode() + b"\0"):
        body += b"\0" * (-len(body) % 4) + struct.pack("<I", len(octets)) + octets
    return b"\x00\x01\x00\x00" + body


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1), st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=30))
def test_the_number_is_found_behind_a_frame_id_of_any_length(number, frame_id):
    assert read_frame_number(ours(number, frame_id), FRAME_METADATA_TYPE) == number
    assert read_frame_number(realsense(JSON, frame_id), REALSENSE_METADATA_TYPE) == 8821


def test_without_metadata_of_the_kernel_librealsenses_own_number_is_used():
    text = '{"frame_number":12,"clock_domain":"system_time","frame_timestamp":1647786400999.951172}'
    assert read_frame_number(realsense(text), REALSENSE_METADATA_TYPE) == 12


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"", FRAME_METADATA_TYPE),
        (b"\x00\x00\x00\x00" + bytes(60), FRAME_METADATA_TYPE),
        (ours(5)[:40], FRAME_METADATA_TYPE),
        (realsense("{}"), REALSENSE_METADATA_TYPE),
        (realsense('{"frame_counter":"many"}'), REALSENSE_METADATA_TYPE),
        (realsense('{"frame_counter":1e999}'), REALSENSE_METADATA_TYPE),
        (realsense("[" * 100_000), REALSENSE_METADATA_TYPE),
        (realsense(JSON)[:90], REALSENSE_METADATA_TYPE),
    ],
)
def test_what_is_no_metadata_is_refused_and_counted(message, kind):
    with pytest.raises(SerializedMessageError):
        read_frame_number(message, kind)
    counter = FrameCounter(kind)
    assert counter.add(message) == 0
    assert (counter.unreadable, counter.summary) == (1, GapSummary())


def test_frames_that_the_driver_never_had_are_told_from_those_lost_on_the_way():
    counter = FrameCounter(FRAME_METADATA_TYPE)
    # number of the frame, the publisher's counter of messages, missing before it
    story = [(100, 1, 0), (101, 2, 0), (105, 3, 3), (107, 5, 0), (110, 6, 2), (115, 8, 3)]
    assert [counter.add(ours(number), sequence) for number, sequence, _ in story] == [lost for *_, lost in story]
    assert counter.summary == GapSummary(frames=6, lost=10, gaps=4, longest_gap=4)


def test_a_middleware_without_counters_leaves_all_to_the_camera():
    counter = FrameCounter(FRAME_METADATA_TYPE)
    assert [counter.add(ours(number), 0) for number in (1, 2, 5)] == [0, 0, 2]


def test_an_episode_counts_the_frames_that_its_camera_lost(tmp_path):
    """10 Hz, max_age 0.5 s: two frames in a row are missing, which neither stamps nor messages would complain about."""
    image = RecordedStream("camera/front/color/image_raw", "sensor_msgs/msg/Image", True, 10.0, 0.5)
    metadata = RecordedStream("camera/front/color/metadata", FRAME_METADATA_TYPE, frames_of=image.topic)
    request = EpisodeRequest(tmp_path, "place", "ada", "", {}, "abc", "1.0")
    writer = EpisodeWriter(request, [image, metadata], 0)
    picture = serialize_message(Image(height=1, width=1, encoding="rgb8", step=3, data=b"abc"))
    for sequence, number in enumerate([50, 51, 52, 55, 56, 57, 58, 59, 60, 61], start=1):
        stamp_ns = (number - 50) * 100_000_000
        explained = QueuedMessage(1, ours(number), stamp_ns + 5_000_000, stamp_ns, sequence)
        writer.put([QueuedMessage(0, picture, stamp_ns + 5_000_000, stamp_ns, sequence), explained])
    assert [summary.frames_lost for summary in writer.summaries] == [2, 0]
    closed = writer.close("success", 2_000_000_000)
    text = f"{image.topic}: 2 frames lost before they were published, by the camera's counter"
    assert (closed.verdict.level, text in closed.verdict.reasons) == ("suspect", True)
    streams = json.loads((closed.folder / "episode.json").read_text())["streams"]
    assert (streams[image.topic]["frames_lost"], streams[image.topic]["lost"]) == (2, 0)
