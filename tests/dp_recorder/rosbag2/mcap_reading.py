"""Reads an MCAP file as the C++ library in rosbag2 of Jazzy does, and refuses what that refuses.

Written from foxglove/mcap ``cpp/mcap/include/mcap/reader.inl`` at releases/cpp/v1.3.0, the version that
``mcap_vendor`` of rosbag2 0.26 builds; each rule names the function it comes from. It shares no code with the writer.
"""

import struct
import zlib
from dataclasses import dataclass, field

import zstandard

MAGIC = b"\x89MCAP0\r\n"
FOOTER_BYTES = 9 + 20 + 8
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, CHUNK_INDEX = range(1, 9)
STATISTICS, METADATA, METADATA_INDEX = 0x0B, 0x0C, 0x0D


class RefusedError(Exception):
    """rosbag2 would not read this; says why."""


@dataclass
class Summary:
    """What the end of the file says about all of it."""

    schemas: dict = field(default_factory=dict)
    channels: dict = field(default_factory=dict)
    chunks: list = field(default_factory=list)
    metadata: list = field(default_factory=list)
    statistics: dict | None = None


@dataclass(frozen=True)
class Message:
    """One message as its reader gets it."""

    log_time_ns: int
    offset: tuple
    channel: int
    publish_time_ns: int
    data: bytes


class Fields:
    """Takes the fields of a record one after the other."""

    def __init__(self, payload: bytes) -> None:
        self.payload, self.position = payload, 0

    def integer(self, octets: int) -> int:
        return int.from_bytes(self.octets(octets), "little")

    def octets(self, count: int) -> bytes:
        if self.position + count > len(self.payload):
            raise RefusedError("a record ends within a field")
        self.position += count
        return self.payload[self.position - count : self.position]

    def text(self) -> str:
        return self.octets(self.integer(4)).decode()

    def pairs(self, first, second) -> dict:
        end = self.integer(4) + self.position
        found = {}
        while self.position < end:
            key = first()
            found[key] = second()
        return found


def record(data: bytes, offset: int, end: int | None = None) -> tuple[int, bytes, int]:
    """Opcode, payload and end of a record (``McapReader::ReadRecord``)."""
    end = len(data) if end is None else end
    if end - offset < 9:
        raise RefusedError(f"cannot read record at offset {offset}, {end - offset} bytes remaining")
    opcode, length = struct.unpack_from("<BQ", data, offset)
    if end - offset - 9 < length:
        raise RefusedError(f"record 0x{opcode:02x} at {offset} has length {length}, but less remains")
    return opcode, data[offset + 9 : offset + 9 + length], offset + 9 + length


def read_summary(data: bytes) -> Summary:
    """``McapReader::open`` and ``McapReader::readSummarySection_``; Statistics are a must there."""
    if data[:8] != MAGIC or record(data, 8)[0] != HEADER:
        raise RefusedError("no header")
    footer = data[-FOOTER_BYTES:]
    if footer[-8:] != MAGIC:
        raise RefusedError("invalid magic bytes in Footer")
    opcode, length, start, offsets_start, checksum = struct.unpack_from("<BQQQI", footer)
    if (opcode, length) != (FOOTER, 20) or not start or offsets_start < start:
        raise RefusedError("invalid Footer")
    if checksum and zlib.crc32(data[start : len(data) - 12]) != checksum:
        raise RefusedError("the summary's checksum is wrong")
    summary = Summary()
    position = start
    while position < offsets_start:
        opcode, payload, position = record(data, position, offsets_start)
        _take(summary, opcode, Fields(payload))
    if summary.statistics is None:
        raise RefusedError("MissingStatistics")
    return summary


def _take(summary: Summary, opcode: int, fields: Fields) -> None:
    if opcode == SCHEMA:
        number = fields.integer(2)
        summary.schemas[number] = fields.text(), fields.text(), fields.text()
    elif opcode == CHANNEL:
        number, schema = fields.integer(2), fields.integer(2)
        topic, encoding = fields.text(), fields.text()
        summary.channels[number] = schema, topic, encoding, fields.pairs(fields.text, fields.text)
    elif opcode == METADATA_INDEX:
        offset, _, name = fields.integer(8), fields.integer(8), fields.text()
        summary.metadata.append((name, offset))
    elif opcode == STATISTICS:
        names = ("messages", 8), ("schemas", 2), ("channels", 4), ("attachments", 4), ("metadata", 4), ("chunks", 4)
        summary.statistics = {name: fields.integer(octets) for name, octets in names}
        summary.statistics |= {"start_ns": fields.integer(8), "end_ns": fields.integer(8)}
        summary.statistics["by_channel"] = fields.pairs(lambda: fields.integer(2), lambda: fields.integer(8))
    elif opcode == CHUNK_INDEX:
        names = "start_ns", "end_ns", "offset", "length"
        chunk = {name: fields.integer(8) for name in names}
        chunk["index_offsets"] = fields.pairs(lambda: fields.integer(2), lambda: fields.integer(8))
        chunk["index_length"] = fields.integer(8)
        summary.chunks.append(chunk)


def read_metadata(data: bytes, summary: Summary, name: str) -> list[dict]:
    """Contents of all metadata records of a name, in the order of the index (``MCAPStorage::read_metadata``)."""
    found = []
    for indexed, offset in summary.metadata:
        if indexed != name:
            continue
        opcode, payload, _ = record(data, offset)
        fields = Fields(payload)
        if opcode != METADATA or fields.text() != name:
            raise RefusedError(f"the index of metadata {name} points elsewhere")
        found.append(fields.pairs(fields.text, fields.text))
    return found


def read_messages(data: bytes, summary: Summary) -> list[Message]:
    """All messages in the order of ``ros2 bag play`` (``IndexedMessageReader::next``): log time, then place."""
    messages = []
    for chunk in summary.chunks:
        if not chunk["index_length"]:
            raise RefusedError("attempted to read in receive timestamp order with no message index")
        end = chunk["offset"] + chunk["length"] + chunk["index_length"]
        opcode, payload, position = record(data, chunk["offset"], end)
        if opcode != CHUNK or position != chunk["offset"] + chunk["length"]:
            raise RefusedError("a chunk index points elsewhere")
        records = _records_of(Fields(payload), chunk)
        while position < end:
            opcode, payload, position = record(data, position, end)
            if opcode != MESSAGE_INDEX:
                raise RefusedError(f"expected only chunks and message indices, found 0x{opcode:02x}")
            messages += _indexed(Fields(payload), records, chunk["offset"])
    return sorted(messages, key=lambda message: (message.log_time_ns, message.offset))


def _records_of(fields: Fields, chunk: dict) -> bytes:
    """``IndexedMessageReader::decompressChunk``."""
    span = fields.integer(8), fields.integer(8)
    size, checksum = fields.integer(8), fields.integer(4)
    compression, records = fields.text(), fields.octets(fields.integer(8))
    if compression == "zstd":
        records = zstandard.ZstdDecompressor().decompress(records, max_output_size=size)
    elif compression:
        raise RefusedError(f"unrecognized compression: {compression}")
    if len(records) != size or (checksum and zlib.crc32(records) != checksum):
        raise RefusedError("a chunk's size or checksum is wrong")
    if span != (chunk["start_ns"], chunk["end_ns"]):
        raise RefusedError("a chunk and its index tell different times")
    return records


def _indexed(fields: Fields, records: bytes, chunk_offset: int) -> list[Message]:
    channel, found = fields.integer(2), []
    end = fields.integer(4) + fields.position
    while fields.position < end:
        t_ns, offset = fields.integer(8), fields.integer(8)
        opcode, payload, _ = record(records, offset)
        message = Fields(payload)
        if opcode != MESSAGE:
            raise RefusedError(f"expected a message record, got 0x{opcode:02x}")
        number, _ = message.integer(2), message.integer(4)
        log_ns, publish_ns = message.integer(8), message.integer(8)
        if (number, log_ns) != (channel, t_ns):
            raise RefusedError("a message index points to another message")
        found.append(Message(log_ns, (chunk_offset, offset), channel, publish_ns, payload[message.position :]))
    return found
