"""Synthetic episodes of the data set's tests, and small bags whose every byte is known."""

import importlib.util
import json
import struct
from pathlib import Path

import pytest
from dp_dataset.bag_reader import BagReader
from dp_recorder.bag_writer import BagWriter, OfferedQos
from dp_recorder.type_definitions import load_type_definition

_SPEC = importlib.util.spec_from_file_location(
    "synthetic_episodes", Path(__file__).resolve().parents[2] / "dp_dataset" / "conftest.py"
)
_EPISODES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EPISODES)
contract, cell, record = _EPISODES.contract, _EPISODES.cell, _EPISODES.record

POSE = "geometry_msgs/msg/PoseStamped"


def pose(index: int) -> bytes:
    """A serialized PoseStamped of x = index, which no other message of the bag contains."""
    header = b"\x00\x01\x00\x00" + struct.pack("<iII", index, 7, 2) + b"b\x00" + b"\x00" * 2
    return header + struct.pack("<7d", index + 0.5, 0.1, 0.2, 0.0, 0.0, 0.0, 1.0)


def write_poses(folder: Path, count: int = 40, per_chunk: int = 8, state: str = "recording", **options) -> list[bytes]:
    """Write a bag of poses at 10 Hz, one chunk for every few of them; returns the messages."""
    episode = {"id": folder.name, "state": state, "task": "t", "outcome": "unlabelled", "started_ns": 10**9}
    embedded = {"episode": {"episode.json": json.dumps(episode)}}
    writer = BagWriter(folder, embedded=embedded, **options)
    (folder / "episode.json").write_text(json.dumps(episode))
    latched = OfferedQos("keep_last", 1, "reliable", "transient_local")
    channels = [
        writer.add_topic("/pose", load_type_definition(POSE), [OfferedQos("keep_last", 200)]),
        writer.add_topic("/latched", load_type_definition(POSE), [latched]),
    ]
    messages = []
    for index in range(count):
        # The second message of the bag is the only latched one.
        data = pose(index)
        writer.write(channels[index == 1], data, 10**9 + index * 10**8, 10**9 + index * 10**8, index + 1)
        messages.append(data)
        if index % per_chunk == per_chunk - 1:
            writer.flush()
    writer.close()
    return messages


def messages_of(folder: Path) -> list[bytes]:
    return [bytes(entry.data) for entry in BagReader(folder).read_raw()]


@pytest.fixture
def poses(tmp_path):
    """A closed bag of 40 poses in 5 chunks: folder and messages."""
    folder = tmp_path / "poses"
    return folder, write_poses(folder)
