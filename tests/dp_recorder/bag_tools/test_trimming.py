import hashlib
import json

import pytest
from dp_dataset.bag_reader import BagError, BagReader
from dp_recorder.bag_tools.checking import check_bag
from dp_recorder.bag_tools.repairing import repair_bag
from dp_recorder.bag_tools.trimming import trim_bag
from dp_recorder.bag_writer import BagWriter, OfferedQos
from dp_recorder.episode import EpisodeRequest, write_episode_file
from dp_recorder.type_definitions import load_type_definition

from .conftest import messages_of, pose

START_NS = 1_000_000_000_000


def test_a_span_becomes_an_episode_of_its_own(record, tmp_path):
    source = record(tmp_path, seconds=2.0).folder
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    result = trim_bag(source, start_s=0.5, end_s=-0.4)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    assert result.folder == tmp_path / "episode_0002_place"
    # The last of 200 ticks lies at 1.99 s: from 0.50 to 1.59 s there are 110 with both ends.
    bag = BagReader(result.folder)
    assert bag.message_counts["/robot/ee_pose"] == 110
    assert bag.message_counts["/camera/front/color/image_raw"] == 11
    expected = [
        e for e in BagReader(source).read_raw() if 500_000_000 <= e.log_time_ns - START_NS - 2_000_000 <= 1_590_000_000
    ]
    assert [bytes(e.data) for e in expected] == messages_of(result.folder)
    told = json.loads((result.folder / "episode.json").read_text())
    assert (told["id"], told["state"], told["outcome"], told["verdict"]) == (
        *("episode_0002_place", "closed"),
        *("success", "good"),
    )
    assert told["duration_s"] == pytest.approx(1.09)
    assert told["streams"]["robot/ee_pose"]["received"] == 110
    trim = told["trim"]
    assert (trim["source_id"], trim["start_s"], trim["end_s"]) == ("episode_0001_place", 0.5, pytest.approx(1.59))
    assert trim["source_sha256"] == hashlib.sha256(BagReader(source).path.read_bytes()).hexdigest()
    assert not [f for f in check_bag(result.folder).findings if f.level == "failure"]


def test_latched_messages_from_before_the_cut_stay(poses, tmp_path):
    folder, _ = poses
    repair_bag(folder)  # the episode is only open by its file
    result = trim_bag(folder, start_s=2.0, end_s=2.5, out=tmp_path / "out")
    entries = list(BagReader(result.folder).read_raw())
    assert [bytes(entry.data) for entry in entries] == [pose(1), *(pose(index) for index in range(20, 26))]
    assert entries[0].topic == "/latched"
    assert (entries[0].log_time_ns, entries[0].publish_time_ns) == (3 * 10**9, 11 * 10**8)


def test_latched_messages_from_before_the_cut_are_counted(tmp_path, contract):
    source = tmp_path / "episode_0001_place"
    request = EpisodeRequest(tmp_path, "place", contract=contract.to_dict(), contract_hash=contract.hash)
    source.mkdir()
    write_episode_file(source, request.describe(source.name, 0) | {"state": "closed"})
    writer = BagWriter(source)
    definition = load_type_definition("sensor_msgs/msg/CameraInfo")
    latched = OfferedQos("keep_last", 1, "reliable", "transient_local")
    channels = [
        writer.add_topic("/camera/front/color/camera_info", definition, [latched]),
        writer.add_topic("/other", load_type_definition("geometry_msgs/msg/PoseStamped")),
    ]
    for index in range(20):
        writer.write(channels[index > 0], pose(index), index * 10**8, index * 10**8, index + 1)
    writer.close()
    result = trim_bag(source, start_s=1.0, end_s=1.5)
    assert result.message_count == 7 and len(messages_of(result.folder)) == 7
    told = json.loads((result.folder / "episode.json").read_text())["streams"]
    assert told["camera/front/color/camera_info"]["received"] == 1
    assert not [f for f in check_bag(result.folder).findings if "says" in f.what]


def test_in_place_keeps_the_old_file(poses):
    folder, messages = poses
    repair_bag(folder)
    old = (folder / "poses_0.mcap").read_bytes()
    trim_bag(folder, end_s=1.0, in_place=True)
    assert messages_of(folder) == messages[:11]
    assert (folder / "poses_0.mcap.orig").read_bytes() == old
    assert json.loads((folder / "episode.json").read_text())["trim"]["end_s"] == 1.0
    assert repair_bag(folder).state == "intact"


def test_auto_cuts_to_the_motion(record, tmp_path):
    """The arm rests until 1.0 s, then moves 0.02 m/s in x until 2.0 s, then rests."""

    def rest(t_ns, name, message):
        if name == "robot/ee_pose":
            moving_s = min(max((t_ns - START_NS) / 1e9 - 1.0, 0.0), 1.0)
            object.__setattr__(message.pose.position, "x", 0.4 + 0.02 * moving_s)
            object.__setattr__(message.pose.position, "y", 0.0)
        if name == "gripper/state":
            message.position[:] = 0.02
        return t_ns, name, message

    source = record(tmp_path, seconds=3.0, change=rest).folder
    result = trim_bag(source, auto=True)
    # It is 3 mm from the start at 1.15 s and 3 mm from the end at 1.85 s, with 0.3 s around that.
    assert result.start_s == pytest.approx(0.85, abs=0.03)
    assert result.end_s == pytest.approx(2.15, abs=0.03)


@pytest.mark.parametrize("in_place", [False, True])
def test_interrupted_it_leaves_what_was_there(record, tmp_path, monkeypatch, in_place):
    source = record(tmp_path, seconds=0.5).folder

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    def present():
        return {str(path.relative_to(tmp_path)): path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}

    before = present()
    monkeypatch.setattr("dp_recorder.bag_writer.BagWriter.close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trim_bag(source, end_s=0.3, in_place=in_place)
    assert present() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_s": 5.0}, "start 5 s lies outside of its 3.90 s"),
        ({"start_s": 2.0, "end_s": 1.0}, "nothing would be left"),
        ({"end_s": -9.0}, "end -9 s lies outside"),
        ({"auto": True}, "carries no contract"),
    ],
)
def test_spans_that_make_no_sense_are_refused(poses, options, message):
    with pytest.raises(BagError, match=message):
        trim_bag(poses[0], **options)
    assert [path.name for path in poses[0].parent.iterdir()] == ["poses"]


def test_a_bag_without_an_index_is_sent_to_repair(poses):
    path = poses[0] / "poses_0.mcap"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BagError, match="dp bag repair"):
        trim_bag(poses[0], end_s=1.0)
