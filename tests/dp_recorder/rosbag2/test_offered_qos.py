"""What publishers offer, from the graph: the words that ``ros2 bag record`` of Jazzy wrote of the same profiles."""

import time

import pytest
import rclpy
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.rosbag2_metadata import OfferedQos
from dp_recorder.stream_receiver import StreamReceiver
from rclpy.duration import Duration
from rclpy.qos import (
    QoSDurabilityPolicy,
    QoSHistoryPolicy,
    QoSLivelinessPolicy,
    QoSProfile,
    QoSReliabilityPolicy,
)
from sensor_msgs.msg import JointState, Joy

TIMED = QoSProfile(
    depth=5,
    deadline=Duration(seconds=1, nanoseconds=500_000_000),
    lifespan=Duration(seconds=2),
    liveliness=QoSLivelinessPolicy.MANUAL_BY_TOPIC,
    liveliness_lease_duration=Duration(seconds=3),
)
SENSOR = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
EVERYTHING = QoSProfile(history=QoSHistoryPolicy.KEEP_ALL)


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("recording", namespace="/offered_qos", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def eventually(condition, patience_s=30.0):
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("profile", "offered"),
    [
        (SENSOR, OfferedQos("unknown", 0, "best_effort", "volatile")),
        (LATCHED, OfferedQos("unknown", 0, "reliable", "transient_local")),
        (EVERYTHING, OfferedQos("unknown", 0, "reliable", "volatile")),
        (
            TIMED,
            OfferedQos(
                "unknown",
                0,
                "reliable",
                "volatile",
                deadline_ns=1_500_000_000,
                lifespan_ns=2_000_000_000,
                liveliness="manual_by_topic",
                liveliness_lease_ns=3_000_000_000,
            ),
        ),
    ],
)
def test_a_publisher_that_came_after_the_last_look_is_asked_for_its_profile(node, profile, offered):
    receiver = StreamReceiver(
        node, [RecordedStream("joy", "sensor_msgs/msg/Joy"), RecordedStream("joints", "sensor_msgs/msg/JointState")],
        simulated=False,
    )  # fmt: skip
    try:
        publisher = node.create_publisher(Joy, "joy", profile)
        eventually(lambda: receiver.offered_qos(0))
        assert receiver.offered_qos(0) == [offered]
        assert receiver.publisher_count(0) == 0 and receiver.offered_qos(1) == []
        node.create_publisher(JointState, "joints", LATCHED)
        eventually(lambda: receiver.offered_qos(1))
        receiver.refresh()
        assert receiver.publisher_count(0) == 1 and receiver.offered_qos(0) == [offered]
        node.destroy_publisher(publisher)
    finally:
        receiver.close()
