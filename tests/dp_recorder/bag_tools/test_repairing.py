import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dp_dataset.bag_reader import BagError, BagReader
from dp_recorder.bag_tools import bag_replacement, repairing
from dp_recorder.bag_tools.repairing import repair_bag
from dp_recorder.bag_tools.trimming import trim_bag
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from rosbags.rosbag2 import Reader

from .conftest import POSE, messages_of, write_poses


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Bytes of a bag of 40 poses, and its messages."""
    folder = tmp_path_factory.mktemp("whole") / "poses"
    messages = write_poses(folder)
    return (folder / "poses_0.mcap").read_bytes(), messages


def lay_out(parent: Path, data: bytes) -> Path:
    folder = parent / "poses"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "poses_0.mcap").write_bytes(data)
    (folder / "episode.json").write_text(json.dumps({"id": "poses", "state": "recording", "started_ns": 10**9}))
    return folder


def complete_messages(data: bytes, messages: list[bytes]) -> list[bytes]:
    """Those that lie in the data to their last byte."""
    return [message for message in messages if message in data]


def assert_whole(folder: Path, expected: list[bytes]) -> None:
    bag = BagReader(folder)
    assert bag.indexed
    assert messages_of(folder) == expected
    with Reader(folder) as reader:  # another implementation agrees with metadata.yaml and index
        assert reader.message_count == len(expected)
    assert json.loads((folder / "episode.json").read_text())["state"] == "closed"
    assert not (folder / ".repair").exists()
    assert repair_bag(folder).state == "intact"


@settings(max_examples=40, deadline=None)
@given(share=st.floats(0, 1), zeros=st.sampled_from([0, 600, 8192]))
def test_a_file_cut_anywhere_keeps_every_message_that_is_complete(whole, tmp_path_factory, share, zeros):
    data, messages = whole
    cut = data[: int(share * len(data))]
    folder = lay_out(tmp_path_factory.mktemp("cut"), cut + bytes(zeros))
    expected = complete_messages(cut, messages)
    result = repair_bag(folder)
    assert result.message_count == len(expected)
    assert_whole(folder, expected)


def test_boundaries_of_every_record_are_cut_positions_too(whole, tmp_path):
    data, messages = whole
    positions = {0, 1, 7, 8, 9, 17, len(data) - 9, len(data) - 8, len(data) - 1}
    for message in messages[::9]:
        end = data.index(message) + len(message)
        positions |= {end - 1, end, end + 1, end - len(message), end - len(message) - 22, end - len(message) - 31}
    for position in sorted(positions):
        folder = lay_out(tmp_path, data[:position])
        repair_bag(folder)
        assert_whole(folder, complete_messages(data[:position], messages))


@pytest.mark.parametrize("zeros", [0, 600])
def test_a_cut_in_the_head_of_a_chunk_keeps_what_is_before_it(whole, tmp_path, zeros):
    data, messages = whole
    with (lay_out(tmp_path, data) / "poses_0.mcap").open("rb") as file:
        starts = [index.chunk_start_offset for index in make_reader(file).get_summary().chunk_indexes]
    assert len(starts) == 5
    for position in range(starts[3], starts[3] + 60):
        folder = lay_out(tmp_path, data[:position] + bytes(zeros))
        repair_bag(folder)
        assert_whole(folder, messages[:24])


def test_of_compressed_chunks_whole_ones_are_kept(tmp_path):
    messages = write_poses(tmp_path / "source", compression="zstd")
    data = (tmp_path / "source" / "source_0.mcap").read_bytes()
    kept = []
    for share in (0.3, 0.5, 0.7, 0.9):
        folder = lay_out(tmp_path, data[: int(share * len(data))])
        kept.append(repair_bag(folder).message_count)
        assert_whole(folder, messages[: kept[-1]])
    assert all(count % 8 == 0 for count in kept) and kept[-1] > kept[0]


def test_a_damaged_chunk_is_left_out_and_told(whole, tmp_path):
    data, messages = whole
    damaged = bytearray(data)
    damaged[data.index(messages[19])] ^= 0xFF  # in the third chunk: messages 16 to 23
    folder = lay_out(tmp_path, bytes(damaged))
    result = repair_bag(folder)
    assert result.state == "repaired"
    assert len(result.lost) == 1
    assert "8 messages lost between 1.60 s and 2.30 s" in result.lost[0]
    assert_whole(folder, messages[:16] + messages[24:])
    assert json.loads((folder / "episode.json").read_text())["verdict"] == "bad"


def test_bytes_overwritten_between_chunks_cost_that_chunk_only(whole, tmp_path):
    data, messages = whole
    start = data.index(messages[8]) - 200  # header of the second chunk and what is before it
    hole = data[:start] + b"\xee" * 300 + data[start + 300 :]
    folder = lay_out(tmp_path, hole)
    repair_bag(folder)
    kept = messages_of(folder)
    assert kept[-24:] == messages[16:]
    assert set(kept) <= set(messages)


@pytest.mark.parametrize("text", [b"Pose pose", b"reliability: reliable", b"sec: 9223372036", b"/latched"])
def test_a_wrong_byte_in_the_summary_costs_nothing(whole, tmp_path, text):
    data, messages = whole
    place = data.rindex(text) + 5
    folder = lay_out(tmp_path, data[:place] + b"\xfe" + data[place + 1 :])
    assert "the index of the file is damaged" in repair_bag(folder).problems
    assert_whole(folder, messages)
    assert BagReader(folder).topics == {"/pose": POSE, "/latched": POSE}


@pytest.mark.parametrize(("text", "wrong"), [(b"Pose pose", b"\xfe"), (b"nsec: 854775807", b"%")])
def test_of_a_chunk_with_damaged_definitions_the_other_chunks_are_kept(whole, tmp_path, text, wrong):
    data, messages = whole
    place = data.index(text) + 7
    cut = data[: data.index(messages[-1]) + len(messages[-1])]  # there is no other copy of them
    folder = lay_out(tmp_path, cut[:place] + wrong + cut[place + 1 :])
    repair_bag(folder)
    assert_whole(folder, messages[8:])


def test_what_a_killed_recorder_lost_is_a_reason_of_the_verdict(record, tmp_path):
    episode = record(tmp_path / "source", seconds=1.0)
    path = BagReader(episode.folder).path
    data = path.read_bytes()
    path.write_bytes(data[: int(0.8 * len(data))])
    (episode.folder / "metadata.yaml").unlink()
    started = BagReader(episode.folder).metadata_records["episode"]["episode.json"]
    (episode.folder / "episode.json").write_text(started)
    result = repair_bag(episode.folder)
    described = json.loads((episode.folder / "episode.json").read_text())
    assert described["verdict"] in ("suspect", "bad")
    assert described["reasons"][0].startswith("recorder was killed; at most 1.")
    assert described["outcome"] == "unlabelled"
    counted = described["streams"]["robot/ee_pose"]["received"]
    assert counted == BagReader(episode.folder).message_counts["/robot/ee_pose"]
    assert described["duration_s"] == pytest.approx(result.duration_s, abs=0.05)


def test_metadata_alone_is_made_again(poses):
    folder, messages = poses
    before = (folder / "poses_0.mcap").read_bytes()
    text = (folder / "metadata.yaml").read_text()
    (folder / "episode.json").write_text('{"id": "poses", "state": "closed", "verdict": "good"}')
    assert repair_bag(folder).state == "intact"
    for damage in ("", "not: [yaml", text.replace("message_count: 40", "message_count: 41")):
        (folder / "metadata.yaml").write_text(damage)
        assert repair_bag(folder).state == "metadata rewritten"
        assert (folder / "metadata.yaml").read_text() == text
    (folder / "metadata.yaml").unlink()
    assert repair_bag(folder).state == "metadata rewritten"
    assert (folder / "poses_0.mcap").read_bytes() == before
    assert_whole(folder, messages)


def test_a_dry_run_changes_nothing(whole, tmp_path):
    folder = lay_out(tmp_path, whole[0][:-500])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert repair_bag(folder, dry_run=True).state == "needs repair"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_old_file_is_kept_unless_not_wanted(whole, tmp_path):
    cut = whole[0][:-500]
    folder = lay_out(tmp_path, cut)
    result = repair_bag(folder)
    assert result.backup == folder / "poses_0.mcap.orig" and result.backup.read_bytes() == cut
    folder = lay_out(tmp_path, cut)
    assert repair_bag(folder, backup=False).backup is None
    assert sorted(path.name for path in folder.iterdir()) == ["episode.json", "metadata.yaml", "poses_0.mcap"]


def test_no_old_file_is_ever_overwritten(whole, tmp_path):
    first = whole[0][: len(whole[0]) * 3 // 4]
    folder = lay_out(tmp_path, first)
    repair_bag(folder)
    path = folder / "poses_0.mcap"
    path.write_bytes(path.read_bytes()[:-700])
    second = path.read_bytes()
    assert repair_bag(folder).backup == folder / "poses_0.mcap.orig2"
    assert (folder / "poses_0.mcap.orig").read_bytes() == first
    assert (folder / "poses_0.mcap.orig2").read_bytes() == second
    path.unlink()  # as if interrupted without hard links: the newest old file gets its name back
    repair_bag(folder)
    assert (folder / "poses_0.mcap.orig").read_bytes() == first
    assert messages_of(folder) == complete_messages(first, whole[1])


class Interrupted(BaseException):
    """Ctrl-C, a kill or a power cut, as far as files can tell."""


#: Places at which a repair may end: what is replaced by a failing one, at which call.
STEPS = [
    (bag_replacement, "copy_bag", 0),
    (os, "link", 0),
    (Path, "replace", 0),
    (Path, "replace", 1),
    (Path, "replace", 2),
    (Path, "replace", 3),
    (repairing, "write_episode_file", 0),
    (shutil, "rmtree", 1),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("owner", "name", "call"), STEPS)
def test_interrupted_anywhere_it_is_run_again(whole, tmp_path, monkeypatch, owner, name, call, after):
    data, messages = whole
    folder = lay_out(tmp_path, data[: len(data) // 2])
    expected = complete_messages(data[: len(data) // 2], messages)
    real, calls = getattr(owner, name), []

    def failing(*args, **options):
        calls.append(1)
        if len(calls) == call + 1:
            if after:
                real(*args, **options)
            raise Interrupted
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        with pytest.raises(Interrupted):
            repair_bag(folder)
    assert list(folder.glob("*.mcap")), "there is a bag at any instant"
    repair_bag(folder)
    assert_whole(folder, expected)


def test_without_hard_links_the_old_file_gets_its_name_back(whole, tmp_path, monkeypatch):
    data, messages = whole
    folder = lay_out(tmp_path, data[: len(data) // 2])

    def refuse(*args):
        raise PermissionError("this file system has no hard links")

    def interrupt(*args):
        raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        patch.setattr(
            Path, "replace", lambda self, target: interrupt() if self.suffix == ".mcap" else os.replace(self, target)
        )
        with pytest.raises(Interrupted):
            repair_bag(folder)
    assert not list(folder.glob("*.mcap"))
    repair_bag(folder)
    assert_whole(folder, complete_messages(data[: len(data) // 2], messages))


def test_a_bag_that_is_being_written_is_left_alone(whole, tmp_path):
    folder = lay_out(tmp_path, whole[0][:-500])
    code = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder / "poses_0.mcap")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        with pytest.raises(BagError, match="being written by another process"):
            repair_bag(folder)
        writer.communicate()
    assert repair_bag(folder).state == "repaired"


@pytest.fixture
def split(tmp_path):
    """Folder of a recording of two files that share a metadata.yaml."""
    for name in ("split", "other"):
        write_poses(tmp_path / name)
    folder = tmp_path / "split"
    (tmp_path / "other" / "other_0.mcap").rename(folder / "split_1.mcap")
    (folder / "episode.json").unlink()
    text = (folder / "metadata.yaml").read_text()
    files = "relative_file_paths:\n    - split_0.mcap\n"
    assert files in text
    (folder / "metadata.yaml").write_text(text.replace(files, f"{files}    - split_1.mcap\n"))
    return folder


def test_one_file_of_several_keeps_the_metadata_of_all(split):
    metadata = (split / "metadata.yaml").read_text()
    path = split / "split_1.mcap"
    # The episode embedded in the file says that it is still open: that is what would be repaired.
    embedded = repair_bag(path, dry_run=True)
    assert all("metadata.yaml" not in text for text in embedded.problems)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BagError, match=r"split_1.mcap is one of 2 MCAP files that share a metadata.yaml; copy it"):
        repair_bag(path)
    with pytest.raises(BagError, match=r"split_0.mcap is one of 2 MCAP files"):
        trim_bag(split / "split_0.mcap", start_s=1.0, in_place=True)
    assert (split / "metadata.yaml").read_text() == metadata
    assert sorted(file.name for file in split.iterdir()) == ["metadata.yaml", "split_0.mcap", "split_1.mcap"]


def test_a_file_that_never_was_a_bag_is_left_alone(whole, tmp_path):
    (tmp_path / "notes.mcap").write_text("shopping list\n")
    with pytest.raises(BagError, match=r"notes.mcap is no MCAP file, and nothing in it can be read"):
        repair_bag(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.mcap"]
    # Of a bag whose first block was lost the rest is worth having.
    (tmp_path / "notes.mcap").write_bytes(b"lost" * 2 + whole[0][8:])
    assert repair_bag(tmp_path).message_count == len(whole[1])


def test_a_folder_without_a_bag_is_named(tmp_path):
    with pytest.raises(BagError, match=r"holds 0 MCAP files"):
        repair_bag(tmp_path)
