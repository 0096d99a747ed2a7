"""Kills recording processes at random instants: what was closed is whole, what was open has lost a second at most.

DP_KILLS sets how many (default 50), DP_KILL_SEED the instants.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from dp_recorder.bag_tools.repairing import repair_bag
from mcap.reader import SeekingReader
from mcap.stream_reader import StreamReader
from rosbags.rosbag2 import Reader

SCRIPT = Path(__file__).with_name("killed_writers.py")
TOPICS = ("/robot/joint_states", "/camera/raw", "/camera/jpeg/compressed")
KILLS = int(os.environ.get("DP_KILLS", "50"))
SEED = int(os.environ.get("DP_KILL_SEED", "1"))


@dataclass
class Episode:
    """What a log says: whether it was closed, and (time, messages of each stream) of each put."""

    closed: bool = False
    puts: list[tuple[float, list[int]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    directory = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(directory), str(KILLS), str(SEED)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    times = {int(number): killed for number, killed in json.loads(done.stdout).items()}
    return [(directory / f"writer_{n}", times[n], read_log(directory / f"writer_{n}.log")) for n in range(KILLS)]


def read_log(path: Path) -> dict[str, Episode]:
    episodes: dict[str, Episode] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        at_s, what, episode, *rest = json.loads(line)
        if what == "open":
            episodes[episode] = Episode()
        elif what == "put":
            episodes[episode].puts.append((at_s, rest))
        else:
            assert rest != ["bad"], f"{path}: {line}"
            episodes[episode].closed = True
    return episodes


def counters(records) -> dict[str, list[int]]:
    """Counters of each topic, in the order of the file, from (channel, message) pairs."""
    found: dict[str, list[int]] = {}
    for channel, message in records:
        assert int.from_bytes(message.data[8:12], "little") == message.publish_time == message.sequence - 1
        found.setdefault(channel.topic, []).append(message.publish_time)
    return found


def stream(path: Path):
    """What can be read of a file whose end is missing."""
    channels = {}
    with path.open("rb") as file:
        records = StreamReader(file, validate_crcs=True).records
        while True:
            try:
                record = next(records)
            except Exception:
                return
            if type(record).__name__ == "Channel":
                channels[record.id] = record
            if type(record).__name__ == "Message":
                yield channels[record.channel_id], record


def test_every_closed_episode_is_whole(killed):
    closed = [(folder / name, episode) for folder, _, log in killed for name, episode in log.items() if episode.closed]
    assert len(closed) >= KILLS // 4, "many processes closed an episode before they were killed"
    for folder, episode in closed:
        description = json.loads((folder / "episode.json").read_text())
        assert description["state"] == "closed" and description["verdict"] != "bad", folder
        put = episode.puts[-1][1]
        assert [s["received"] - s["dropped"] for s in description["streams"].values()] == put
        with (folder / f"{folder.name}_0.mcap").open("rb") as file:
            reader = SeekingReader(file, validate_crcs=True)
            found = counters((c, m) for _, c, m in reader.iter_messages(log_time_order=False))
        assert found == {topic: list(range(count)) for topic, count in zip(TOPICS, put, strict=True) if count}, folder
        with Reader(folder) as bag:
            assert bag.message_count == sum(put)


def test_an_open_episode_has_lost_a_second_at_most(killed):
    opened = 0
    for folder, (killed_s, stood_still_s), log in killed:
        for name, episode in log.items():
            if episode.closed:
                continue
            opened += 1
            description = json.loads((folder / name / "episode.json").read_text())
            assert description["task"] == "kill"
            found = counters(stream(folder / name / f"{name}_0.mcap"))
            for topic, there in found.items():
                assert there == list(range(len(there))), f"{folder / name} {topic}: whole and in order"
            must = Counter()
            for at_s, counts in episode.puts:
                if at_s < killed_s - 1.0 - stood_still_s:
                    must = Counter(dict(zip(TOPICS, counts, strict=True)))
            late = {topic: (len(found.get(topic, [])), count) for topic, count in must.items()}
            assert all(there >= count for there, count in late.values()), f"{folder / name}: {late}"
    assert opened >= KILLS // 4, "many processes were killed in the middle of an episode"


def test_an_open_episode_can_be_repaired(killed):
    """The repaired bag is a whole one with just what could be read before."""
    opened = [(folder / name) for folder, _, log in killed for name, episode in log.items() if not episode.closed]
    for folder in opened:
        before = counters(stream(folder / f"{folder.name}_0.mcap"))
        if not before:
            continue
        repair_bag(folder)
        with (folder / f"{folder.name}_0.mcap").open("rb") as file:
            reader = SeekingReader(file, validate_crcs=True)
            assert counters((c, m) for _, c, m in reader.iter_messages(log_time_order=False)) == before, folder
        with Reader(folder) as bag:
            assert bag.message_count == sum(map(len, before.values()))


def test_nothing_else_is_left(killed):
    """At most one folder that the log does not know: the one that was being made."""
    for folder, _, log in killed:
        unknown = {path.name for path in folder.iterdir()} - set(log)
        assert len(unknown) <= 1, folder
