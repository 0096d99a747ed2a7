"""Raw reading against the MCAP project's own reader and writer, and past damage."""

import struct
import tracemalloc

import lz4.frame
import pytest
import zstandard
from dp_dataset.bag_reader import BagError, BagReader
from dp_dataset.mcap_chunks import decompress, parse_chunk_header
from dp_dataset.mcap_records import McapRecords
from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

TEXT = "int32 data"


def write(folder, count=60, chunked=True, **options):
    """A foreign file: two topics, 10 messages a second, chunks of about ten messages."""
    folder.mkdir()
    path = folder / "other_name.mcap"
    with path.open("wb") as file:
        writer = Writer(file, chunk_size=400, use_chunking=chunked, **options)
        writer.start(profile="ros2", library="another recorder")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", TEXT.encode())
        channels = [writer.register_channel(topic, "cdr", schema) for topic in ("/a", "/b")]
        for index in range(count):
            data = struct.pack("<4si", b"\x00\x01\x00\x00", index)
            writer.add_message(channels[index % 2], index * 100, data, index * 100 + 1, index)
        writer.finish()
    return path


def reference(path, topics=None):
    with path.open("rb") as file:
        entries = make_reader(file).iter_messages(topics, log_time_order=False)
        return [(c.topic, m.log_time, m.publish_time, m.sequence, m.data) for _, c, m in entries]


def raw(bag, *args, **options):
    return [
        (e.topic, e.log_time_ns, e.publish_time_ns, e.sequence, bytes(e.data)) for e in bag.read_raw(*args, **options)
    ]


@pytest.mark.parametrize("compression", list(CompressionType))
@pytest.mark.parametrize("chunked", [True, False])
def test_it_reads_what_the_other_reader_reads(tmp_path, compression, chunked):
    path = write(tmp_path / "bag", chunked=chunked, compression=compression)
    bag = BagReader(tmp_path / "bag")
    assert raw(bag) == reference(path) and len(raw(bag)) == 60
    assert raw(bag, ["/b"]) == reference(path, ["/b"])
    assert raw(bag, start_ns=1000, end_ns=2500) == [entry for entry in reference(path) if 1000 <= entry[1] < 2500]
    assert (bag.start_ns, bag.end_ns, bag.indexed, bag.complete) == (0, 5900, True, True)
    assert [entry.message.data for entry in bag.read(["/a"])] == list(range(0, 60, 2))
    details = bag.topic_details["/a"]
    assert (details.type_name, details.definition, details.message_count) == ("std_msgs/msg/Int32", TEXT, 30)


def test_a_file_may_be_named_itself(tmp_path):
    path = write(tmp_path / "bag")
    (tmp_path / "bag" / "second.mcap").touch()
    assert BagReader(path).message_counts == {"/a": 30, "/b": 30}
    with pytest.raises(BagError, match="2 MCAP files"):
        BagReader(tmp_path / "bag")


def test_progress_adds_up_to_the_file(tmp_path):
    path = write(tmp_path / "bag")
    told = []
    raw(BagReader(tmp_path / "bag"), on_progress=told.append)
    assert sum(told) == path.stat().st_size and len(told) > 5


def test_damage_is_raised_or_told(tmp_path):
    path = write(tmp_path / "bag", compression=CompressionType.NONE)
    whole = reference(path)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<4si", b"\x00\x01\x00\x00", 20))
    data[at + 4] ^= 1
    path.write_bytes(data)
    bag = BagReader(tmp_path / "bag")
    with pytest.raises(BagError, match="damaged: a chunk does not match its checksum, at byte"):
        raw(bag)
    damage = []
    left = raw(bag, on_damage=damage.append)
    lost = [entry for entry in whole if entry not in left]
    assert (len(damage), damage[0].messages) == (1, len(lost))
    assert (damage[0].start_ns, damage[0].end_ns) == (lost[0][1], lost[-1][1])
    assert damage[0].offset < at < damage[0].offset + damage[0].size and not damage[0].at_end
    assert whole[20] in lost


def test_after_bytes_that_are_no_records_the_next_chunk_is_found(tmp_path):
    path = write(tmp_path / "bag", compression=CompressionType.ZSTD)
    whole = reference(path)
    data = path.read_bytes()
    chunks = [record.offset for record in McapRecords(path)]
    second = sorted(set(chunks))[2]
    path.write_bytes(data[:second] + b"\x00" * 20 + data[second + 20 :])
    damage = []
    left = raw(BagReader(tmp_path / "bag"), on_damage=damage.append)
    assert len(damage) == 1 and damage[0].offset == second
    assert left[-1] == whole[-1] and 0 < len(whole) - len(left) < 20


def test_a_length_that_lies_costs_no_memory(tmp_path):
    path = write(tmp_path / "bag", compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    first = next(record.offset for record in McapRecords(path) if record.opcode == 5)
    data[first + 1 : first + 9] = (2**60).to_bytes(8, "little")
    path.write_bytes(data)
    damage = []
    assert raw(BagReader(tmp_path / "bag"), on_damage=damage.append)[-1] == reference_of_end()
    assert len(damage) == 1


def test_content_that_unpacks_to_more_than_its_chunk_claims_is_not_unpacked(tmp_path):
    bombs = {
        "zstd": zstandard.ZstdCompressor(level=1).compress(bytes(64 * 2**20)),
        "lz4": lz4.frame.compress(bytes(64 * 2**20)),
    }
    for name, bomb in bombs.items():
        claims = struct.pack("<QQQII", 0, 1, 100, 0, len(name)) + name.encode() + struct.pack("<Q", len(bomb))
        header = parse_chunk_header(claims)
        assert header.uncompressed_size == 100
        tracemalloc.start()
        with pytest.raises(ValueError, match="claims 100 bytes"):
            # What lz4 unpacks ends there; the checksum of the chunk tells.
            raise ValueError(f"claims {len(decompress(memoryview(bomb), header))} bytes")
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()


def test_a_message_too_short_to_be_one_is_damage(tmp_path):
    path = write(tmp_path / "bag", chunked=False)
    data = bytearray(path.read_bytes())
    second = next(r.offset for r in McapRecords(path) if r.opcode == 5 and bytes(r.body)[2:6] == b"\x01\x00\x00\x00")
    data[second + 1 : second + 9] = (3).to_bytes(8, "little")
    path.write_bytes(data)
    damage = []
    raw(BagReader(tmp_path / "bag"), on_damage=damage.append)
    assert damage and damage[0].offset == second


def test_a_damaged_definition_is_said_and_the_messages_are_kept(tmp_path):
    path = write(tmp_path / "bag", compression=CompressionType.NONE)
    data = path.read_bytes()
    path.write_bytes(data.replace(TEXT.encode(), b"int32 \xffata")[:-20])  # the summary is gone, too
    bag = BagReader(tmp_path / "bag")
    assert bag.topic_details["/a"].definition == "int32 \ufffdata"
    assert len(raw(bag)) > 0
    with pytest.raises(BagError, match="a message definition in it is damaged"):
        list(bag.read())


def reference_of_end():
    return "/b", 5900, 5901, 59, struct.pack("<4si", b"\x00\x01\x00\x00", 59)
