import dataclasses

from dp_core.contract import load_contract
from dp_recorder.recorded_streams import recorded_streams


def test_everything_of_the_contract_is_required_and_listed_once():
    contract = load_contract("sim_franka")
    streams = {stream.topic: stream for stream in recorded_streams(contract)}
    assert len(streams) == len(recorded_streams(contract))
    for camera in contract.cameras.values():
        assert streams[camera.topic].required and streams[camera.topic].rate_hz == camera.rate_hz
    for stream in contract.streams.values():
        assert streams[stream.topic].required and streams[stream.topic].type_name == stream.type
    explaining = (
        "policy/chunk",
        "policy/dry_run_chunk",
        "control/chunk_report",
        "teleop/twist",
        "gripper/command",
        "sim/scene_state",
    )
    assert all(not streams[topic].required for topic in explaining)
    assert "/clock" not in streams and "clock" not in streams


def test_jpeg_changes_topic_and_type_in_the_bag():
    contract = load_contract("sim_franka")
    cameras = {name: dataclasses.replace(c, recording="jpeg", jpeg_quality=80) for name, c in contract.cameras.items()}
    stream = recorded_streams(dataclasses.replace(contract, cameras=cameras))[0]
    assert stream.bag_topic == "camera/front/color/image_raw/compressed"
    assert stream.type_name == "sensor_msgs/msg/Image"
    assert stream.bag_type_name == "sensor_msgs/msg/CompressedImage"
    assert stream.jpeg_quality == 80
