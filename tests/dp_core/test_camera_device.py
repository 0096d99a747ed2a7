import pytest
import yaml
from dp_core.camera_device import CameraDevice, camera_topics
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, ContractError, config_directory, contract_difference, load_contract


def cell(**devices):
    return {**load_contract("sim_franka").to_dict(), "camera_devices": devices}


def test_cells_name_their_devices_and_may_leave_them_out():
    plain = load_contract("sim_franka")
    assert plain.camera_devices == {} and "camera_devices" not in plain.to_dict(), "the hash of old cells stays"
    contract = Contract.from_dict(cell(front={"serial_number": "819612073628", "exposure_us": 8000, "gain": 32}))
    device = contract.camera_devices["front"]
    assert (device.exposure_us, device.gain, device.white_balance_K, device.driver) == (8000.0, 32.0, None, "realsense")
    assert Contract.from_dict(contract.to_dict()) == contract
    assert contract_difference(plain, contract) == [], "which device it is was not learnt"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "camera_devices.front.serial_number: missing key"),
        ({"serial_number": " "}, "serial_number: ''"),
        ({"serial_number": "1", "driver": "webcam"}, "driver: 'webcam' is not valid; valid: realsense"),
        ({"serial_number": "1", "encoding": "mono8"}, "encoding: 'mono8' is not valid; valid: rgb8, bgr8"),
        ({"serial_number": "1", "sync_mode": "both"}, "sync_mode: 'both' is not valid; valid: off, master, slave"),
        ({"serial_number": "1", "jpeg": "yes"}, "jpeg: 'yes' is not valid; valid: off, also, only"),
        ({"serial_number": "1", "exposure_us": 0}, "exposure_us: 0.0 is out of range; valid: 1 to 1000000 us"),
        ({"serial_number": "1", "gain": 16}, "gain: 16.0 needs exposure_us"),
        ({"serial_number": "1", "transport_latency_s": 2}, "transport_latency_s: 2.0 is out of range"),
        ({"serial_number": "1", "shutter": 2}, "shutter: unknown key"),
    ],
)
def test_a_bad_entry_is_refused_by_name(entry, message):
    with pytest.raises(ContractError) as error:
        Contract.from_dict(cell(front=entry), source="cell.yaml")
    assert message in str(error.value) and "cell.yaml: camera_devices.front" in str(error.value)


def test_devices_that_contradict_each_other_are_refused():
    one = {"serial_number": "1", "sync_mode": "master"}
    with pytest.raises(ContractError, match="'top' is not a camera; valid: front, wrist"):
        Contract.from_dict(cell(top=one))
    with pytest.raises(ContractError, match=r"camera_devices.wrist.serial_number: '1' is that of front too"):
        Contract.from_dict(cell(front=one, wrist={"serial_number": "1"}))
    with pytest.raises(ContractError, match="front, wrist are all sync_mode master"):
        Contract.from_dict(cell(front=one, wrist={**one, "serial_number": "2"}))
    with pytest.raises(ConfigurationError, match="jpeg_quality: 0"):
        CameraDevice("1", jpeg_quality=0)


def test_topics_lie_beside_the_image_as_realsense_ros_has_them():
    topics = camera_topics("camera/front/color/image_raw")
    assert topics.camera_info == "camera/front/color/camera_info"
    assert topics.metadata == "camera/front/color/metadata"
    assert topics.compressed == "camera/front/color/image_raw/compressed"
    assert topics.depth == "camera/front/aligned_depth_to_color/image_raw"
    assert topics.depth_camera_info == "camera/front/aligned_depth_to_color/camera_info"
    assert camera_topics("image").camera_info == "camera_info"
    assert camera_topics("top/image").depth == "top/aligned_depth_to_color/image_raw"


def test_the_example_that_a_cell_shows_in_comments_is_valid():
    text = (config_directory() / "cells" / "fr3_crisp.yaml").read_text()
    begin = text.index("# camera_devices:")
    lines = [line.removeprefix("# ") for line in text[begin : text.index("\n\n", begin)].splitlines()]
    data = {**yaml.safe_load(text), **yaml.safe_load("\n".join(lines))}
    devices = Contract.from_dict(data).camera_devices
    assert list(devices) == ["front", "wrist"] and devices["front"].exposure_us == 8000.0
