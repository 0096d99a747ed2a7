from pathlib import Path

import pytest
import yaml
from builtin_interfaces.msg import Time
from dp_recorder.bag_writer import BagWriter, BagWriterError, OfferedQos
from dp_recorder.type_definitions import load_type_definition
from geometry_msgs.msg import PoseStamped
from mcap.reader import make_reader
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import Reader

POSE = "geometry_msgs/msg/PoseStamped"


def pose(index: int) -> bytes:
    message = PoseStamped()
    message.header.stamp = Time(sec=index)
    message.pose.position.x = float(index)
    return serialize_message(message)


def write_bag(folder: Path, count: int = 50, **options):
    writer = BagWriter(folder, **options)
    best_effort = OfferedQos("keep_last", 7, "best_effort", "transient_local", deadline_ns=1_500_000_000)
    channels = [
        writer.add_topic("/robot/ee_pose", load_type_definition(POSE), [best_effort]),
        writer.add_topic("/robot/target_pose", load_type_definition(POSE), [OfferedQos(), OfferedQos()]),
        writer.add_topic("/state", load_type_definition("dp_msgs/msg/CommandState")),
    ]
    for index in range(count):
        writer.write(channels[index % 2], pose(index), 1000 + index * 10, 500 + index * 10, index + 1)
    return writer


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_other_readers_read_it(tmp_path, compression):
    writer = write_bag(tmp_path / "bag", compression=compression)
    writer.flush(durable=True)
    summary = writer.close()
    assert (summary.message_count, summary.duration_ns, summary.start_ns) == (50, 490, 1000)
    assert summary.topic_counts == {"/robot/ee_pose": 25, "/robot/target_pose": 25, "/state": 0}
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.message_count == 50
        values = [reader.deserialize(data, c.msgtype).pose.position.x for c, _, data in reader.messages()]
    assert values == list(range(50))
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        for index, (schema, channel, message) in enumerate(make_reader(file).iter_messages()):
            assert (message.log_time, message.publish_time, message.sequence) == (
                1000 + index * 10,
                500 + index * 10,
                index + 1,
            )
            assert (schema.name, schema.encoding, channel.message_encoding) == (POSE, "ros2msg", "cdr")


def test_qos_and_hashes_are_kept(tmp_path):
    write_bag(tmp_path / "bag").close()
    with Reader(tmp_path / "bag") as bag:
        topics = {connection.topic: connection for connection in bag.connections}
        profile = topics["/robot/ee_pose"].ext.offered_qos_profiles[0]
        assert profile.reliability.name == "BEST_EFFORT" and profile.durability.name == "TRANSIENT_LOCAL"
        assert (profile.depth, profile.deadline.sec, profile.deadline.nsec) == (7, 1, 500_000_000)
        assert len(topics["/robot/target_pose"].ext.offered_qos_profiles) == 2
        assert topics["/robot/target_pose"].digest == load_type_definition(POSE).type_hash
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        channels = make_reader(file).get_summary().channels.values()
    metadata = {channel.topic: channel.metadata for channel in channels}
    assert metadata["/robot/ee_pose"]["topic_type_hash"] == load_type_definition(POSE).type_hash
    assert yaml.safe_load(metadata["/robot/ee_pose"]["offered_qos_profiles"])[0]["reliability"] == "best_effort"


def test_metadata_is_that_of_jazzy(tmp_path):
    write_bag(tmp_path / "bag", custom_data={"episode_id": "e1"}).close()
    content = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert list(content) == [
        "version",
        "storage_identifier",
        "duration",
        "starting_time",
        "message_count",
        "topics_with_message_count",
        "compression_format",
        "compression_mode",
        "relative_file_paths",
        "files",
        "custom_data",
        "ros_distro",
    ]
    assert (content["version"], content["storage_identifier"], content["ros_distro"]) == (9, "mcap", "jazzy")
    assert content["relative_file_paths"] == ["bag_0.mcap"]
    assert content["custom_data"] == {"episode_id": "e1"}
    assert content["files"][0]["message_count"] == content["message_count"] == 50
    topic = content["topics_with_message_count"][0]["topic_metadata"]
    assert list(topic) == ["name", "type", "serialization_format", "offered_qos_profiles", "type_description_hash"]
    assert topic["offered_qos_profiles"][0]["lifespan"] == {"sec": 9223372036, "nsec": 854775807}


def test_the_same_metadata_is_in_the_file(tmp_path):
    write_bag(tmp_path / "bag", embedded={"episode": {"task": "place"}}).close()
    content = yaml.safe_load((tmp_path / "bag" / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    with (tmp_path / "bag" / "bag_0.mcap").open("rb") as file:
        records = {record.name: record.metadata for record in make_reader(file).iter_metadata()}
    assert yaml.safe_load(records["rosbag2"]["serialized_metadata"]) == content
    assert records["episode"] == {"task": "place"}


def test_an_empty_bag_is_a_bag(tmp_path):
    BagWriter(tmp_path / "bag").close()
    with Reader(tmp_path / "bag") as bag:
        assert bag.message_count == 0


def test_misuse_is_refused(tmp_path):
    writer = write_bag(tmp_path / "bag")
    with pytest.raises(BagWriterError, match="topic /state was added"):
        writer.add_topic("/state", load_type_definition(POSE))
    with pytest.raises(BagWriterError, match="never overwritten"):
        BagWriter(tmp_path / "bag")
    with pytest.raises(BagWriterError, match="'lz5' is none of none, zstd"):
        BagWriter(tmp_path / "other", compression="lz5")
    assert writer.close() == writer.close()
