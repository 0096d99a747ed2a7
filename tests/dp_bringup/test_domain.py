import subprocess
import sys
from pathlib import Path

import pytest
from dp_bringup.domain import forget_dead_participants

from dp_bringup import domain as domains

#: Domain 3: ports 8150 to 8399.
OURS = ["fastrtps_port8161", "fastrtps_port8161_el", "sem.fastrtps_port8161_mutex", "fastrtps_port8150_sl"]
OTHERS = [
    "fastrtps_port8149",
    "sem.fastrtps_port8400_mutex",
    "fastrtps_port81610",
    "fastrtps_5e2a1d3c8b70f916",
    "sem.others",
]


def test_what_killed_participants_of_a_domain_left_is_removed_and_nothing_else(tmp_path):
    for name in (*OURS, *OTHERS):
        (tmp_path / name).touch()
    forget_dead_participants(3, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(OTHERS)


PARTICIPANT = """
import rclpy, sys
rclpy.init()
node = rclpy.create_node("alive")
print("up", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("alive", [True, False])
def test_a_domain_is_taken_only_without_participants_and_then_swept(tmp_path, monkeypatch, alive):
    number = next(n for n in range(100, 0, -1) if n not in domains._locks and domains._reserve(n))
    domains._locks.pop(number).close()
    left = Path(f"/dev/shm/fastrtps_port{7400 + 250 * number + 199}")
    left.touch()
    try:
        if not alive:
            assert domains._reserve(number) and not left.exists()
            return
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        command = [sys.executable, "-c", PARTICIPANT]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "up\n"
            assert not domains._reserve(number) and left.exists()
            process.stdin.close()
        assert process.returncode == 0
    finally:
        left.unlink(missing_ok=True)
        if number in domains._locks:
            domains._locks.pop(number).close()
