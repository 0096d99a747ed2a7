"""The recorder node over real DDS, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from dp_bringup.domain import choose_domain
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader

REPOSITORY = Path(__file__).parents[2]
PUBLISHER = Path(__file__).with_name("cell_publisher.py")


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROS_DOMAIN_ID", raising=False)
        domain = choose_domain()  # nobody else's, as long as the tests run
    return {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(REPOSITORY / "config" / "dds" / "fastdds.xml"),
        "ROS_LOG_DIR": str(tmp_path_factory.mktemp("log")),
    }


def start_recorder(environment, directory: Path, **parameters) -> subprocess.Popen:
    values = {"directory": directory, "use_sim_time": True, "gate_timeout_s": 1.0, **parameters}
    arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    return subprocess.Popen(
        [sys.executable, "-m", "dp_recorder.node", "--ros-args", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop(process: subprocess.Popen) -> str:
    process.send_signal(signal.SIGTERM)
    try:
        output, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return output


def run_cell(environment, scenario: str) -> dict:
    done = subprocess.run(
        [sys.executable, str(PUBLISHER), scenario], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def recording(environment, tmp_path_factory):
    for _ in range(3):
        directory = tmp_path_factory.mktemp("episodes")
        recorder = start_recorder(environment, directory)
        try:
            result = run_cell(environment, "whole")
        finally:
            output = stop(recorder)
        assert recorder.returncode == 0, output
        if not lost_on_the_way(result):
            break
    return directory, result, output


def lost_on_the_way(result) -> int:
    """Messages that the recorder says the middleware has lost, as it does while the recorder alone may not run."""
    folders = [Path(episode["path"]) for episode in result["episodes"] if episode["started"]]
    streams = [json.loads((folder / "episode.json").read_text())["streams"] for folder in folders]
    return sum(stream["lost"] for by_topic in streams for stream in by_topic.values())


def test_every_published_message_is_in_the_bag(recording):
    _, result, output = recording
    episode = result["episodes"][0]
    assert episode["started"] and episode["stopped"], output
    with Reader(episode["path"]) as bag:
        in_bag = {connection.topic.lstrip("/"): connection.msgcount for connection in bag.connections}
    assert in_bag == episode["published"]
    assert in_bag["robot/ee_pose"] == 600 and in_bag["camera/front/color/image_raw"] == 60
    assert episode["verdict"] == "good", episode["message"]


def test_episode_file_counts_at_both_ends(recording):
    _, result, _ = recording
    episode = result["episodes"][0]
    content = json.loads((Path(episode["path"]) / "episode.json").read_text())
    assert content["state"] == "closed" and content["outcome"] == "success"
    assert (content["task"], content["operator"], content["seed"]) == ("place", "ada", 11)
    assert content["contract"]["name"] == "sim_franka"
    for topic, count in episode["published"].items():
        stream = content["streams"][topic]
        assert stream["received"] == stream["published"] == count, topic
        assert stream["lost"] == stream["dropped"] == stream["missing_stamps"] == 0
    assert content["streams"]["robot/ee_pose"]["rate_hz"] == pytest.approx(100.0)
    assert content["duration_s"] == pytest.approx(6.0, abs=0.05)
    assert content["streams"]["policy/chunk"]["received"] == 0


def test_bag_carries_the_publishers_qos_and_both_times(recording):
    _, result, _ = recording
    path = Path(result["episodes"][0]["path"])
    with Reader(path) as bag:
        qos = {c.topic: c.ext.offered_qos_profiles[0] for c in bag.connections}
        assert qos["/robot/wrench"].reliability.name == "BEST_EFFORT"
        assert qos["/robot/ee_pose"].reliability.name == "RELIABLE"
    with next(path.glob("*.mcap")).open("rb") as file:
        messages = [r for r in StreamReader(file).records if type(r).__name__ == "Message"]
    late = [message.log_time - message.publish_time for message in messages]
    # Received in simulation time, within some ticks of acquisition (50 ms of wall time), never before it.
    assert min(late) >= 0 and sorted(late)[len(late) // 2] <= 200_000_000
    sequences = Counter()
    for message in messages:
        sequences[message.channel_id] += 1
    assert all(message.sequence > 0 for message in messages)


def test_a_gap_is_counted_and_makes_the_episode_suspect(recording):
    _, result, _ = recording
    episode = result["episodes"][2]
    assert episode["verdict"] == "suspect"
    assert "robot/ee_pose: gap of 0.210 s" in episode["message"]
    content = json.loads((Path(episode["path"]) / "episode.json").read_text())
    assert content["streams"]["robot/ee_pose"]["missing_stamps"] == 20
    assert content["streams"]["robot/ee_pose"]["lost"] == 0


def test_discard_and_label(recording):
    directory, result, _ = recording
    first, discarded, third = result["episodes"]
    assert Path(discarded["path"]).parent.name == "discarded"
    assert {p.name for p in directory.iterdir()} == {first["id"], third["id"], "discarded"}
    assert result["label"] == [True, ""]
    content = json.loads((directory / third["id"] / "episode.json").read_text())
    assert (content["outcome"], content["note"]) == ("success", "seed=11; by test; ok")
    assert result["wrong_label"][0] is False and "episode_9999_x" in result["wrong_label"][1]
    assert result["stop_twice"] == [False, "no episode is being recorded"]


def test_state_is_published_on_change_with_stream_states(recording):
    _, result, _ = recording
    first = result["episodes"][0]["id"]
    seen = [state for state, episode, _ in result["states"] if episode == first]
    assert seen[0] == 1 and seen[-1] == 0 and 2 in seen
    assert seen.count(1) >= 3, "at 2 Hz while recording"
    streams = {stream["topic"]: stream for stream in result["streams"]}
    assert streams["/robot/ee_pose"]["received"] == 80 and streams["/robot/ee_pose"]["lost"] == 20
    assert streams["/camera/front/color/image_raw"]["required"]
    assert not streams["/policy/chunk"]["required"]


def test_a_camera_that_never_publishes_is_named(environment, tmp_path):
    recorder = start_recorder(environment, tmp_path)
    try:
        result = run_cell(environment, "missing")
    finally:
        stop(recorder)
    assert result["started"] is False
    assert result["message"] == "/camera/wrist/color/image_raw never published (0 publishers)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_stopping_the_recorder_keeps_the_episode(environment, tmp_path, how):
    recorder = start_recorder(environment, tmp_path)
    cell = subprocess.Popen(
        [sys.executable, str(PUBLISHER), "interrupted"], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        path = Path(json.loads(cell.stdout.readline())["path"])
        published_s = 0.0
        while published_s < 8.0:
            published_s = json.loads(cell.stdout.readline())["published_s"]
        recorder.send_signal(how)
        recorder.communicate(timeout=60)
    finally:
        recorder.kill()
        cell.kill()
        cell.communicate()
    content = json.loads((path / "episode.json").read_text())
    with next(path.glob("*.mcap")).open("rb") as file:
        times = [r.log_time for r in iterate(StreamReader(file)) if type(r).__name__ == "Message"]
    recorded_s = (max(times) - min(times)) / 1e9
    if how == signal.SIGTERM:
        assert recorder.returncode == 0
        assert (content["state"], content["outcome"]) == ("closed", "unlabelled")
        with Reader(path) as bag:
            assert bag.message_count == len(times)
    else:
        assert content["state"] == "recording"
        assert not (path / "metadata.yaml").exists()
        # What came in 2 s of wall time at four times real time, or in more, less at most one second of wall time.
        assert recorded_s > published_s - 4.0 * 1.0 - 0.5


def iterate(reader):
    """Records up to where the file was cut off."""
    records = reader.records
    while True:
        try:
            yield next(records)
        except Exception:
            return


def test_bad_configuration_ends_with_one_line(environment, tmp_path):
    recorder = start_recorder(environment, tmp_path, cell="no_such_cell")
    output, _ = recorder.communicate(timeout=60)
    assert recorder.returncode == 2
    assert "no cell 'no_such_cell'" in output and "Traceback" not in output
