"""Opening and closing episodes on real streams, where the disk or the publisher's counts give trouble."""

import threading
import time

import pytest
import rclpy
from dp_recorder.episode import EpisodeRequest, read_episode_file
from dp_recorder.episode_session import EpisodeSession
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.recorded_streams import SCENE_TOPIC, RecordedStream
from dp_recorder.stream_receiver import StreamReceiver
from sensor_msgs.msg import JointState

from dp_msgs.msg import SceneState
from dp_ros import qos

STREAMS = (
    RecordedStream("joints", "sensor_msgs/msg/JointState"),
    RecordedStream(SCENE_TOPIC, "dp_msgs/msg/SceneState"),
)


def eventually(condition, patience_s=30.0):
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("recording", namespace="/episode_session", context=context)
    yield node
    node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def session(node):
    receiver = StreamReceiver(node, STREAMS, simulated=False)
    closed = threading.Event()
    yield EpisodeSession(
        receiver,
        STREAMS,
        node.resolve_topic_name,
        simulated=False,
        queue_bytes=2**20,
        compression="none",
        on_closed=closed.set,
    ), receiver, closed  # fmt: skip
    receiver.close()


def test_streams_are_received_while_the_disk_keeps_an_episode_waiting(node, session, tmp_path, monkeypatch):
    session, receiver, closed = session
    joints = node.create_publisher(JointState, "joints", qos.STATE)
    eventually(lambda: joints.get_subscription_count() == 1)
    joints.publish(JointState())
    eventually(lambda: receiver.sequences()[0] == 1)
    create, slow = EpisodeWriter._create_bag, threading.Event()

    def create_slowly(writer, compression):
        bag = create(writer, compression)
        assert slow.wait(30.0)
        return bag

    monkeypatch.setattr(EpisodeWriter, "_create_bag", create_slowly)
    opening = threading.Thread(target=session.begin, args=(EpisodeRequest(directory=tmp_path, task="t"),))
    opening.start()
    joints.publish(JointState())
    eventually(lambda: receiver.sequences()[0] == 2)
    before_ns = receiver.now_ns()
    slow.set()
    opening.join()
    joints.publish(JointState())
    eventually(lambda: session.episode.summaries[0].received == 1)
    session.close_soon("success", "")
    assert closed.wait(30.0)
    episode = session.take_closed()
    assert (episode.summaries[0].published, episode.summaries[0].lost) == (1, 0), "counted from when it begins"
    assert read_episode_file(episode.folder)["started_ns"] >= before_ns


def test_counts_that_cannot_be_compared_keep_no_episode_open(node, session, tmp_path):
    session, receiver, closed = session
    scenes = node.create_publisher(SceneState, SCENE_TOPIC, qos.STATE)
    eventually(lambda: scenes.get_subscription_count() == 1)
    session.begin(EpisodeRequest(directory=tmp_path, task="t"))
    scenes.publish(SceneState(stream_names=["joints"], stream_counts=[]))
    eventually(lambda: receiver.last_message(1) is not None)
    session.close_soon("success", "asked")
    assert closed.wait(30.0)
    content = read_episode_file(session.take_closed().folder)
    assert (content["state"], content["outcome"]) == ("closed", "success")
    assert content["note"].startswith("asked; counts of the publishers not compared: ValueError")
