"""Kills recorder nodes over real DDS: a closed episode is whole, the open one repairable with a second lost at most.

DP_NODE_KILLS sets how many (default 2, each takes five seconds), DP_KILL_SEED the instants.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dp_bringup.domain import choose_domain
from dp_dataset.bag_reader import BagError
from dp_recorder.bag_tools.repairing import repair_bag
from mcap.reader import SeekingReader
from rosbags.rosbag2 import Reader

SCRIPT = Path(__file__).with_name("killed_nodes.py")
PROFILE = Path(__file__).parents[2] / "config" / "dds" / "fastdds.xml"
KILLS = int(os.environ.get("DP_NODE_KILLS", "2"))
SEED = int(os.environ.get("DP_KILL_SEED", "1"))
TICK_NS = 10_000_000
# Published each 10 ms by the cell of the tests, reliable; images each 100 ms.
STEADY = ("/robot/joint_states", "/robot/ee_pose", "/gripper/state", "/control/command_state")
IMAGES = ("/camera/front/color/image_raw", "/camera/wrist/color/image_raw")
#: Allowed loss, and what may still be under way between the cell and the recorder.
LOST_NS, UNDER_WAY_NS = 1_000_000_000, 200_000_000


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killed_nodes")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROS_DOMAIN_ID", raising=False)
        domain = choose_domain()  # nobody else's, as long as the tests run
    environment = {
        **os.environ,
        "ROS_DOMAIN_ID": str(domain),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(PROFILE),
        "ROS_LOG_DIR": str(tmp_path_factory.mktemp("log")),
    }
    command = [sys.executable, str(SCRIPT), str(directory), str(KILLS), str(SEED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def stamps(path: Path) -> dict[str, list[int]]:
    """Header stamps of each topic of a closed bag in the order of the file, its checksums verified."""
    found: dict[str, list[int]] = {}
    with next(path.glob("*.mcap")).open("rb") as file:
        for _, channel, message in SeekingReader(file, validate_crcs=True).iter_messages(log_time_order=False):
            found.setdefault(channel.topic, []).append(message.publish_time)
    return found


def check_steady(found: dict[str, list[int]], begin_ns: int, end_ns: int) -> None:
    """Every message of the streams that tick by themselves is there, once and in order, between two times."""
    for topics, step_ns in ((STEADY, TICK_NS), (IMAGES, 10 * TICK_NS)):
        first_ns = -(-begin_ns // step_ns) * step_ns
        expected = list(range(first_ns, end_ns, step_ns))
        for topic in topics:
            there = found.get(topic, [])
            assert there == sorted(set(there)), topic
            assert [t for t in there if begin_ns <= t < end_ns] == expected, topic


def test_the_closed_episode_is_whole(killed):
    for result in killed:
        closed = result["closed"]
        path = Path(closed["path"])
        description = json.loads((path / "episode.json").read_text())
        assert (description["state"], description["outcome"]) == ("closed", "success")
        assert all(s["lost"] == s["dropped"] == 0 for s in description["streams"].values())
        found = stamps(path)
        check_steady(found, closed["began_ns"] + 2 * TICK_NS, closed["ended_ns"])
        with Reader(path) as bag:
            assert bag.message_count == sum(map(len, found.values()))


def test_the_open_episode_is_repaired_and_has_lost_a_second_at_most(killed):
    for result in killed:
        opened = result["open"]
        path = Path(opened["path"])
        assert json.loads((path / "episode.json").read_text())["state"] == "recording"
        lived_ns = opened["killed_ns"] - opened["began_ns"]
        try:
            repair_bag(path)
        except BagError:
            # Killed before its first second was on the disk: there may be nothing to repair.
            assert lived_ns <= LOST_NS + UNDER_WAY_NS, opened
            continue
        assert json.loads((path / "episode.json").read_text())["state"] == "closed"
        end_ns = opened["killed_ns"] - LOST_NS - UNDER_WAY_NS
        if end_ns > opened["began_ns"]:
            check_steady(stamps(path), opened["began_ns"] + 2 * TICK_NS, end_ns)
