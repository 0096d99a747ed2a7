"""The real ``ros2 bag info`` and ``ros2 bag play`` on our bags, where a full installation of ROS 2 is on the PATH."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dp_recorder.bag_writer import BagWriter
from dp_recorder.type_definitions import load_type_definition
from geometry_msgs.msg import PoseStamped
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, JointState
from small_bags import LATCHED, SENSOR, START_NS, TIMED

LISTENER = Path(__file__).with_name("bag_listener.py")
TOPICS = {
    "/conformance/ee_pose": ("geometry_msgs/msg/PoseStamped", PoseStamped, [TIMED], ["reliable", "volatile"]),
    "/conformance/joint_states": ("sensor_msgs/msg/JointState", JointState, [SENSOR], ["best_effort", "volatile"]),
    "/conformance/camera_info": ("sensor_msgs/msg/CameraInfo", CameraInfo, [LATCHED], ["reliable", "transient_local"]),
}
COUNT = 50


def ros2_environment() -> dict[str, str]:
    """That of the shell: the ROS wheels in our own environment are not those of the ``ros2`` on the PATH."""
    environment = dict(os.environ)
    if environment.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None) is not None:
        entries = environment.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        kept = [entry for entry in entries if entry and not entry.startswith(sys.prefix)]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(kept)
    return environment


def ros2_bag(*arguments: str) -> str:
    """Output of a ``ros2 bag`` command that must succeed."""
    done = subprocess.run(
        ["ros2", "bag", *arguments],
        env=ros2_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def ros2_with_bag_verb():
    if shutil.which("ros2") is None:
        pytest.skip("no ros2 on the PATH: needs a full installation of ROS 2 Jazzy (ros-jazzy-ros2bag)")
    try:
        plugins = ros2_bag("list", "storage")
    except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"ros2 on the PATH has no working bag verb: {str(error).strip()[-200:]}")
    if "mcap" not in plugins:
        pytest.skip("rosbag2 without MCAP storage: needs ros-jazzy-rosbag2-storage-mcap")


@pytest.fixture(params=["none", "zstd"])
def bag(tmp_path, request):
    writer = BagWriter(tmp_path / "episode_0001_place", compression=request.param, custom_data={"episode_id": "e1"})
    channels = {
        topic: writer.add_topic(topic, load_type_definition(kind), qos) for topic, (kind, _, qos, _) in TOPICS.items()
    }
    for index in range(COUNT):
        for topic, channel in channels.items():
            writer.write(channel, message(topic, index), START_NS + 20_000_000 * index, 0, index + 1)
        if index % 20 == 19:
            writer.flush()
    writer.close()
    return writer.folder


@functools.cache  # serializing twice need not give the same bytes where alignment leaves gaps
def message(topic: str, index: int) -> bytes:
    content = TOPICS[topic][1]()
    content.header.frame_id = f"frame {index:03d}"
    return serialize_message(content)


def test_info(bag):
    lines = [" ".join(line.split()) for line in ros2_bag("info", str(bag)).splitlines()]
    for expected in (
        "Files: episode_0001_place_0.mcap",
        "Storage id: mcap",
        "ROS Distro: jazzy",
        "Duration: 0.980000000s",
        f"Messages: {COUNT * len(TOPICS)}",
    ):
        assert expected in lines
    for topic, (kind, _, _, _) in TOPICS.items():
        listed = f"Topic: {topic} | Type: {kind} | Count: {COUNT} | Serialization Format: cdr"
        assert any(line.endswith(listed) for line in lines), lines
    assert not any("WARN" in line or "ERROR" in line for line in lines), lines


def test_play(bag):
    arguments = [f"{topic}={kind}={offer[1]}" for topic, (kind, _, _, offer) in TOPICS.items()]
    with subprocess.Popen(
        [sys.executable, str(LISTENER), "45", *arguments], stdout=subprocess.PIPE, text=True
    ) as listener:
        try:
            assert listener.stdout.readline() == "listening\n"
            output = ros2_bag("play", "--delay", "8", "--disable-keyboard-controls", str(bag))
            heard = json.loads(listener.stdout.readline())
        finally:
            listener.terminate()
    assert "WARN" not in output and "ERROR" not in output, output
    for topic, (_, _, _, offer) in TOPICS.items():
        assert heard["offers"][topic] == offer
        # The middleware fills messages up to a multiple of four bytes.
        sent = [message(topic, index) for index in range(COUNT)]
        assert [bytes.fromhex(text)[: len(sent[0])] for text in heard["received"][topic]] == sent, output


def test_reindex_of_a_bag_whose_writer_was_killed(tmp_path):
    writer = BagWriter(tmp_path / "episode_0001_place")
    topic = "/conformance/ee_pose"
    channel = writer.add_topic(topic, load_type_definition(TOPICS[topic][0]), [TIMED])
    for index in range(COUNT):
        writer.write(channel, message(topic, index), START_NS + 20_000_000 * index, 0, index + 1)
    writer.flush()
    writer.abandon()
    ros2_bag("reindex", "-s", "mcap", str(writer.folder))
    lines = [" ".join(line.split()) for line in ros2_bag("info", str(writer.folder)).splitlines()]
    assert f"Messages: {COUNT}" in lines and "ROS Distro: jazzy" in lines, lines
