"""Bags over real DDS: what comes, in which order; when it comes is only asked of what the player itself says."""

import itertools
import threading
import time

import cv2
import numpy as np
import pytest
import rclpy
import yaml
from dp_dataset.bag_reader import BagError, BagReader, BagTopic, RawMessage
from dp_recorder.bag_tools.play_selection import PlayedTopic, PlayFilter, select_topics
from dp_recorder.bag_tools.playback import NEXT, PAUSE, QUIT, BagPlayer, PlaySettings, recorded_qos
from dp_recorder.bag_tools.raw_picture import raw_image_message
from dp_recorder.serialized_message import write_compressed_image
from dp_ros.executor import LeanExecutor
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from .conftest import write_poses

_RUNS = itertools.count()
RELIABLE = QoSProfile(depth=200, reliability=QoSReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=200, reliability=QoSReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.RELIABLE, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Listener:
    """Hears a bag that is played in a namespace of its own."""

    def __init__(self, context):
        options = {"context": context, "start_parameter_services": False, "enable_rosout": False}
        self.namespace = f"play{next(_RUNS)}"
        self.node = Node("listener", namespace=self.namespace, **options)
        self.player_node = Node("player", namespace=self.namespace, **options)
        self.poses, self.latched, self.clock = [], [], []
        self._stop = threading.Event()

    def listen(self, topic, kind, into, qos, field):
        self.node.create_subscription(kind, topic, lambda message: into.append(field(message)), qos)

    def start(self):
        self._executor = LeanExecutor(context=self.node.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def wait_for(self, condition):
        until = time.monotonic() + 30.0
        while not condition() and time.monotonic() < until:
            time.sleep(0.01)
        assert condition()

    def close(self):
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.player_node.destroy_node()


@pytest.fixture
def listener():
    context = Context()
    rclpy.init(args=[], context=context)
    heard = Listener(context)
    heard.listen("pose", PoseStamped, heard.poses, RELIABLE, lambda m: round(m.pose.position.x - 0.5))
    heard.listen("latched", PoseStamped, heard.latched, RELIABLE, lambda m: round(m.pose.position.x - 0.5))
    heard.start()
    yield heard
    heard.close()
    rclpy.try_shutdown(context=context)


def player(listener, folder, settings, **wanted):
    bag = BagReader(folder)
    topics, _ = select_topics(bag.topic_details, PlayFilter(namespace=listener.namespace, **wanted))
    made = BagPlayer(listener.player_node, bag, topics, settings)
    assert made.wait_for_subscribers(30.0) == []
    return made


def test_everything_comes_once_and_in_order(listener, poses):
    result = player(listener, poses[0], PlaySettings(rate=20)).play()
    listener.wait_for(lambda: len(listener.poses) >= 39)
    assert listener.poses == [0, *range(2, 40)]
    listener.wait_for(lambda: listener.latched == [1])
    prefix = f"/{listener.namespace}"
    assert result.published == {f"{prefix}/pose": 39, f"{prefix}/latched": 1}
    assert result.loops == 1


def test_it_takes_the_time_of_the_bag(listener, poses):
    """Never faster than recorded: 0.9 s between first and last message at rate 2 are 0.45 s or more."""
    begun = time.monotonic()
    player(listener, poses[0], PlaySettings(rate=2, start_s=3.0)).play()
    assert time.monotonic() - begun >= 0.45


def test_late_subscribers_are_told_what_was_latched(listener, poses):
    playing = player(listener, poses[0], PlaySettings(rate=20, start_s=2.0, duration_s=0.55))
    late = []
    playing.play()
    listener.wait_for(lambda: len(listener.poses) >= 6)
    # From 2.0 s on, and before that what a late subscriber would have heard.
    assert listener.poses == list(range(20, 26)) and listener.latched == [1]
    listener.listen("latched", PoseStamped, late, LATCHED, lambda m: round(m.pose.position.x - 0.5))
    listener.wait_for(lambda: late == [1])


def test_loop_pause_step_and_quit(listener, poses):
    """Keys by the number of messages published so far."""
    playing = player(listener, poses[0], PlaySettings(rate=50, start_s=3.0, loop=True, paused=True), topics=["/pose"])
    asked = iter([[NEXT], [], [NEXT], [PAUSE]])
    counts = []

    def keys():
        counts.append(sum(playing.result.published.values()))
        if playing.result.loops == 2:
            return [QUIT]
        return next(asked, [])

    result = playing.play(keys)
    # Paused at the start: one message for each step, nothing in between.
    assert counts[:4] == [0, 1, 1, 2]
    assert result.published == {f"/{listener.namespace}/pose": 20} and result.loops == 2
    listener.wait_for(lambda: len(listener.poses) >= 20)
    assert listener.poses == [*range(30, 40), *range(30, 40)]


def test_the_clock_is_that_of_the_bag(listener, poses):
    listener.listen("/clock", Clock, listener.clock, BEST_EFFORT, lambda m: m.clock.sec * 10**9 + m.clock.nanosec)
    listener.wait_for(lambda: not listener.clock)
    playing = player(listener, poses[0], PlaySettings(rate=5, start_s=1.0, duration_s=2.0, clock_hz=20))
    listener.wait_for(lambda: listener.player_node.count_subscribers("/clock") > 0)
    playing.play()
    # 20 Hz of the bag's time, from 2.0 s (its messages begin at 1.0 s) to 3.9 s; best effort: some may be lost.
    listener.wait_for(lambda: len(listener.clock) >= 5)
    assert set(listener.clock) <= {2_000_000_000 + 50_000_000 * k for k in range(40)}
    assert listener.clock == sorted(set(listener.clock))


def test_types_that_are_not_installed_are_named(listener, tmp_path):
    write_poses(tmp_path / "strange", count=2)
    path = tmp_path / "strange" / "strange_0.mcap"
    bag = BagReader(tmp_path / "strange")
    topics, _ = select_topics(bag.topic_details, PlayFilter())
    unknown = [t.__class__(t.source, t.name, "absent_msgs/msg/Nothing") for t in topics]
    with pytest.raises(
        BagError, match=r"/pose cannot be played: message type absent_msgs/msg/Nothing is not installed"
    ):
        BagPlayer(listener.player_node, bag, unknown, PlaySettings())
    assert path.exists()


@pytest.mark.parametrize(
    "options", [{"rate": 0.0}, {"rate": 101}, {"start_s": -1}, {"duration_s": 0}, {"clock_hz": -1}]
)
def test_settings_have_ranges(options):
    with pytest.raises(BagError, match=r"valid|must not"):
        PlaySettings(**options)


def test_a_jpeg_becomes_the_picture_it_was_made_of():
    pixels = np.full((6, 10, 3), (200, 100, 50), np.uint8)  # RGB
    _, data = cv2.imencode(".png", pixels[..., ::-1])
    message = write_compressed_image(3_000_000_004, "optical_frame", "rgb8; png", data.tobytes())
    entry = RawMessage("/c/compressed", "sensor_msgs/msg/CompressedImage", 0, 0, 0, memoryview(message))
    image = deserialize_message(raw_image_message(entry), Image)
    assert (image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id) == (3, 4, "optical_frame")
    assert (image.height, image.width, image.encoding, image.step) == (6, 10, "rgb8", 30)
    assert bytes(image.data) == pixels.tobytes()


@pytest.mark.parametrize(
    ("reliabilities", "durabilities", "expected"),
    [
        (["reliable"], ["volatile"], ("RELIABLE", "VOLATILE", 7)),
        (["best_effort"], ["volatile"], ("BEST_EFFORT", "VOLATILE", 7)),
        # What one of several publishers did not offer is not offered.
        (["reliable", "best_effort"], ["transient_local", "volatile"], ("BEST_EFFORT", "VOLATILE", 7)),
        ([1], [1], ("RELIABLE", "TRANSIENT_LOCAL", 7)),  # numbers for words: rosbag2 before Jazzy
        ([], [], ("RELIABLE", "VOLATILE", 100)),
    ],
)
def test_qos_is_what_was_offered(reliabilities, durabilities, expected):
    pairs = zip(reliabilities, durabilities, strict=True)
    profiles = [{"reliability": r, "durability": d, "history": "keep_last", "depth": 7} for r, d in pairs]
    source = BagTopic("/a", "a/msg/B", "", "ros2msg", "", yaml.safe_dump(profiles), 1)
    found = recorded_qos(PlayedTopic(source, "/a", "a/msg/B"))
    assert (found.reliability.name, found.durability.name, found.depth) == expected


def test_a_topic_that_another_node_publishes_is_occupied(listener, tmp_path):
    write_poses(tmp_path / "poses")
    bag = BagReader(tmp_path / "poses")
    topics, _ = select_topics(bag.topic_details, PlayFilter(namespace=listener.namespace))
    player = BagPlayer(listener.player_node, bag, topics, PlaySettings())
    again = BagPlayer(listener.player_node, bag, topics, PlaySettings())
    assert again.occupied(0.2) == []  # the bag before it was played by the same node
    publisher = listener.node.create_publisher(PoseStamped, f"/{listener.namespace}/pose", RELIABLE)
    assert player.occupied(30.0) == [f"/{listener.namespace}/pose"]
    listener.node.destroy_publisher(publisher)
