"""Order and completeness behind the queue, with a disk that stands still and images that take their time."""

import os
import threading
import time

import pytest
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from mcap.reader import SeekingReader
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from dp_recorder import bag_pipeline

STATES = RecordedStream("robot/joint_states", "sensor_msgs/msg/JointState", True, 100.0, 0.1)
CAMERA = RecordedStream("camera/front", "sensor_msgs/msg/Image", True, 10.0, 0.3, recording="jpeg")


def start(directory, **options) -> EpisodeWriter:
    return EpisodeWriter(EpisodeRequest(directory, "place"), [STATES, CAMERA], 0, **options)


def message(index: int, stream: int = 0, size: int = 100) -> QueuedMessage:
    return QueuedMessage(stream, bytes(size), index, index, index + 1)


def sequences(folder) -> list[int]:
    with (folder / f"{folder.name}_0.mcap").open("rb") as file:
        return [m.sequence for _, _, m in SeekingReader(file, validate_crcs=True).iter_messages(log_time_order=False)]


def until(condition) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_order_is_that_of_the_queue_although_images_take_longer(tmp_path, monkeypatch):
    started = []

    def compress(data, quality):
        started.append(data)
        if len(started) == 1:
            until(lambda: len(started) > 1)  # the second one overtakes the first
        return data

    monkeypatch.setattr(bag_pipeline, "compress_image", compress)
    writer = start(tmp_path)
    writer.put([message(index, stream=index % 4 == 1) for index in range(200)])
    assert sequences(writer.close("success", 0).folder) == list(range(1, 201))


def test_an_image_that_cannot_be_compressed_spoils_the_verdict_and_keeps_the_rest(tmp_path):
    grey = Image(height=2, width=2, encoding="16UC1", step=4, data=bytes(8))
    serialized = serialize_message(grey)
    assert "image encoding '16UC1' is not supported" in bag_pipeline.compression_problem(serialized)
    colour = Image(height=2, width=2, encoding="bgr8", step=6, data=bytes(12))
    assert bag_pipeline.compression_problem(serialize_message(colour)) == ""
    writer = start(tmp_path)
    writer.put([*(message(index) for index in range(20)), message(20, stream=1), message(21)])
    until(lambda: writer.summaries[1].dropped == 1)
    assert writer.failure is None and "little-endian" in writer.unwritable["camera/front"]
    writer.put([QueuedMessage(1, serialized, 22, 22, 23), message(23)])
    closed = writer.close("success", 0)
    assert sequences(closed.folder) == [*range(1, 21), 22, 24]
    assert [(s.received, s.dropped) for s in closed.summaries] == [(22, 0), (2, 2)]
    assert closed.verdict.level == "bad"
    told = "camera/front: 2 messages dropped, it cannot be compressed: only little-endian CDR messages are read"
    assert closed.verdict.reasons[0] == told


def test_a_disk_that_stands_still_costs_nothing_while_the_queue_holds(tmp_path, monkeypatch):
    go_on = threading.Event()
    real = os.write

    def slow(handle, data):
        go_on.wait()
        return real(handle, data)

    writer = start(tmp_path, queue=MessageQueue(max_bytes=64 * 2**20), flush_period_s=0.1)
    monkeypatch.setattr("os.write", slow)
    size = 2**20
    writer.put([message(0)])
    until(lambda: writer.flush_delay_s > 0.05)
    for index in range(1, 61):
        assert writer.put([message(index, size=size)]) == 0
    assert writer.written_bytes_per_s < size
    until(lambda: writer.queue_share > 0.2)
    assert writer.queue_share < 1.0
    refused = sum(writer.put([message(index, size=size)]) for index in range(61, 200))
    assert refused > 0, "then messages are refused, and counted"
    go_on.set()
    closed = writer.close("success", 0)
    assert closed.summaries[0].dropped == refused
    assert closed.verdict.level == "bad"
    recorded = sequences(closed.folder)
    assert recorded[:61] == list(range(1, 62)) and len(recorded) == 200 - refused


def test_figures_of_the_disk(tmp_path):
    writer = start(tmp_path, flush_period_s=0.1)
    assert (writer.queue_share, writer.written_bytes_per_s) == (0.0, 0.0)
    index = 0
    while writer.written_bytes_per_s < 100_000 or writer.flush_delay_s == 0.0:
        writer.put([message(index, size=50_000)])
        index += 1
        time.sleep(0.01)
        assert index < 2000
    assert sequences(writer.close("success", 0).folder) == list(range(1, index + 1))


@pytest.mark.parametrize("share, messages, size", [(0.5, 5, 1), (0.8, 1, 80)])
def test_queue_share_is_by_messages_or_bytes_whichever_is_fuller(share, messages, size):
    queue = MessageQueue(max_messages=10, max_bytes=100)
    queue.put_all([message(index, size=size) for index in range(messages)])
    assert queue.share == pytest.approx(share)
    queue.take(0, most_bytes=1)
    assert queue.share < share
