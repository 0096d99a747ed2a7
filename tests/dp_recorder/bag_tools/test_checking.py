import dataclasses
import json
import re
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from dp_core.contract import Contract
from dp_dataset.bag_reader import BagReader
from dp_recorder.bag_tools.bag_copy import copy_bag
from dp_recorder.bag_tools.checking import check_bag
from dp_recorder.bag_tools.labelling import Label, label_episode
from dp_recorder.bag_tools.listing import list_bag
from dp_recorder.bag_tools.repairing import repair_bag
from dp_recorder.bag_tools.trimming import trim_bag
from dp_recorder.bag_writer import BagWriter
from dp_recorder.type_definitions import load_type_definition

from dp_msgs.msg import CommandState

from .conftest import pose, write_poses

START_NS = 1_000_000_000_000


def failures(report) -> list[str]:
    return [str(finding) for finding in report.findings if finding.level == "failure"]


def altering(topic, begin_s, end_s, alter):
    """Change for ``record``: alters messages of a topic within a span; None leaves one out."""

    def change(t_ns, name, message):
        if name == topic and begin_s <= (t_ns - START_NS) / 1e9 < end_s:
            return alter(t_ns, name, message)
        return t_ns, name, message

    return change


def setting(path, value):
    """Alteration that puts a value into a field of a message."""

    def alter(t_ns, name, message):
        *owners, field = path.split(".")
        owner = message
        for part in owners:
            owner = getattr(owner, part)
        object.__setattr__(owner, field, value)
        return t_ns, name, message

    return alter


def test_a_good_episode_passes(record, tmp_path):
    report = check_bag(record(tmp_path, seconds=2.0).folder)
    assert failures(report) == []
    rows = {row["topic"]: row for row in report.rows}
    pose, image = rows["/robot/ee_pose"], rows["/camera/front/color/image_raw"]
    assert (pose["messages"], pose["lost"], pose["gaps"], pose["out_of_order"]) == (200, 0, 0, 0)
    assert pose["rate_hz"] == pytest.approx(100.0) and image["rate_hz"] == pytest.approx(10.0)
    assert pose["jitter_max_s"] == pytest.approx(0.0, abs=1e-9)
    assert pose["offset_median_s"] == pytest.approx(0.002)
    assert pose["longest_gap_s"] == pytest.approx(0.01)
    assert image["messages"] == 20 and image["repeated_pictures"] == 0


def drop(t_ns, name, message):
    return None


POSE, GRIPPER, JOINTS = "robot/ee_pose", "gripper/state", "robot/joint_states"
COMMAND, WRENCH, FRONT = "control/command_state", "robot/wrench", "camera/front/color/image_raw"
black, white = np.zeros(96 * 288, np.uint8), np.full(96 * 288, 255, np.uint8)

#: Topic, from, to (s), what is done to it, what the check says, when (s).
FAULTS = {
    "gap": (POSE, 0.5, 0.8, drop, r"gap of 0.310 s between stamps, allowed 0.1 s", 0.49),
    "end": (POSE, 1.5, 9, drop, r"nothing in the last 0.50 s", 1.49),
    "silent": (POSE, 0, 9, drop, r"no messages", None),
    "nan": (POSE, 1.0, 1.01, setting("pose.position.x", float("nan")), r"a pose is not finite$", 1.0),
    "quaternion": (POSE, 1.0, 1.01, setting("pose.orientation.x", 0.5), r"a quaternion has norm 0.5000$", 1.0),
    "workspace": (POSE, 1.0, 1.01, setting("pose.position.z", 0.7), r"more than 0.05 m out of the workspace$", 1.0),
    "jump": (POSE, 1.0, 1.01, setting("pose.position.z", 0.4), r"the position jumps by 0.100 m in 0.010 s", 1.0),
    "width": (GRIPPER, 1.0, 1.01, setting("position", np.array([0.06, 0.06])), r"width 0.1200 m, .* 0 to 0.08 m$", 1.0),
    "finger": (GRIPPER, 1.0, 1.01, setting("name", ["a", "b"]), r"no position of joint fr3_finger_joint1", 1.0),
    "joint": (JOINTS, 1.0, 1.01, setting("position", np.full(7, 1.1)), r"a joint jumps by 1.00 rad in 0.010 s", 1.0),
    "joint nan": (JOINTS, 1.0, 1.01, setting("velocity", np.full(7, np.nan)), r"a velocity is not finite$", 1.0),
    "positions": (JOINTS, 1.0, 1.01, setting("position", np.zeros(0)), r"no position of joint fr3_joint1", 1.0),
    "no stamps": (
        *(POSE, 0, 9, setting("header.stamp", SimpleNamespace(sec=0, nanosec=0))),
        *(r"200 stamps are not set \(0\)", None),
    ),
    "command": (COMMAND, 1.0, 1.01, setting("commanded_width", 0.2), r"width 0.2000 m", 1.0),
    "wrench": (WRENCH, 1.0, 1.01, setting("wrench.force.x", float("inf")), r"a force or torque is not finite$", 1.0),
    "black": (FRONT, 0.5, 1.2, setting("data", black), r"black for 0.60 s$", 0.5),
    "white": (FRONT, 0.5, 1.2, setting("data", white), r"over-exposed for 0.60 s$", 0.5),
    "frozen": (
        *(FRONT, 0.5, 1.6, setting("data", black + 90)),
        *(r"frozen: the same picture for 1.10 s while the arm moved by 0.0\d+ m", 0.5),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found_where_it_is(record, tmp_path, fault):
    topic, begin_s, end_s, alter, expected, at_s = FAULTS[fault]
    episode = record(tmp_path, seconds=2.0, change=altering(topic, begin_s, end_s, alter))
    report = check_bag(episode.folder)
    found = [f for f in report.findings if f.level == "failure" and f.where == f"/{topic}"]
    matching = [f for f in found if re.search(expected, f.what.replace(" (2 times)", ""))]
    assert matching, [str(f) for f in report.findings]
    if at_s is not None:
        assert matching[0].at_s == pytest.approx(at_s, abs=0.021)
    assert report.failed(strict=False)


@pytest.mark.parametrize(("until_s", "fails"), [(2.4, False), (2.7, True)])
def test_a_simulated_camera_may_see_an_even_floor_for_a_while(record, tmp_path, until_s, fails):
    """Drawn pictures have no noise: two seconds of the same, where of a real camera half a second is too much."""
    change = altering(FRONT, 0.5, until_s, setting("data", black + 90))
    folder = record(tmp_path, seconds=3.0, change=change).folder
    assert any("frozen" in line for line in failures(check_bag(folder)))
    told = json.loads((folder / "episode.json").read_text())
    (folder / "episode.json").write_text(json.dumps(told | {"clock": "simulation"}))
    assert any("frozen" in line for line in failures(check_bag(folder))) == fails


def test_what_control_commands_counts_only_while_it_sends(record, tmp_path):
    """STOPPED: no pose yet, or the last one; the next mode starts where the arm then is."""
    stopped = setting("mode", int(CommandState.STOPPED))

    def nowhere(t_ns, name, message):
        for axis in "xyz":
            message = setting(f"commanded_pose.position.{axis}", 0.0)(t_ns, name, message)[2]
        return stopped(t_ns, name, message)

    episode = record(tmp_path / "stopped", seconds=0.9, change=altering(COMMAND, 0.0, 0.3, nowhere))
    assert failures(check_bag(episode.folder)) == []

    def nowhere_in_hold(t_ns, name, message):
        return setting("mode", int(CommandState.HOLD))(*nowhere(t_ns, name, message))

    episode = record(tmp_path / "hold", seconds=0.9, change=altering(COMMAND, 0.0, 0.3, nowhere_in_hold))
    found = failures(check_bag(episode.folder))
    assert any("out of the workspace" in line for line in found) and any("position jumps" in line for line in found)


def shifting(milliseconds):
    """Alteration that moves the stamp of a message."""

    def alter(t_ns, name, message):
        stamp = message.header.stamp
        object.__setattr__(stamp, "nanosec", stamp.nanosec + milliseconds * 1_000_000)
        return t_ns, name, message

    return alter


def test_stamps_out_of_order_are_counted(record, tmp_path):
    change = altering(POSE, 0.51, 0.52, shifting(-20))
    found = failures(check_bag(record(tmp_path, seconds=0.9, change=change).folder))
    assert [line for line in found if "/robot/ee_pose" in line] == [
        "failure: /robot/ee_pose at 0.51 s: 1 stamps not after their predecessor"
    ]


def test_a_clock_that_is_ahead_is_told(record, tmp_path):
    found = failures(check_bag(record(tmp_path, seconds=0.9, change=altering(POSE, 0, 0.9, shifting(40))).folder))
    # Received 2 ms after it was measured, stamped 40 ms ahead.
    assert any("/robot/ee_pose: stamps lie 0.038 s in the future" in line for line in found)


def test_in_simulation_receipts_say_nothing_about_clocks(record, tmp_path):
    folder = record(tmp_path, seconds=0.9, change=altering(POSE, 0, 0.9, shifting(40))).folder
    told = json.loads((folder / "episode.json").read_text())
    (folder / "episode.json").write_text(json.dumps(told | {"clock": "simulation"}))
    assert failures(check_bag(folder)) == []


def test_a_clock_that_drifts_is_told(tmp_path):
    writer = BagWriter(tmp_path / "drift")
    channel = writer.add_topic("/pose", load_type_definition("geometry_msgs/msg/PoseStamped"))
    for index in range(300):
        # 1000 ppm slower than the recorder's clock: 50 ms farther behind after 50 s.
        seconds, nanoseconds = divmod(round(index * 1e9 / 6), 10**9)
        header = struct.pack("<4siII", b"\x00\x01\x00\x00", seconds, nanoseconds, 2) + b"b\x00\x00\x00"
        data = header + struct.pack("<7d", *[0.0] * 6, 1.0)
        writer.write(channel, data, round(index * 1e9 / 6 * 1.001), 0, 0)
    writer.close()
    found = [str(finding) for finding in check_bag(tmp_path / "drift").findings]
    assert any("its clock drifts by 999 ppm, 0.050 s in this bag" in line for line in found), found


def test_lost_messages_show_in_the_counter(record, tmp_path):
    bag = BagReader(record(tmp_path, seconds=1.0).folder)

    def messages():
        for entry in bag.read_raw():
            late = entry.topic == "/robot/wrench" and entry.sequence > 50
            yield entry._replace(sequence=entry.sequence + 3) if late else entry

    copy_bag(bag, messages(), tmp_path / "lossy", custom_data={}, embedded={})
    (tmp_path / "lossy" / "episode.json").write_text((bag.folder / "episode.json").read_text())
    assert failures(check_bag(tmp_path / "lossy")) == ["failure: /robot/wrench: 3 of 103 published messages lost"]


def test_a_wrong_byte_is_told_with_its_place(record, tmp_path):
    bag = BagReader(record(tmp_path, seconds=0.5).folder)
    entry = next(entry for entry in bag.read_raw() if entry.topic == "/robot/wrench")
    data = bytearray(bag.path.read_bytes())
    data[data.index(bytes(entry.data))] ^= 0xFF
    bag.path.write_bytes(data)
    assert any("does not match its checksum at byte" in line for line in failures(check_bag(bag.folder)))


def test_a_killed_recorder_and_wrong_files_fail(record, tmp_path):
    episode = record(tmp_path, seconds=0.5)
    folder = episode.folder
    told = json.loads((folder / "episode.json").read_text())
    told["streams"]["robot/ee_pose"]["received"] += 1
    (folder / "episode.json").write_text(json.dumps(told))
    assert any("50 messages, episode.json says 51 were written" in line for line in failures(check_bag(folder)))
    metadata = (folder / "metadata.yaml").read_text()
    (folder / "metadata.yaml").unlink()
    assert any("metadata.yaml is missing" in line for line in failures(check_bag(folder)))
    (folder / "metadata.yaml").write_text(metadata)
    path = BagReader(folder).path
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert any("has no end" in line for line in failures(check_bag(folder)))


@pytest.mark.parametrize(
    ("key", "value"),
    [("duration_s", "long"), ("reasons", 5), ("streams", {"robot/ee_pose": 1}), ("contract", 7), ("outcome", True)],
)
def test_a_description_of_wrong_types_is_told_and_stops_no_tool(record, tmp_path, key, value):
    folder = record(tmp_path, seconds=0.5).folder
    told = json.loads((folder / "episode.json").read_text())
    (folder / "episode.json").write_text(json.dumps(told | {"verdict": "bad", key: value}))
    assert any(f"failure: episode.json: {key}" in line for line in failures(check_bag(folder)))
    assert list_bag(folder).state == "closed"
    assert trim_bag(folder, start_s=0.1).message_count
    assert repair_bag(folder, dry_run=True).state == "intact"
    assert label_episode(folder, Label(note="seen")) == folder
    assert json.loads((folder / "episode.json").read_text())["note"].endswith("; seen")


def test_another_contract_may_be_stricter(record, tmp_path, contract):
    folder = record(tmp_path, seconds=1.0).folder
    stream = dataclasses.replace(contract.streams["ee_pose"], rate_hz=200.0)
    stricter = dataclasses.replace(contract, streams={**contract.streams, "ee_pose": stream})
    assert isinstance(stricter, Contract)
    assert any("100.00 Hz, the contract asks for 200 Hz" in line for line in failures(check_bag(folder, stricter)))


def test_another_contract_may_be_slower(record, tmp_path, contract):
    folder = record(tmp_path, seconds=1.0).folder
    stream = dataclasses.replace(contract.streams["ee_pose"], rate_hz=50.0)
    slower = dataclasses.replace(contract, streams={**contract.streams, "ee_pose": stream})
    found = failures(check_bag(folder, slower))
    assert found == ["failure: /robot/ee_pose: 100.00 Hz, the contract asks for 50 Hz"]


def test_a_stream_of_another_type_is_told(record, tmp_path, contract):
    folder = record(tmp_path, seconds=0.9).folder
    stream = dataclasses.replace(contract.streams["wrench"], type="geometry_msgs/msg/TwistStamped")
    other = dataclasses.replace(contract, streams={**contract.streams, "wrench": stream})
    told = "its type is geometry_msgs/msg/WrenchStamped, the contract asks for geometry_msgs/msg/TwistStamped"
    assert failures(check_bag(folder, other)) == [f"failure: /robot/wrench: {told}"]


def test_a_contract_that_compresses_takes_raw_pictures_too(record, tmp_path, contract):
    # As `ros2 bag record` leaves them of the same cell.
    folder = record(tmp_path, seconds=0.9, without=(FRONT,)).folder
    cameras = {name: dataclasses.replace(camera, recording="jpeg") for name, camera in contract.cameras.items()}
    found = failures(check_bag(folder, dataclasses.replace(contract, cameras=cameras)))
    assert found == [f"failure: /{FRONT}/compressed: no messages"]


def test_dark_pictures_that_the_contract_does_not_ask_for_are_a_warning(record, tmp_path, contract):
    change = altering(FRONT, 0.5, 1.2, setting("data", black))
    folder = record(tmp_path, seconds=2.0, change=change).folder
    cameras = {name: camera for name, camera in contract.cameras.items() if camera.topic != FRONT}
    observation = dataclasses.replace(contract.observation, cameras=tuple(cameras))
    without = dataclasses.replace(contract, cameras=cameras, observation=observation)
    told = "black for 0.60 s"
    assert any(told in line for line in failures(check_bag(folder)))
    report = check_bag(folder, without)
    assert failures(report) == []
    assert told in [finding.what for finding in report.findings if finding.where == f"/{FRONT}"]


def test_a_bag_without_messages_fails(tmp_path):
    BagWriter(tmp_path / "empty").close()
    report = check_bag(tmp_path / "empty")
    assert (report.duration_s, report.message_count) == (0.0, 0)
    assert failures(report) == ["failure: empty_0.mcap: the bag holds no messages"]


def test_a_bag_that_is_no_episode_is_checked_as_far_as_that_goes(tmp_path):
    write_poses(tmp_path / "foreign")
    (tmp_path / "foreign" / "episode.json").unlink()
    report = check_bag(tmp_path / "foreign")
    assert [finding.what for finding in report.findings if "no contract" in finding.what]
    assert report.message_count == 40


def test_a_whole_file_of_another_writer_needs_no_metadata_beside_it(tmp_path):
    writer = BagWriter(tmp_path / "plain")
    channel = writer.add_topic("/pose", load_type_definition("geometry_msgs/msg/PoseStamped"))
    for index in range(5):
        writer.write(channel, pose(index), index * 10**9, index * 10**9, 0)
    writer.close()
    (tmp_path / "plain" / "metadata.yaml").unlink()
    report = check_bag(tmp_path / "plain")
    assert failures(report) == []
    assert any("metadata.yaml is missing" in finding.what for finding in report.findings)
