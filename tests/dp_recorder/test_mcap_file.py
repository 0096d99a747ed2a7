"""The file is held against the mcap package: its readers read it, and find what its own writer would have written."""

import io
import random

import pytest
from dp_recorder.mcap_file import PADDING_OPCODE, McapFile
from mcap.exceptions import EndOfFile
from mcap.reader import SeekingReader
from mcap.stream_reader import StreamReader
from mcap.writer import CompressionType, Writer

SIZES = (0, 1, 100, 32 * 1024 - 1, 32 * 1024, 100_000, 1_500_000, 5_000_000)


def messages(seed: int, count: int = 60):
    """(channel, data, log time, publish time, sequence), times not in order."""
    rng = random.Random(seed)
    for index in range(count):
        size = rng.choice(SIZES if index % 10 == 0 else SIZES[:4])
        log_time = 1_000_000 + (index * 10 + rng.randrange(-50, 50)) * 100 + index  # not in order, no two the same
        yield rng.choice((1, 2, 3)), rng.randbytes(size), log_time, log_time - 5, index


def write_ours(path, seed, compression, flush_every=7):
    file = McapFile(path, compression=compression, profile="ros2", library="test")
    file.add_metadata("first", {"a": "b"})
    schema = file.add_schema("pkg/msg/A", "ros2msg", b"int32 a")
    for name in ("/a", "/b", "/c"):
        file.add_channel(name, "cdr", schema, {"key": name})
    for index, message in enumerate(messages(seed)):
        file.write(*message)
        if index % flush_every == flush_every - 1:
            file.submit(sync=index % 2 == 0)
    file.add_metadata("last", {})
    file.finish()


def write_theirs(seed) -> io.BytesIO:
    stream = io.BytesIO()
    writer = Writer(stream, compression=CompressionType.NONE)
    writer.start(profile="ros2", library="test")
    schema = writer.register_schema("pkg/msg/A", "ros2msg", b"int32 a")
    for name in ("/a", "/b", "/c"):
        writer.register_channel(name, "cdr", schema, {"key": name})
    for channel, data, log_time, publish_time, sequence in messages(seed):
        writer.add_message(channel, log_time, data, publish_time, sequence)
    writer.finish()
    stream.seek(0)
    return stream


def read(stream, **options):
    stream.seek(0)
    reader = SeekingReader(stream, validate_crcs=True)
    return [(s.name, c.topic, m) for s, c, m in reader.iter_messages(**options)]


def summary(stream):
    stream.seek(0)
    return SeekingReader(stream).get_summary()


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("seed", range(3))
def test_readers_find_what_was_written(tmp_path, compression, seed):
    path = tmp_path / "a.mcap"
    write_ours(path, seed, compression)
    theirs = write_theirs(seed)
    with path.open("rb") as ours:
        assert read(ours, log_time_order=False) == read(theirs, log_time_order=False)
        assert read(ours) == read(theirs)
        window = {"starting_at": 1_015_000, "ending_before": 1_040_000, "topics": ["/b"]}
        assert read(ours, **window) == read(theirs, **window)
        found, expected = summary(ours), summary(theirs)
        assert found.statistics.channel_message_counts == expected.statistics.channel_message_counts
        for name in ("message_count", "message_start_time", "message_end_time", "channel_count", "schema_count"):
            assert getattr(found.statistics, name) == getattr(expected.statistics, name), name
        assert found.channels == expected.channels and found.schemas == expected.schemas
        assert found.statistics.chunk_count == len(found.chunk_indexes)
        ours.seek(0)
        assert [record.name for record in SeekingReader(ours).iter_metadata()] == ["first", "last"]
        ours.seek(0)
        streamed = [r for r in StreamReader(ours, validate_crcs=True).records if type(r).__name__ == "Message"]
        assert [m.sequence for m in streamed] == list(range(60))


def test_what_was_flushed_is_in_whole_blocks(tmp_path):
    """So that a block that is on the disk is never written again."""
    path = tmp_path / "a.mcap"
    file = McapFile(path, compression="none", profile="ros2", library="test")
    channel = file.add_channel("/a", "cdr", file.add_schema("pkg/msg/A", "ros2msg", b""), {})
    lengths = []
    for index in range(20):
        file.write(channel, bytes(index * 613), index, index, index)
        file.submit(sync=True)
        file.disk.wait()
        lengths.append(path.stat().st_size)
        seen = []
        with path.open("rb") as stream, pytest.raises(EndOfFile):
            for record in StreamReader(stream, validate_crcs=True).records:
                seen.append(type(record).__name__)
        assert seen.count("Message") == index + 1, "everything that was flushed, and nothing that is no record"
    assert all(length % file.disk.alignment == 0 for length in lengths)
    file.abandon()
    assert PADDING_OPCODE >= 0x80, "the specification leaves these to applications"
