"""Frames that a camera lost, found again in its bag."""

import dataclasses

from dp_core.camera_device import CameraDevice
from dp_core.contract import load_contract
from dp_dataset.bag_reader import BagReader
from dp_recorder.bag_tools.checking import check_bag
from dp_recorder.bag_tools.evidence import BagEvidence
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import recorded_streams
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from dp_msgs.msg import FrameMetadata

NUMBERS = [50, 51, 52, 55, 56, 57, 61, 62]  # two gaps, of 2 and of 3


def record(folder):
    plain = load_contract("sim_franka")
    cameras = {name: dataclasses.replace(camera, recording="raw") for name, camera in plain.cameras.items()}
    contract = dataclasses.replace(plain, cameras=cameras, camera_devices={"front": CameraDevice("101")})
    streams = recorded_streams(contract)
    index = {stream.topic: i for i, stream in enumerate(streams)}
    request = EpisodeRequest(folder, "place", "ada", "", contract.to_dict(), contract.hash, "1.0")
    writer = EpisodeWriter(request, streams, 0)
    picture = serialize_message(Image(height=1, width=1, encoding="rgb8", step=3, data=b"abc"))
    for sequence, number in enumerate(NUMBERS, start=1):
        stamp_ns = number * 100_000_000
        metadata = FrameMetadata(frame_number=number)
        metadata.header.frame_id = "front_color_optical_frame"
        for topic, data in (("image_raw", picture), ("metadata", serialize_message(metadata))):
            stream = index[f"camera/front/color/{topic}"]
            writer.put([QueuedMessage(stream, data, stamp_ns + 5_000_000, stamp_ns, sequence)])
    return writer.close("success", 7_000_000_000).folder


def test_a_check_counts_them_again_and_says_when_they_began(tmp_path):
    report = check_bag(record(tmp_path))
    (finding,) = [f for f in report.findings if "camera's counter" in f.what and f.where.endswith("metadata")]
    assert finding.where == "/camera/front/color/metadata"
    assert finding.what == "5 frames lost before they were published, by the camera's counter"
    assert abs(finding.at_s - 0.5) < 1e-6, "frame 55, after 50 to 52"
    rows = {row["topic"]: row for row in report.rows}
    assert rows["/camera/front/color/image_raw"]["frames_lost"] == 5


def test_the_evidence_of_a_repaired_bag_has_them_too(tmp_path):
    bag = BagReader(record(tmp_path))
    evidence = BagEvidence(bag.episode)
    for entry in bag.read_raw():
        evidence.add(entry)
    assert evidence.describe_streams()["camera/front/color/image_raw"]["frames_lost"] == 5
    assert any("5 frames lost" in reason for reason in evidence.verdict(None).reasons)
