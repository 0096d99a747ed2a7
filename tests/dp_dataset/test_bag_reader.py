import shutil

import numpy as np
import pytest
from dp_dataset.bag_reader import BagError, BagReader
from rosbags.rosbag2 import StoragePlugin, Writer


def test_reads_what_was_recorded(record, tmp_path, contract):
    episode = record(tmp_path, seconds=1.0)
    bag = BagReader(episode.folder)
    assert bag.indexed
    assert bag.message_counts == {f"/{topic}": count for topic, count in episode.counts.items()}
    assert bag.topics["/control/command_state"] == "dp_msgs/msg/CommandState"
    messages = list(bag.read(["/control/command_state"]))
    assert len(messages) == 100
    stamps = [m.message.header.stamp.sec * 10**9 + m.message.header.stamp.nanosec for m in messages]
    assert stamps == [m.publish_time_ns for m in messages]
    assert all(m.log_time_ns == m.publish_time_ns + 2_000_000 for m in messages)
    assert messages[-1].message.commanded_pose.position.x == pytest.approx(0.4 + 0.02 * 0.99)
    assert bag.episode["outcome"] == "success"


def test_reads_an_unfinished_bag_to_its_last_complete_chunk(record, tmp_path):
    episode = record(tmp_path, seconds=1.0)
    whole = BagReader(episode.folder)
    cut = tmp_path / "cut"
    cut.mkdir()
    data = whole.path.read_bytes()
    (cut / "cut_0.mcap").write_bytes(data[: int(len(data) * 0.9)])
    bag = BagReader(cut)
    assert not bag.indexed
    read = sum(1 for _ in bag.read())
    assert read == sum(bag.message_counts.values())
    # The recorder embeds what it knew at the start, so even this bag says what it is.
    assert bag.episode["task"] == "place"
    assert bag.episode["state"] == "recording"


def test_a_bag_of_another_writer_without_messages_has_no_span(tmp_path):
    # rosbags, as rosbag2, begins with the greatest number there is.
    with Writer(tmp_path / "none", version=9, storage_plugin=StoragePlugin.MCAP):
        pass
    bag = BagReader(tmp_path / "none")
    assert (bag.indexed, bag.start_ns, bag.end_ns) == (True, 0, 0)


def test_unfinished_bag_keeps_flushed_chunks(record, tmp_path):
    episode = record(tmp_path, seconds=1.0)
    whole = BagReader(episode.folder)
    data = whole.path.read_bytes()
    # Everything but the index and footer: nothing recorded may be missing.
    body = data[: data.rindex(b"rosbag2") - 100]
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "cut_0.mcap").write_bytes(body)
    assert BagReader(cut).message_counts == whole.message_counts


@pytest.mark.parametrize("files", [0, 2])
def test_a_folder_without_exactly_one_bag_is_named(files, tmp_path):
    for index in range(files):
        (tmp_path / f"{index}.mcap").touch()
    with pytest.raises(BagError, match=rf"{tmp_path.name} holds {files} MCAP files"):
        BagReader(tmp_path)


def test_hash_changes_with_a_byte(record, tmp_path):
    episode = record(tmp_path, seconds=0.3)
    copy = tmp_path / "copy"
    shutil.copytree(episode.folder, copy)
    first, second = BagReader(episode.folder), BagReader(copy)
    assert first.sha256() == second.sha256()
    data = bytearray(second.path.read_bytes())
    data[len(data) // 2] ^= 1
    second.path.write_bytes(data)
    assert first.sha256() != second.sha256()


def test_a_damaged_chunk_is_reported(record, tmp_path):
    episode = record(tmp_path, seconds=0.5)
    bag = BagReader(episode.folder)
    data = bytearray(bag.path.read_bytes())
    position = data.index(bytes(np.asarray([0.3], "<f8").tobytes()))
    data[position] ^= 0xFF
    bag.path.write_bytes(data)
    with pytest.raises(BagError, match="damaged"):
        list(BagReader(episode.folder).read())
