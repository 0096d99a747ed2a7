import dataclasses

import numpy as np
import pytest
from dp_core.actions import decode_action
from dp_core.alignment import ObservationAligner
from dp_core.contract import Contract
from dp_core.images import resize_image
from dp_dataset.aligned import CommandTrack, align_bag
from dp_dataset.bag_reader import BagError, BagReader

START_NS = 1_000_000_000_000


def with_values(contract: Contract, **changes) -> Contract:
    return dataclasses.replace(contract, **changes)


def test_values_on_the_grid_are_those_of_the_motion(record, cell, contract, tmp_path):
    bag = BagReader(record(tmp_path, seconds=2.0).folder)
    episode = align_bag(bag, contract)
    assert episode.stamp_ns[0] == START_NS
    np.testing.assert_array_equal(np.diff(episode.stamp_ns), 100_000_000)
    assert len(episode) == 20 and episode.valid.all() and not episode.problems
    t_s = (episode.stamp_ns - START_NS) / 1e9
    expected = np.stack([cell.position(t) for t in t_s])
    measured, widths = decode_action(episode.proprioception)
    np.testing.assert_allclose(measured[:, :3], expected, atol=1e-6)
    np.testing.assert_allclose(widths, [cell.width(t) for t in t_s], atol=1e-6)
    commanded, _ = decode_action(episode.action)
    np.testing.assert_allclose(commanded[:, :3], expected + np.array([0, 0, 0.01]), atol=1e-6)
    for row in (0, 7, 19):
        for shift, camera in enumerate(contract.cameras):
            image = resize_image(cell.image(row, shift), 64, 64)
            np.testing.assert_array_equal(episode.images[camera][row], image)


def test_latencies_shift_what_is_seen_and_what_is_done(record, cell, contract, tmp_path):
    bag = BagReader(record(tmp_path, seconds=2.0).folder)
    streams = dict(contract.streams)
    streams["ee_pose"] = dataclasses.replace(streams["ee_pose"], latency_s=0.03)
    changed = with_values(
        contract, streams=streams, action=dataclasses.replace(contract.action, latency_s=0.08)
    )
    episode = align_bag(bag, changed)
    assert episode.valid.all()
    t_s = (episode.stamp_ns - START_NS) / 1e9
    # A pose stamped t was measured at t - 0.03: at the grid time the stream shows what is stamped 0.03 s later.
    middle = slice(2, -2)
    np.testing.assert_allclose(
        episode.proprioception[middle, 0], 0.4 + 0.02 * (t_s[middle] + 0.03), atol=1e-6
    )
    # A command of time t shows at t + 0.08.
    np.testing.assert_allclose(episode.action[middle, 0], 0.4 + 0.02 * (t_s[middle] - 0.08), atol=1e-6)


def test_a_camera_gap_is_marked_and_nothing_else(record, contract, tmp_path):
    def drop(t_ns, topic, message):
        lost = "wrist" in topic and 8 <= (t_ns - START_NS) // 100_000_000 < 11
        return None if lost else (t_ns, topic, message)

    episode = align_bag(BagReader(record(tmp_path, change=drop).folder), contract)
    np.testing.assert_array_equal(np.flatnonzero(~episode.valid), [8, 9, 10])
    assert any("camera/wrist" in problem for problem in episode.problems)
    # Invalid rows repeat the last valid one, never zeros.
    np.testing.assert_array_equal(episode.images["wrist"][9], episode.images["wrist"][7])
    assert (episode.proprioception[9] == episode.proprioception[7]).all()


def test_instants_without_commands_are_cut_off_at_the_ends(record, cell, contract, tmp_path):
    def silence(t_ns, topic, message):
        if topic == "control/command_state" and (t_ns - START_NS) < 500_000_000:
            message = cell.command(t_ns, (t_ns - START_NS) / 1e9, mode=3)
        return t_ns, topic, message

    episode = align_bag(BagReader(record(tmp_path, change=silence).folder), contract)
    assert episode.stamp_ns[0] == START_NS + 500_000_000
    assert len(episode) == 15 and episode.valid.all()


@pytest.mark.parametrize(
    ("topic", "stream"),
    [
        ("camera/wrist/color/image_raw", "camera wrist"),
        ("robot/ee_pose", "stream ee_pose"),
        ("gripper/state", "stream gripper"),
        ("control/command_state", "stream command"),
    ],
)
def test_a_missing_stream_is_named_with_bag_and_topic(record, contract, tmp_path, topic, stream):
    episode = record(tmp_path, seconds=0.5, without=(topic,))
    with pytest.raises(BagError) as caught:
        align_bag(BagReader(episode.folder), contract)
    for word in (episode.folder.name, stream, topic):
        assert word in str(caught.value)


def test_an_unknown_finger_joint_is_named(record, contract, tmp_path):
    streams = dict(contract.streams)
    streams["gripper"] = dataclasses.replace(streams["gripper"], joint_names=("left_finger",))
    bag = BagReader(record(tmp_path, seconds=0.3).folder)
    with pytest.raises(BagError, match="no joint left_finger; it has fr3_finger_joint1"):
        align_bag(bag, with_values(contract, streams=streams))


def test_jpeg_bags_give_nearly_the_same_images(record, cell, contract, tmp_path):
    cameras = {n: dataclasses.replace(c, recording="jpeg", jpeg_quality=95) for n, c in contract.cameras.items()}
    compressed = with_values(contract, cameras=cameras)
    raw = align_bag(BagReader(record(tmp_path / "raw", seconds=0.5).folder), contract)
    bag = BagReader(record(tmp_path / "jpeg", cell=type(cell)(compressed), seconds=0.5).folder)
    assert bag.topics["/camera/front/color/image_raw/compressed"] == "sensor_msgs/msg/CompressedImage"
    jpeg = align_bag(bag, compressed)
    difference = np.abs(jpeg.images["front"].astype(int) - raw.images["front"].astype(int))
    assert 0 < difference.mean() < 4
    np.testing.assert_array_equal(jpeg.stamp_ns, raw.stamp_ns)


def test_gripper_steps_are_not_interpolated(contract):
    track = CommandTrack(contract)
    pose = np.array([0.4, 0, 0.3, 1, 0, 0, 0], float)
    track.push(0, pose, 0.08, True)
    track.push(10_000_000, pose, 0.0, True)
    action, reason = track.sample(9_000_000)
    assert reason is None and action is not None
    assert action[9] == 0.08
    action, _ = track.sample(10_000_000)
    assert action is not None and action[9] == 0.0


def test_replaying_a_bag_through_live_alignment_gives_the_same_observations(record, contract, tmp_path):
    """Live: bounded buffers, messages in order of receipt, an observation whenever the newest frames are in."""
    bag = BagReader(record(tmp_path, seconds=3.0).folder)
    offline = align_bag(bag, contract)
    live = ObservationAligner(contract, history=1, capacity=64)
    size = (contract.observation.image_width, contract.observation.image_height)
    names = {f"/{camera.topic}": name for name, camera in contract.cameras.items()}
    joints = contract.streams["gripper"].joint_names
    rows = {int(t): row for row, t in enumerate(offline.stamp_ns)}
    compared = 0
    for entry in sorted(bag.read(), key=lambda e: e.log_time_ns):
        message = entry.message
        if entry.topic in names:
            image = np.asarray(message.data).reshape(message.height, message.width, 3)
            live.push_image(names[entry.topic], entry.publish_time_ns, resize_image(image, *size))
        elif entry.topic == "/robot/ee_pose":
            p, q = message.pose.position, message.pose.orientation
            live.push_pose(entry.publish_time_ns, np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w]))
        elif entry.topic == "/gripper/state":
            positions = dict(zip(message.name, message.position, strict=True))
            live.push_width(entry.publish_time_ns, sum(positions[j] for j in joints))
        now = live.newest_observation_ns()
        if now in rows:
            row = rows.pop(now)
            observation = live.sample(now)
            assert observation.valid
            np.testing.assert_array_equal(observation.proprioception[0], offline.proprioception[row])
            for camera in contract.observation.cameras:
                np.testing.assert_array_equal(observation.images[camera][0], offline.images[camera][row])
            compared += 1
    assert compared == len(offline) == 30
