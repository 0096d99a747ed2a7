"""Kills recorder nodes over real DDS; run as a process of its own by test_killed_node.

A cell publishes every stream in real time. Again and again a recorder is started, closes one episode, begins another
and is killed at a random instant of it. Prints as JSON, for each, where both lie and when they began and ended, ns of
the cell's clock. Usage: killed_nodes.py DIRECTORY KILLS SEED
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cell_publisher
import rclpy
from cell_publisher import START_NS, Cell

from dp_msgs.srv import StartEpisode, StopEpisode

cell_publisher.SPEED = 1.0  # a second of the cell's clock is a second
LONGEST_S = 2.5
# A kill before which the cell was later than this tells of the machine and not of the recorder; it is done again.
LATE_S, ATTEMPTS = 0.1, 4


def start_recorder(directory: Path) -> subprocess.Popen:
    values = {"directory": directory, "use_sim_time": True, "gate_timeout_s": 10.0}
    arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
    command = [sys.executable, "-m", "dp_recorder.node", "--ros-args", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class RestlessCell(Cell):
    """Goes on publishing while it waits for an answer."""

    def call(self, kind, name: str, **fields):
        client = self.create_client(kind, name)
        deadline = time.monotonic() + 60.0
        while not client.service_is_ready():
            assert time.monotonic() < deadline, f"no service {name}"
            self.run_ticks(5)
        future = client.call_async(kind.Request(**fields))
        while not future.done():
            assert time.monotonic() < deadline, f"no answer of {name}"
            self.run_ticks(2)
        self.destroy_client(client)
        return future.result()

    def wait_for_news(self) -> None:
        """Until the new recorder has been heard: for a while the middleware still believes in the killed one."""
        deadline = time.monotonic() + 60.0
        while not self.episode_states:
            assert time.monotonic() < deadline, "the recorder does not start"
            self.run_ticks(5)
        self.run_ticks(50)

    def now_ns(self) -> int:
        return START_NS + self.tick * 10_000_000


def kill_one(cell: RestlessCell, directory: Path, instant: random.Random) -> dict:
    cell.episode_states.clear()
    recorder = start_recorder(directory)
    try:
        cell.wait_for_news()
        first = cell.call(StartEpisode, "recorder/start_episode", task="kill")
        assert first.success, first.message
        began_ns = cell.now_ns()
        cell.run_ticks(round(100 * instant.uniform(0.2, 1.0)))
        ended_ns = cell.now_ns()
        closed = cell.call(StopEpisode, "recorder/stop_episode", outcome=StopEpisode.Request.SUCCESS)
        assert closed.success, closed.message
        second = cell.call(StartEpisode, "recorder/start_episode", task="kill")
        assert second.success, second.message
        opened_ns, opened_s = cell.now_ns(), time.monotonic()
        cell.run_ticks(round(100 * instant.uniform(0.0, LONGEST_S)))
        killed_ns = cell.now_ns()
        recorder.send_signal(signal.SIGKILL)
        late_s = time.monotonic() - opened_s - 1e-9 * (killed_ns - opened_ns)
        recorder.wait()
    finally:
        recorder.kill()
    return {
        "closed": {"path": closed.path, "verdict": closed.verdict, "began_ns": began_ns, "ended_ns": ended_ns},
        "open": {"path": second.path, "began_ns": opened_ns, "killed_ns": killed_ns},
        "late_s": late_s,
    }


def kill_in_time(cell: RestlessCell, directory: Path, instant: random.Random) -> dict:
    for attempt in range(ATTEMPTS):
        found = kill_one(cell, directory / f"attempt_{attempt}", instant)
        if found["late_s"] < LATE_S:
            break
    return found


def main() -> None:
    directory, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rclpy.init()
    cell, instant = RestlessCell(), random.Random(seed)
    cell.run_ticks(20)
    found = [kill_in_time(cell, directory / f"recorder_{number}", instant) for number in range(kills)]
    print(json.dumps(found), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
