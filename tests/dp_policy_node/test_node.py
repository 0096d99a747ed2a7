"""The policy node refuses what does not fit, and gives up on a camera that is silent, over real DDS."""

import subprocess
import sys
import time

import pytest
import rclpy
from dp_core.contract import load_contract
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy
from rclpy.node import Node

from dp_msgs.msg import CommandState
from dp_ros import qos


@pytest.fixture
def checkpoint(tmp_path):
    """An untrained policy of the cell's shapes; returns a function that writes it with a changed contract."""
    sections = {
        "name": "test",
        "observation": {"cameras": ["front", "wrist"], "image_height": 64, "image_width": 64, "history": 1},
        "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
        "denoiser": {"sizes": [16, 32], "step_features": 16},
        "diffusion": {"inference_steps": 2},
    }
    policy = build_policy(PolicyConfig.from_dict(sections))

    def write(change=lambda contract: None):
        contract = load_contract("sim_franka").to_dict()
        change(contract)
        save_checkpoint(tmp_path / "checkpoint", policy, contract)
        return tmp_path / "checkpoint"

    return write


def start(folder, *parameters):
    command = [sys.executable, "-m", "dp_policy_node.node", "--ros-args", "-p", f"checkpoint:={folder}"]
    for parameter in parameters:
        command += ["-p", parameter]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_checkpoint_of_another_cell_is_refused_with_the_difference(checkpoint):
    process = start(checkpoint(lambda contract: contract["action"].update(rate_hz=20.0)))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "action.rate_hz: 20.0 != 10.0" in log and "Traceback" not in log


def test_no_checkpoint_is_one_clear_line(tmp_path):
    process = start(tmp_path / "nowhere")
    _, log = process.communicate(timeout=60)
    assert process.returncode == 2 and "nowhere" in log and "Traceback" not in log


def test_a_silent_camera_ends_the_node_and_is_named(checkpoint):
    process = start(checkpoint(), "stream_timeout_s:=1.0")
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("peer", context=context)
    states = node.create_publisher(CommandState, "control/command_state", qos.STATE)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        states.publish(CommandState(mode=CommandState.POLICY))
        time.sleep(0.02)
    context.try_shutdown()
    _, log = process.communicate(timeout=10)
    assert process.returncode == 3
    assert "nothing arrived on camera/front/color/image_raw, camera/wrist/color/image_raw, robot/ee_pose" in log
