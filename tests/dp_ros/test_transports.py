"""Which transports a process has, seen at the memory that it shares; over real DDS."""

import os
import subprocess
import sys

import pytest
from dp_core.contract import config_directory
from dp_ros.transports import PROFILES, REACH, leave_shared_memory

OURS = str(config_directory() / "dds" / "fastdds.xml")

NODE = """
import sys
from pathlib import Path
from dp_ros.node_main import run_node
from rclpy.node import Node

class Speaker(Node):
    def __init__(self):
        super().__init__("speaker")
        self.shared = "/dev/shm/fastrtps_" in Path("/proc/self/maps").read_text()
        self.failure = f"shared memory: {self.shared}"

    def close(self):
        pass

sys.exit(run_node(Speaker, [], shared_memory=sys.argv[1] == "with"))
"""


@pytest.mark.parametrize(("choice", "shared"), [("with", True), ("without", False)])
@pytest.mark.parametrize("reach", ["LOCALHOST", "SUBNET"])
def test_a_node_that_must_not_wait_for_others_shares_no_memory(choice, shared, reach):
    command, environment = [sys.executable, "-c", NODE, choice], {**os.environ, REACH: reach}
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert run.returncode == 3, run.stderr
    assert f"error: shared memory: {shared}" in run.stderr


@pytest.mark.parametrize("chosen", ["", OURS], ids=["none", "ours"])
@pytest.mark.parametrize(
    ("reach", "file", "becomes"),
    [("SUBNET", "fastdds_udp.xml", "SUBNET"), ("LOCALHOST", "fastdds_udp_localhost.xml", "SYSTEM_DEFAULT")],
)
def test_our_profiles_and_none_are_replaced(chosen, reach, file, becomes, monkeypatch):
    monkeypatch.setenv(PROFILES, chosen)
    monkeypatch.setenv(REACH, reach)
    leave_shared_memory()
    assert (os.environ[PROFILES], os.environ[REACH]) == (str(config_directory() / "dds" / file), becomes)


@pytest.mark.parametrize(
    ("chosen", "peers"), [("/home/me/mine.xml", ""), ("/home/me/fastdds.xml", ""), (OURS, "10.0.0.7")]
)
def test_a_file_of_the_users_own_and_peers_elsewhere_stay(chosen, peers, monkeypatch):
    for name, value in ((PROFILES, chosen), (REACH, "LOCALHOST"), ("ROS_STATIC_PEERS", peers)):
        monkeypatch.setenv(name, value)
    leave_shared_memory()
    assert (os.environ[PROFILES], os.environ[REACH]) == (chosen, "LOCALHOST")
