import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from dp_core.images import decode_jpeg
from dp_recorder.episode import EpisodeError, EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from mcap.stream_reader import StreamReader
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CompressedImage, Image, JointState

MS = 1_000_000
JOINTS = RecordedStream("robot/joint_states", "sensor_msgs/msg/JointState", True, 100.0, 0.1)
CAMERA = RecordedStream("camera/front", "sensor_msgs/msg/Image", True, 10.0, 0.3, recording="jpeg", jpeg_quality=95)


def joint_message(index: int) -> QueuedMessage:
    message = JointState(name=["a"], position=[float(index)], velocity=[0.0], effort=[0.0])
    message.header.stamp.nanosec = index * 10 * MS
    return QueuedMessage(0, serialize_message(message), index * 10 * MS + MS, index * 10 * MS, index + 1)


def request(directory: Path) -> EpisodeRequest:
    return EpisodeRequest(directory, "place", "ada", "seed=4", {"name": "cell"}, "abc", "1.0")


def test_an_episode_explains_itself(tmp_path):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0)
    open_description = json.loads((writer.folder / "episode.json").read_text())
    assert open_description["state"] == "recording"
    for index in range(60):
        assert writer.put([joint_message(index)]) == 0
    closed = writer.close("success", 600 * MS, "well done")
    content = json.loads((closed.folder / "episode.json").read_text())
    assert content["id"] == closed.episode_id == "episode_0001_place"
    assert (content["outcome"], content["note"], content["seed"]) == ("success", "seed=4; well done", 4)
    assert (content["contract"], content["contract_hash"]) == ({"name": "cell"}, "abc")
    assert (content["verdict"], content["reasons"]) == ("good", [])
    stream = content["streams"]["robot/joint_states"]
    assert (stream["received"], stream["published"], stream["lost"], stream["dropped"]) == (60, 60, 0, 0)
    with AnyReader([closed.folder]) as bag:
        assert [bag.deserialize(d, c.msgtype).position[0] for c, _, d in bag.messages()] == list(range(60))


def test_a_stream_that_dies_during_the_episode_is_no_good_episode(tmp_path):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0)
    writer.put([joint_message(index) for index in range(60)])
    closed = writer.close("success", 5_000 * MS)
    assert closed.verdict.level == "suspect"
    assert closed.verdict.reasons == ("robot/joint_states: nothing in the last 4.41 s",)


def test_images_are_compressed_with_their_header(tmp_path):
    rows, columns = np.mgrid[0:48, 0:64]
    pixels = np.stack([rows * 5, columns * 3, rows + columns], axis=-1).astype(np.uint8)
    image = Image(height=48, width=64, encoding="rgb8", step=192, data=pixels.tobytes())
    image.header.frame_id, image.header.stamp.sec = "optical", 3
    writer = EpisodeWriter(request(tmp_path), [CAMERA], 0)
    writer.put([QueuedMessage(0, serialize_message(image), 5, 3_000_000_000, 1)])
    closed = writer.close("success", 10)
    with AnyReader([closed.folder]) as bag:
        assert bag.connections[0].topic == "/camera/front/compressed"
        ((_, _, data),) = bag.messages()
    compressed = deserialize_message(bytes(data), CompressedImage)
    assert compressed.header == image.header
    assert compressed.format == "rgb8; jpeg compressed bgr8"
    difference = np.abs(decode_jpeg(bytes(compressed.data)).astype(int) - pixels.astype(int))
    assert difference.mean() < 3


def test_overflow_is_counted_and_spoils_the_verdict(tmp_path):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0, queue=MessageQueue(max_messages=10))
    assert writer.put([joint_message(i) for i in range(25)]) == 15
    closed = writer.close("success", 0)
    assert closed.verdict.level == "bad"
    assert closed.verdict.reasons[0] == "robot/joint_states: 15 messages dropped, the queue was full"
    assert closed.summaries[0].received == 25 and closed.summaries[0].lost == 0


def test_a_failing_disk_is_reported_not_raised(tmp_path, monkeypatch):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0, flush_period_s=0.05)
    monkeypatch.setattr("os.fdatasync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    deadline = time.monotonic() + 20.0
    index = 0
    while writer.failure is None and time.monotonic() < deadline:
        writer.put([joint_message(index)])
        index += 1
        time.sleep(0.01)
    assert writer.failure is not None and "No space left" in writer.failure
    assert writer.put([joint_message(index)]) == 1, "what follows counts as dropped"
    closed = writer.close("success", 0)
    assert closed.verdict.level == "bad" and "No space left" in closed.verdict.reasons[0]
    assert (closed.folder / closed.folder.name).with_name(f"{closed.folder.name}_0.mcap").exists()


def test_a_discarded_episode_is_moved_aside(tmp_path):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0)
    writer.put([joint_message(0)])
    closed = writer.close("discard", 0)
    assert closed.folder == tmp_path / "discarded" / closed.episode_id
    with AnyReader([closed.folder]) as bag:
        assert bag.message_count == 1


def test_an_unknown_outcome_leaves_the_episode_open(tmp_path):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0)
    with pytest.raises(EpisodeError, match="'won' is none of"):
        writer.close("won", 0)
    writer.put([joint_message(0)])
    assert writer.close("success", 0).summaries[0].received == 1


@pytest.mark.parametrize("inside", ["RoomForText.replace", "place_episode"])
def test_a_close_that_ctrl_c_interrupted_ends_as_first_asked(tmp_path, monkeypatch, inside):
    writer = EpisodeWriter(request(tmp_path), [JOINTS], 0)
    writer.put([joint_message(i) for i in range(5)])

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"dp_recorder.episode_writer.{inside}", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.close("success", 50 * MS, "done")
    closed = writer.close("unlabelled", 99 * MS, "closed when the recorder was stopped")
    assert not any("not written" in reason for reason in closed.verdict.reasons)
    content = json.loads((closed.folder / "episode.json").read_text())
    assert (content["state"], content["outcome"], content["note"]) == ("closed", "success", "seed=4; done")
    with AnyReader([closed.folder]) as bag:
        assert bag.message_count == 5


WRITE_FOR_EVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_episode_writer import EpisodeWriter, JOINTS, joint_message, request
writer = EpisodeWriter(request(Path({directory!r})), [JOINTS], 0)
begin = time.monotonic()
index = 0
while True:
    while index < (time.monotonic() - begin) * 500:
        writer.put([joint_message(index)])
        index += 1
        print(index, flush=True)
    time.sleep(0.002)
"""


@pytest.mark.parametrize("after", [700, 1130])
def test_kill_loses_at_most_the_last_second(tmp_path, after):
    script = WRITE_FOR_EVER.format(tests=str(Path(__file__).parent), directory=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        for line in process.stdout:
            if int(line) >= after:
                break
    finally:
        process.kill()
    written = int(line)
    rest = process.communicate()[0].split()
    written = int(rest[-1]) if rest else written
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "episode.json").read_text())["state"] == "recording"
    positions = []
    with (folder / f"{folder.name}_0.mcap").open("rb") as file:
        records = StreamReader(file, validate_crcs=True).records
        while True:
            try:
                record = next(records)
            except Exception:
                break
            if type(record).__name__ == "Message":
                positions.append(deserialize_message(record.data, JointState).position[0])
    assert positions == list(range(len(positions))), "what is there is whole and in order"
    assert written - len(positions) <= 500, "500 messages are one second"
    assert len(positions) > 0
