"""Processes that record episodes until they are killed: killed_writers.py DIRECTORY KILLS SEED

Each is forked from this process, which has imported everything, records episode after episode with the real writer and
says in a log what it does, in one system call each, so that the log is true whenever the process dies. Prints as JSON
when each was killed (monotonic clock, s), which the log's times can be held against, and for how long of the last
seconds the machine had stood still.
"""

import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, JointState

AT_ONCE = 6 * (os.cpu_count() or 1)  # more would have to wait for a processor
LATEST_KILL_S = 2.5
STANDSTILL_S = 0.1
HEIGHT, WIDTH = 48, 64
STREAMS = (
    RecordedStream("robot/joint_states", "sensor_msgs/msg/JointState", True, 500.0, 0.1),
    RecordedStream("camera/raw", "sensor_msgs/msg/Image", True, 20.0, 0.3),
    RecordedStream("camera/jpeg", "sensor_msgs/msg/Image", True, 20.0, 0.3, recording="jpeg"),
)
JOINTS = serialize_message(JointState(name=["a"], position=[1.0], velocity=[2.0], effort=[3.0]))
IMAGE = serialize_message(
    Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=bytes(HEIGHT * WIDTH * 3))
)


def message(stream: int, counter: int) -> QueuedMessage:
    """The counter is the stamp, so that it survives compression."""
    template = IMAGE if stream else JOINTS
    data = template[:4] + struct.pack("<iI", 0, counter) + template[12:]
    return QueuedMessage(stream, data, time.time_ns(), counter, counter + 1)


def record(folder: Path, log: int, seed: int) -> None:
    """Episodes of a quarter to one and a half seconds, for ever."""
    rng = random.Random(seed)
    request = EpisodeRequest(folder, "kill", contract={"name": "cell"})
    while True:
        writer = EpisodeWriter(request, STREAMS, time.time_ns(), compression=rng.choice(("none", "zstd")))
        say(log, "open", writer.episode_id)
        begin_s = time.monotonic()
        end_s = begin_s + rng.uniform(0.25, 1.5)
        counts = [0, 0, 0]
        while (now_s := time.monotonic()) < end_s:
            batch = []
            for stream, known in enumerate(STREAMS):
                while counts[stream] < (now_s - begin_s) * known.rate_hz:
                    batch.append(message(stream, counts[stream]))
                    counts[stream] += 1
            if batch:
                writer.put(batch)
                say(log, "put", writer.episode_id, *counts)
            time.sleep(0.005)
        closed = writer.close("success", time.time_ns())
        say(log, "closed", writer.episode_id, closed.verdict.level)


def say(log: int, *words: object) -> None:
    os.write(log, (json.dumps([time.monotonic(), *words]) + "\n").encode())


def start(folder: Path, seed: int) -> int:
    """Fork a recording process; returns its number."""
    folder.mkdir()
    pid = os.fork()
    if pid:
        return pid
    try:
        log = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        record(folder, log, seed)
    finally:
        os._exit(1)


def sleep_until(at_s: float, standstills: list[tuple[float, float]]) -> None:
    """Notes when, and for how long, nothing could run meanwhile."""
    while (now_s := time.monotonic()) < at_s:
        pause_s = min(0.02, at_s - now_s)
        time.sleep(pause_s)
        late_s = time.monotonic() - now_s - pause_s
        if late_s > STANDSTILL_S:
            standstills.append((now_s, late_s))


def main() -> None:
    directory, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    killed = {}
    standstills: list[tuple[float, float]] = []
    for first in range(0, kills, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, kills))
        begin_s = time.monotonic()
        running = [
            (begin_s + rng.uniform(0.1, LATEST_KILL_S), start(directory / f"writer_{n}", seed + n), n) for n in numbers
        ]
        for at_s, pid, number in sorted(running):
            sleep_until(at_s, standstills)
            now_s = time.monotonic()
            killed[number] = now_s, sum(late_s for begun_s, late_s in standstills if begun_s > now_s - 4.0)
            os.kill(pid, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL, "it ended before it was killed"
    print(json.dumps(killed))


if __name__ == "__main__":
    main()
