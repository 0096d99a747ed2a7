"""A summary that is not what its writer wrote is not believed: the recording is read without it."""

import struct

import pytest
from dp_dataset.bag_reader import BagReader
from dp_dataset.mcap_summary import is_summary_intact
from mcap.writer import Writer

FOOTER_BYTES = 29 + 8  # with the magic behind it


def write(path, **options):
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile="ros2", library="another recorder")
        schema = writer.register_schema("std_msgs/msg/Int32", "ros2msg", b"int32 data")
        channel = writer.register_channel("/a", "cdr", schema)
        for index in range(10):
            writer.add_message(channel, index, struct.pack("<4si", b"\x00\x01\x00\x00", index), index, index)
        writer.finish()
    return path.read_bytes()


def intact(path):
    with path.open("rb") as file:
        return is_summary_intact(file, path.stat().st_size)


def test_every_wrong_byte_shows_and_no_message_is_lost(tmp_path):
    path = tmp_path / "bag.mcap"
    data = write(path)
    assert intact(path) and BagReader(path).indexed
    (start,) = struct.unpack_from("<Q", data, len(data) - FOOTER_BYTES + 9)
    assert 0 < start < len(data) - FOOTER_BYTES
    for place in range(start, len(data)):
        wrong = bytearray(data)
        wrong[place] ^= 0xFF
        path.write_bytes(wrong)
        assert not intact(path), place
        bag = BagReader(path)  # a length of 2**60 bytes among them
        assert (bag.indexed, bag.topics, bag.message_counts) == (False, {"/a": "std_msgs/msg/Int32"}, {"/a": 10})
        assert [entry.message.data for entry in bag.read()] == list(range(10))


@pytest.mark.parametrize("size", [0, 7, 8, FOOTER_BYTES, FOOTER_BYTES + 8])
def test_a_file_too_short_for_one_has_none(tmp_path, size):
    path = tmp_path / "bag.mcap"
    path.write_bytes(b"\x89MCAP0\r\n"[:size].ljust(size, b"\x00"))
    assert not intact(path)


def test_a_writer_may_leave_the_checksum_out(tmp_path):
    path = tmp_path / "bag.mcap"
    data = write(path, enable_crcs=False)
    assert struct.unpack_from("<I", data, len(data) - 12) == (0,)
    assert intact(path) and BagReader(path).indexed
