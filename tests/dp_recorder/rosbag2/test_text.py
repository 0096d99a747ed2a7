"""Texts, letter by letter, as rosbag2 0.26.5 (Jazzy) wrote them when given the same topic, profile and times.

Sources of the expected values: output of rosbag2's ``SequentialWriter`` with storage ``mcap``, its
``LocalMessageDefinitionSource`` and ``ros2 bag record``, built from the tag 0.26.5.
"""

import pytest
from bag_reading import START_OF_NOTHING_NS
from dp_recorder.bag_writer import BagWriter
from dp_recorder.rosbag2_metadata import OfferedQos, dump
from dp_recorder.type_definitions import load_type_definition
from mcap.reader import make_reader

POSE_HASH = "RIHS01_10f3786d7d40fd2b54367835614bff85d4ad3b5dab62bf8bca0cc232d73b4cd8"
PROFILE = """\
- history: keep_last
  depth: 7
  reliability: best_effort
  durability: transient_local
  deadline:
    sec: 1
    nsec: 500000000
  lifespan:
    sec: 9223372036
    nsec: 854775807
  liveliness: automatic
  liveliness_lease_duration:
    sec: 9223372036
    nsec: 854775807
  avoid_ros_namespace_conventions: false"""
INFORMATION = """\
version: 9
storage_identifier: mcap
duration:
  nanoseconds: {duration}
starting_time:
  nanoseconds_since_epoch: {start}
message_count: {count}
topics_with_message_count:
  {topics}
compression_format: ""
compression_mode: ""
relative_file_paths:
  - small_0.mcap
files:
  - path: small_0.mcap
    starting_time:
      nanoseconds_since_epoch: {start}
    duration:
      nanoseconds: {duration}
    message_count: {count}
custom_data:
  episode_id: episode_0001_place
ros_distro: jazzy"""
TOPIC = """\
- topic_metadata:
    name: /robot/ee_pose
    type: geometry_msgs/msg/PoseStamped
    serialization_format: cdr
    offered_qos_profiles:
      {profile}
    type_description_hash: {type_hash}
  message_count: 2"""


def indented(text: str, spaces: int) -> str:
    return text.replace("\n", "\n" + " " * spaces)


BEFORE = INFORMATION.format(duration=0, start=START_OF_NOTHING_NS, count=0, topics="[]")
AFTER = INFORMATION.format(
    duration=250_000_000,
    start=1_700_000_000_000_000_000,
    count=2,
    topics=indented(TOPIC.format(profile=indented(PROFILE, 6), type_hash=POSE_HASH), 2),
)


@pytest.fixture
def small_bag(tmp_path):
    writer = BagWriter(tmp_path / "small", custom_data={"episode_id": "episode_0001_place"})
    profile = OfferedQos("keep_last", 7, "best_effort", "transient_local", deadline_ns=1_500_000_000)
    channel = writer.add_topic("/robot/ee_pose", load_type_definition("geometry_msgs/msg/PoseStamped"), [profile])
    for t_ns in (1_700_000_000_000_000_000, 1_700_000_000_250_000_000):
        writer.write(channel, bytes([0, 1, 0, 0]), t_ns, t_ns)
    writer.close()
    return tmp_path / "small"


def test_metadata_yaml(small_bag):
    expected = "rosbag2_bagfile_information:\n  " + indented(AFTER, 2)
    assert (small_bag / "metadata.yaml").read_text() == expected


def test_records_in_the_file(small_bag):
    with (small_bag / "small_0.mcap").open("rb") as file:
        reader = make_reader(file)
        header = reader.get_header()
        records = [(record.name, record.metadata) for record in reader.iter_metadata()]
        channels = list(reader.get_summary().channels.values())
    assert header.profile == "ros2"
    assert records == [("rosbag2", {"serialized_metadata": text}) for text in (BEFORE, AFTER)]
    assert [channel.metadata for channel in channels] == [
        {"offered_qos_profiles": PROFILE, "topic_type_hash": POSE_HASH}
    ]


def test_nothing_known_is_written_as_rosbag2_does():
    assert dump([]) == "[]"
    assert dump({"custom_data": None}) == "custom_data: ~"


def test_text_of_a_definition(tmp_path):
    """Constants, bounds, arrays, comments, foreign line ends, a last line without one; each dependency once."""
    messages = {
        "toy_msgs/msg/Outer.msg": b"# Outer comment\nuint8 KIND=1\nstring<=8 label\nInner[<=3] list  # bounded\n"
        b"Inner one\nother_msgs/Far far\nfloat64[9]  matrix\n\n  Alone   alone\nbool ok true\n",
        "toy_msgs/msg/Inner.msg": b"float64 x\r\nother_msgs/Far far\r\n",
        "toy_msgs/msg/Alone.msg": b"Inner inner",
        "toy_msgs/msg/Outer.json": b'{"type_hashes": [{"type_name": "toy_msgs/msg/Outer", "hash_string": "RIHS01_0"}]}',
        "other_msgs/msg/Far.msg": "string text  # not ascii: \u00b5m\n".encode(),
    }
    for name, content in messages.items():
        path = tmp_path / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    line = b"=" * 80
    expected = (
        messages["toy_msgs/msg/Outer.msg"]
        + b"\n" + line + b"\nMSG: other_msgs/Far\n" + messages["other_msgs/msg/Far.msg"]
        + b"\n" + line + b"\nMSG: toy_msgs/Alone\nInner inner"
        + b"\n" + line + b"\nMSG: toy_msgs/Inner\nfloat64 x\r\nother_msgs/Far far\r\n"
    )  # fmt: skip
    definition = load_type_definition("toy_msgs/msg/Outer", [tmp_path])
    assert (definition.encoding, definition.text.encode()) == ("ros2msg", expected)


@pytest.mark.parametrize(
    ("name", "type_hash"),
    [
        ("sensor_msgs/msg/Image", "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"),
        ("sensor_msgs/msg/CompressedImage", "RIHS01_15640771531571185e2efc8a100baf923961a4d15d5569652e6cb6691e8e371a"),
        ("sensor_msgs/msg/CameraInfo", "RIHS01_b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275"),
        ("sensor_msgs/msg/JointState", "RIHS01_a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e"),
        ("sensor_msgs/msg/Joy", "RIHS01_0d356c79cad3401e35ffeb75a96a96e08be3ef896b8b83841d73e890989372c5"),
        ("geometry_msgs/msg/PoseStamped", POSE_HASH),
        ("geometry_msgs/msg/WrenchStamped", "RIHS01_8dc3deaf06b2ab281f9f9a742a8961c328ca7cec16e3fd6586d3a5c83fa78f77"),
        ("geometry_msgs/msg/TwistStamped", "RIHS01_5f0fcd4f81d5d06ad9b4c4c63e3ea51b82d6ae4d0558f1d475229b1121db6f64"),
    ],
)
def test_hashes_are_those_of_ros2_bag_record(name, type_hash):
    assert load_type_definition(name).type_hash == type_hash
