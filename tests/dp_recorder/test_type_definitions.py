import json
import sys
from pathlib import Path

import pytest
from dp_recorder.type_definitions import TypeDefinitionError, load_type_definition
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

SEPARATOR = "=" * 80


def test_nested_types_follow_depth_first_each_once():
    text = load_type_definition("sensor_msgs/msg/Image").text
    parts = text.split(f"\n{SEPARATOR}\n")
    assert [part.splitlines()[0] for part in parts[1:]] == ["MSG: std_msgs/Header", "MSG: builtin_interfaces/Time"]
    source = Path(sys.prefix) / "share" / "sensor_msgs" / "msg" / "Image.msg"
    assert parts[0] == source.read_text()


@pytest.mark.parametrize(
    "name",
    [
        "sensor_msgs/msg/Image",
        "sensor_msgs/msg/CompressedImage",
        "sensor_msgs/msg/JointState",
        "sensor_msgs/msg/Joy",
        "geometry_msgs/msg/PoseStamped",
        "geometry_msgs/msg/WrenchStamped",
        "geometry_msgs/msg/TwistStamped",
        "dp_msgs/msg/CommandState",
        "dp_msgs/msg/ActionChunk",
        "dp_msgs/msg/ChunkReport",
        "dp_msgs/msg/SceneState",
        "dp_msgs/msg/EpisodeState",
    ],
)
def test_hash_is_that_of_the_definition(name):
    """An independent implementation computes the same hash from the text that goes into the bag."""
    definition = load_type_definition(name)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition.text, name))
    assert store.hash_rihs01(name) == definition.type_hash


def test_every_type_name_is_resolved_within_its_package(tmp_path):
    share = tmp_path / "share" / "toy_msgs" / "msg"
    share.mkdir(parents=True)
    (share / "Outer.msg").write_text("# Inner comment\nInner[3] list\nInner one\nother_msgs/Far far\nuint8 A=1\n")
    (share / "Inner.msg").write_text("float64 x\n")
    other = tmp_path / "share" / "other_msgs" / "msg"
    other.mkdir(parents=True)
    (other / "Far.msg").write_text("string text\n")
    hashes = [{"type_name": "toy_msgs/msg/Outer", "hash_string": "RIHS01_ab"}]
    (share / "Outer.json").write_text(json.dumps({"type_hashes": hashes}))
    definition = load_type_definition("toy_msgs/msg/Outer", [tmp_path])
    assert definition.type_hash == "RIHS01_ab"
    headings = [line for line in definition.text.splitlines() if line.startswith("MSG:")]
    assert headings == ["MSG: other_msgs/Far", "MSG: toy_msgs/Inner"]


@pytest.mark.parametrize("name", ["sensor_msgs/Image", "sensor_msgs/msg/NoSuch", "no_msgs/msg/Thing", "x"])
def test_unknown_types_are_named(name):
    with pytest.raises(TypeDefinitionError, match=name.rpartition("/")[2]):
        load_type_definition(name)
