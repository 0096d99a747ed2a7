"""What our writer writes, read by the rules of rosbag2; and bags with one thing wrong, which those rules refuse."""

import random
import re

import pytest
import yaml
from bag_reading import START_OF_NOTHING_NS, read_bag
from dp_core.contract import load_contract
from dp_recorder.bag_writer import BagWriter
from dp_recorder.recorded_streams import recorded_streams
from dp_recorder.type_definitions import load_type_definition
from mcap_reading import RefusedError
from metadata_reading import Qos
from small_bags import LATCHED, SENSOR, START_NS, TIMED

POSE = "geometry_msgs/msg/PoseStamped"
TOPICS = [
    ("/robot/ee_pose", POSE, [TIMED]),
    ("/robot/target_pose", POSE, []),
    ("/camera/front/color/image_raw", "sensor_msgs/msg/Image", [SENSOR, SENSOR]),
    ("/policy/ledger", "dp_msgs/msg/ChunkLedger", [LATCHED]),
    ("/mixed", "sensor_msgs/msg/Joy", [SENSOR, LATCHED]),
    ("/silent", "dp_msgs/msg/CommandState", [LATCHED]),
]


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_rosbag2_reads_every_message_in_order_of_receipt(write_bag, compression):
    bag = read_bag(write_bag(TOPICS, compression=compression))
    times = [message.log_time_ns for message in bag.messages]
    assert times == sorted(times) and len(times) == 5 * 40
    for number, (topic, _, _) in enumerate(TOPICS):
        of_topic = [message for message in bag.messages if bag.topics[message.channel] == topic]
        assert len(of_topic) == bag.information["topics"][topic]["count"] == (0 if topic == "/silent" else 40)
        assert {message.data[5] for message in of_topic} <= {number}
        assert sorted(message.data[4] for message in of_topic) == list(range(0 if topic == "/silent" else 40))
        assert all(message.publish_time_ns == message.log_time_ns - 1000 for message in of_topic)
    # 40 messages 10 ms apart, every fourth of them 20 ms early.
    assert (bag.information["start"], bag.information["duration"]) == (START_NS, 380_000_000)


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_messages_of_all_sizes_come_out_whole(tmp_path, compression):
    """From nothing to more than a chunk (4 MiB), large ones between small ones; incompressible and zeros."""
    sizes = [0, 1, 100, 32 * 1024 - 31, 32 * 1024, 10, 5 * 2**20, 7, 1_500_000, 1_500_000, 3, 1_500_000, 4096, 0]
    noise = random.Random(7)
    messages = [noise.randbytes(size) if index % 3 else bytes(size) for index, size in enumerate(sizes)]
    writer = BagWriter(tmp_path / "bag", compression=compression)
    channels = [writer.add_topic(f"/{name}", load_type_definition(POSE), [LATCHED]) for name in ("even", "odd")]
    for index, content in enumerate(messages):
        writer.write(channels[index % 2], content, START_NS + index, START_NS, index)
    writer.close()
    bag = read_bag(tmp_path / "bag")
    assert [message.data for message in bag.messages] == messages
    assert [bag.topics[message.channel] for message in bag.messages] == ["/even", "/odd"] * 7


@pytest.mark.parametrize("cell", ["sim_franka", "fr3_crisp", "fr3_joint"])
def test_every_recorded_type_is_read(write_bag, cell):
    streams = recorded_streams(load_contract(cell))
    kinds = sorted({stream.bag_type_name for stream in streams})
    bag = read_bag(write_bag([(f"/topic_{index}", kind, [LATCHED]) for index, kind in enumerate(kinds)], count=3))
    assert [topic["type"] for topic in bag.information["topics"].values()] == kinds
    for kind in kinds:
        definition = load_type_definition(kind)
        assert bag.definitions[kind] == ("ros2msg", definition.text)
        assert re.fullmatch(r"RIHS01_[0-9a-f]{64}", definition.type_hash)


def test_play_offers_what_was_offered(write_bag):
    played = read_bag(write_bag(TOPICS)).played
    infinite = (9223372036, 854775807)
    endless = {"deadline": infinite, "lifespan": infinite, "lease": infinite}
    assert played["/robot/ee_pose"] == Qos(
        deadline=(1, 500_000_000), lifespan=(2, 0), liveliness="manual_by_topic", lease=(3, 0)
    )
    assert played["/robot/target_pose"] == Qos()
    sensor = Qos(reliability="best_effort", liveliness="automatic", **endless)
    assert played["/camera/front/color/image_raw"] == sensor
    assert played["/policy/ledger"] == Qos(durability="transient_local", liveliness="automatic", **endless)
    assert played["/mixed"] == Qos()


def test_the_file_alone_says_what_metadata_yaml_says(write_bag):
    bag = read_bag(write_bag(TOPICS, custom_data={"note": "größer: «1»", "number": "12", "nothing": ""}))
    assert bag.information["custom_data"] == {"note": "größer: «1»", "number": "12", "nothing": ""}
    assert bag.records[-1] == bag.information


def test_a_bag_whose_writer_was_killed_says_what_rosbag2s_would(write_bag):
    """``ros2 bag reindex`` takes the distribution from the record that is written first."""
    first = read_bag(write_bag(TOPICS, custom_data={"episode_id": "e1"})).records[0]
    assert (first["ros_distro"], first["custom_data"]) == ("jazzy", {"episode_id": "e1"})
    assert (first["message_count"], first["start"], first["topics"]) == (0, START_OF_NOTHING_NS, {})


@pytest.mark.parametrize("topics", [[], [("/silent", POSE, [LATCHED])]])
def test_a_bag_without_messages_is_a_bag(write_bag, topics):
    information = read_bag(write_bag(topics)).information
    assert (information["message_count"], information["start"]) == (0, START_OF_NOTHING_NS)


def test_an_unfinished_bag_is_refused(write_bag):
    with pytest.raises(RefusedError, match="Could not find metadata"):
        read_bag(write_bag(TOPICS, close=False))


def _change(folder, change):
    path = folder / "metadata.yaml"
    content = yaml.safe_load(path.read_text())
    change(content["rosbag2_bagfile_information"])
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda i: i.pop("files"), "files is missing"),
        (lambda i: i.update(version=8), "not version 9"),
        (lambda i: i.update(compression_mode="file"), "reads no such bag"),
        (lambda i: i.update(message_count=-1), "no unsigned number"),
        (lambda i: i.update(message_count=199), "message counts differ"),
        (lambda i: i.update(custom_data={"a": {}}), "no map of texts"),
        (lambda i: i["starting_time"].update(nanoseconds_since_epoch=5), "tells other times"),
        (lambda i: i["topics_with_message_count"].pop(), "the file"),
        (lambda i: _first_qos(i).update(history=1), "no publisher can offer history '1'"),
        (lambda i: _first_qos(i).update(liveliness="unknown"), "no publisher can offer liveliness"),
        (lambda i: _first_qos(i)["deadline"].pop("nsec"), "nsec is missing"),
        (lambda i: i["topics_with_message_count"][0].update(message_count=39), "counts"),
    ],
)
def test_wrong_metadata_is_refused(write_bag, change, reason):
    folder = write_bag(TOPICS)
    _change(folder, change)
    with pytest.raises(RefusedError, match=reason):
        read_bag(folder)


def _first_qos(information):
    return information["topics_with_message_count"][0]["topic_metadata"]["offered_qos_profiles"][0]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[:-1], "magic bytes in Footer"),
        (lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:], "checksum"),
        # The first chunk's first message: its receipt time in the message, not in the index.
        (lambda data: data.replace(START_NS.to_bytes(8, "little"), bytes(8), 3), "size or checksum|times|index"),
    ],
)
def test_a_damaged_file_is_refused(write_bag, damage, reason):
    folder = write_bag(TOPICS)
    path = folder / "episode_0001_place_0.mcap"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RefusedError, match=reason):
        read_bag(folder)
