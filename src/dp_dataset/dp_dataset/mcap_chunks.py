"""Chunks of an MCAP file: headers, the records within, what is left of one that was cut off, where the next is."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import lz4.frame
import zstandard

SCHEMA, CHANNEL, MESSAGE, CHUNK, MESSAGE_INDEX, METADATA, DATA_END = 3, 4, 5, 6, 7, 12, 15
RECORD_HEADER = struct.Struct("<BQ")
_LAST_OPCODE = 15
_FIRST_PRIVATE_OPCODE = 0x80
_MESSAGE = struct.Struct("<HIQQ")
SHORTEST_MESSAGE = _MESSAGE.size
_CHUNK_HEADER = struct.Struct("<QQQII")
_COMPRESSIONS = (b"", b"lz4", b"zstd")
LONGEST_CHUNK_HEADER = _CHUNK_HEADER.size + 4 + 8
_SEARCH_BYTES = 2**20
#: A power cut leaves blocks that were allocated and never written: they read as zeros.
_BLOCK_BYTES = 512
#: Recorders close a chunk after a few MiB; what claims more than this is damaged, or meant to fill the memory.
LARGEST_CHUNK_BYTES = 2**30


class ChunkHeader(NamedTuple):
    """What a chunk says of itself; ``data_offset`` counts from the start of the record's content."""

    start_ns: int
    end_ns: int
    uncompressed_size: int
    crc: int
    compression: bytes
    data_offset: int
    data_size: int


class McapMessage(NamedTuple):
    """One message as it lies in the file; ``data`` is a view into its chunk."""

    channel_id: int
    sequence: int
    log_time_ns: int
    publish_time_ns: int
    data: memoryview


@dataclass(frozen=True)
class Record:
    """One record outside of a chunk, or inside of one.

    Attributes:
        opcode: Kind of record.
        offset: Of the record, or of the chunk that it is in, in the file, bytes.
        body: Its content.
    """

    opcode: int
    offset: int
    body: memoryview


def is_opcode(opcode: int) -> bool:
    """Whether a record may be of this kind: one that the specification knows, or a private one."""
    return 1 <= opcode <= _LAST_OPCODE or opcode >= _FIRST_PRIVATE_OPCODE


def parse_message(body: memoryview) -> McapMessage:
    """Take a message record apart; nothing is copied."""
    channel_id, sequence, log_time_ns, publish_time_ns = _MESSAGE.unpack_from(body)
    return McapMessage(channel_id, sequence, log_time_ns, publish_time_ns, body[_MESSAGE.size :])


def parse_chunk_header(body: memoryview | bytes) -> ChunkHeader:
    """Read the header of a chunk.

    Raises:
        ValueError: If these bytes do not begin a chunk.
    """
    if len(body) < _CHUNK_HEADER.size + 8:
        raise ValueError("too short for the header of a chunk")
    start_ns, end_ns, size, crc, name_size = _CHUNK_HEADER.unpack_from(body)
    name = bytes(body[_CHUNK_HEADER.size : _CHUNK_HEADER.size + name_size]) if name_size <= 4 else b"?"
    if name not in _COMPRESSIONS:
        raise ValueError(f"unknown compression {name!r}; known: none, lz4, zstd")
    offset = _CHUNK_HEADER.size + name_size
    if len(body) < offset + 8:
        raise ValueError("too short for the header of a chunk")
    (data_size,) = struct.unpack_from("<Q", body, offset)
    return ChunkHeader(start_ns, end_ns, size, crc, name, offset + 8, data_size)


def decompress(data: memoryview, header: ChunkHeader) -> memoryview:
    """Content of a chunk.

    Raises:
        ValueError: If the header claims a size that no recorder writes, or the content another one than the header.
        RuntimeError, zstandard.ZstdError: If it cannot be unpacked.
    """
    size = header.uncompressed_size
    if size > LARGEST_CHUNK_BYTES:
        raise ValueError(f"it claims {size} bytes")
    if header.compression == b"":
        return data
    if header.compression == b"zstd":
        # The limit below holds only for frames that do not tell their size: of others that much memory is taken.
        told = zstandard.frame_content_size(data)
        if told not in (-1, size):
            raise ValueError(f"it claims {size} bytes, its content {told}")
        return memoryview(zstandard.ZstdDecompressor().decompress(data, max_output_size=size))
    unpacked: bytes = lz4.frame.LZ4FrameDecompressor().decompress(bytes(data), max_length=size)
    if len(unpacked) != size:
        raise ValueError(f"it claims {size} bytes, {len(unpacked)} can be unpacked")
    return memoryview(unpacked)


def records_of(records: memoryview, offset: int, lenient: bool) -> Iterator[Record]:
    """Records of a chunk.

    Raises:
        ValueError: If they do not fill it, unless ``lenient``, which ends with the last complete one.
    """
    position, size = 0, len(records)
    while position < size:
        if position + RECORD_HEADER.size > size:
            break
        opcode, length = RECORD_HEADER.unpack_from(records, position)
        end = position + RECORD_HEADER.size + length
        if end > size or not is_opcode(opcode) or (opcode == MESSAGE and length < SHORTEST_MESSAGE):
            break
        yield Record(opcode, offset, records[position + RECORD_HEADER.size : end])
        position = end
    if position != size and not lenient:
        raise ValueError(f"a record at byte {position} of {size} does not fit in")


def only(records: Iterator[Record], opcodes: tuple[int, ...]) -> Iterator[Record]:
    """Records of some kinds."""
    return (record for record in records if record.opcode in opcodes)


def salvage(rest: memoryview, offset: int) -> Iterator[Record]:
    """Complete records of an uncompressed chunk that was cut off; messages only of the span that it claims."""
    try:
        header = parse_chunk_header(rest)
    except ValueError:
        return
    if header.compression != b"":
        return
    for record in records_of(rest[header.data_offset :], offset, lenient=True):
        if record.opcode == MESSAGE:
            if not header.start_ns <= parse_message(record.body).log_time_ns <= header.end_ns:
                return
        yield record


def claimed_span(rest: memoryview) -> tuple[int, int] | None:
    """First and last log time (ns) that a chunk claims to hold, even one that was cut off."""
    try:
        header = parse_chunk_header(rest)
    except ValueError:
        return None
    return header.start_ns, header.end_ns


def written_size(file: BinaryIO, size: int) -> int:
    """Size of a file without the blocks at its end that were never written.

    Args:
        file: The file.
        size: Its size with them, bytes.
    """
    end = size
    while end > 0:
        start = max(0, end - _SEARCH_BYTES)
        file.seek(start)
        kept = len(file.read(end - start).rstrip(b"\x00"))
        if kept:
            written = start + kept
            return written if size - written >= _BLOCK_BYTES else size
        end = start
    return 0 if size >= _BLOCK_BYTES else size


def find_chunk(file: BinaryIO, position: int, size: int) -> int | None:
    """Offset of the next complete chunk, looked for byte by byte; None if there is none."""
    overlap = RECORD_HEADER.size + LONGEST_CHUNK_HEADER
    while position + overlap <= size:
        file.seek(position)
        block = file.read(_SEARCH_BYTES + overlap)
        found = block.find(CHUNK)
        while 0 <= found <= len(block) - overlap:
            _, length = RECORD_HEADER.unpack_from(block, found)
            begin = found + RECORD_HEADER.size
            fits = position + begin + length <= size
            if fits and is_chunk(block[begin : begin + LONGEST_CHUNK_HEADER], length):
                return position + found
            found = block.find(CHUNK, found + 1)
        position += _SEARCH_BYTES
    return None


def is_chunk(head: bytes, length: int) -> bool:
    """Whether the content of a record begins as a chunk of its length does.

    Args:
        head: First bytes of the content, ``LONGEST_CHUNK_HEADER`` of them if there are so many.
        length: Of the content, bytes.
    """
    try:
        header = parse_chunk_header(head)
    except ValueError:
        return False
    fits = header.data_offset + header.data_size == length and header.data_size <= LARGEST_CHUNK_BYTES
    return fits and header.start_ns <= header.end_ns
