import dataclasses

from dp_core.camera_device import CameraDevice
from dp_core.contract import load_contract
from dp_recorder.recorded_streams import realsense_streams, recorded_streams, split_installed
from dp_recorder.ros_types import is_installed


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


def test_cameras_are_explained_by_their_own_node_or_by_realsense_ros():
    contract = load_contract("sim_franka")
    front = CameraDevice("101", depth=True)
    contract = dataclasses.replace(contract, camera_devices={"front": front})
    streams = {stream.topic: stream for stream in recorded_streams(contract)}
    assert streams["camera/front/color/camera_info"].type_name == "sensor_msgs/msg/CameraInfo"
    assert streams["camera/wrist/color/camera_info"].required is False
    metadata = streams["camera/front/color/metadata"]
    assert (metadata.type_name, metadata.frames_of) == ("dp_msgs/msg/FrameMetadata", "camera/front/color/image_raw")
    assert streams["camera/front/aligned_depth_to_color/image_raw"].type_name == "sensor_msgs/msg/Image"
    assert "camera/wrist/color/metadata" not in streams
    (wrist,) = realsense_streams(contract)
    assert wrist.type_name == "realsense2_camera_msgs/msg/Metadata"
    assert wrist.frames_of == "camera/wrist/color/image_raw"


def test_streams_whose_messages_are_not_installed_are_left_out():
    contract = load_contract("sim_franka")
    there, absent = split_installed(realsense_streams(contract), lambda name: False)
    assert there == () and [s.topic for s in absent] == ["camera/front/color/metadata", "camera/wrist/color/metadata"]
    assert split_installed(absent, lambda name: name.startswith("realsense2"))[0] == absent
    assert is_installed("dp_msgs/msg/FrameMetadata")
    assert not is_installed("dp_msgs/msg/NoSuchMessage") and not is_installed("no_such_package/msg/Metadata")
