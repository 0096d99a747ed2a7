"""The bench finds what is missing, damaged or there twice; a bench that always says zero would be worth nothing."""

import pytest
from dp_bringup.recorder_bench.bench_cell import bench_contract
from dp_bringup.recorder_bench.known_messages import camera_topics, counter_of, state_topics
from dp_bringup.recorder_bench.read_back import jpeg_checksums, published_sizes, read_back
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import recorded_streams
from dp_recorder.ros_types import message_class
from dp_recorder.serialized_message import read_stamp_ns
from rclpy.serialization import deserialize_message

JOINTS, CAMERA = "robot/joint_states", "camera/bench0/color/image_raw"


def record(directory, contract, spoil=lambda messages: messages):
    """Ten messages of a camera and of the joints; ``spoil`` may change the list of (topic, counter, bytes)."""
    topics = {topic.name: topic for topic in (*camera_topics(contract), *state_topics(contract))}
    streams = recorded_streams(contract)
    numbers = {stream.topic: number for number, stream in enumerate(streams)}
    messages = [(name, counter, topics[name].message(counter)) for counter in range(10) for name in (JOINTS, CAMERA)]
    writer = EpisodeWriter(EpisodeRequest(directory, "bench"), streams, 0)
    for name, counter, data in spoil(messages):
        writer.put([QueuedMessage(numbers[name], data, read_stamp_ns(data), read_stamp_ns(data), counter + 1)])
    folder = writer.close("success", 0).folder
    return folder / f"{folder.name}_0.mcap"


def check(path, contract, jpeg=False, first=0):
    sizes = {name: size for name, size in published_sizes(contract).items() if name in (JOINTS, CAMERA)}
    compressed = jpeg_checksums(contract) if jpeg else {}
    return read_back(path, sizes, dict.fromkeys(sizes, first), dict.fromkeys(sizes, 10), compressed)


@pytest.mark.parametrize("mode", ["raw", "jpeg"])
def test_everything_is_there(tmp_path, mode):
    contract = bench_contract(1, mode)
    found = check(record(tmp_path, contract), contract, mode == "jpeg")
    assert (found.lost, found.damaged, found.repeated) == (0, 0, 0)
    assert found.recorded == {JOINTS: 10, CAMERA: 10}


@pytest.mark.parametrize("missing", [0, 4, 9])
def test_a_missing_message_is_lost_wherever_it_was(tmp_path, missing):
    contract = bench_contract(1, "raw")

    def spoil(messages):
        return [message for message in messages if message[:2] != (JOINTS, missing)]

    assert check(record(tmp_path, contract, spoil), contract).lost == 1


def test_messages_before_the_first_that_counts_may_be_there_or_not(tmp_path):
    contract = bench_contract(1, "raw")

    def spoil(messages):
        return [message for message in messages if message[1] >= 3]

    path = record(tmp_path, contract, spoil)
    found = check(path, contract, first=5)
    assert (found.lost, found.in_time) == (0, 10)
    assert check(path, contract, first=2).lost == 2


@pytest.mark.parametrize("mode", ["raw", "jpeg"])
def test_a_flipped_bit_is_found(tmp_path, mode):
    contract = bench_contract(1, mode)

    def spoil(messages):
        spoilt = []
        for name, counter, data in messages:
            if (name, counter) == (CAMERA, 6):
                middle = len(data) // 2
                data = data[:middle] + bytes([data[middle] ^ 0x80]) + data[middle + 1 :]
            spoilt.append((name, counter, data))
        return spoilt

    found = check(record(tmp_path, contract, spoil), contract, mode == "jpeg")
    assert (found.damaged, found.lost) == (1, 1)


def test_a_repeated_message_is_not_counted_as_recorded(tmp_path):
    contract = bench_contract(1, "raw")

    def spoil(messages):
        return [*messages[:6], messages[3], *messages[8:]]

    found = check(record(tmp_path, contract, spoil), contract)
    assert (found.repeated, found.lost) == (1, 2)


def test_messages_are_what_ros_reads(tmp_path):
    contract = bench_contract(2, "raw")
    for topic in (*camera_topics(contract), *state_topics(contract)):
        data = topic.message(1234)
        assert counter_of(data)[0] == 1234
        message = deserialize_message(data, message_class(topic.type_name))
        assert message.header.frame_id.startswith("0000001234.")
    frames = [set(topic.checksums) for topic in camera_topics(contract)]
    assert len(frames[0] | frames[1]) == len(frames[0]) + len(frames[1]) == 16, "all frames differ"
