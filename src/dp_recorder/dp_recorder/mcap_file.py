"""An MCAP file written chunk by chunk, with every large message copied once and its checksum taken on the way.

The ``mcap`` package builds a chunk in memory, copies it into a record and that into a file: four copies of every image.
Here a chunk is a list of pieces until it is complete; the pieces then go one after the other into the blocks of a
:class:`DiskFile`. The records other than chunks, messages and message indexes are those of the ``mcap`` package.
Source: MCAP specification, https://mcap.dev/spec (version 0).
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)

from dp_recorder.disk_file import DiskFile
from dp_recorder.mcap_chunk import OpenChunk, Piece

COMPRESSIONS = ("none", "zstd")
MAGIC = b"\x89MCAP0\r\n"
#: Opcode of records that fill up to a block of the disk; the specification leaves 0x80 and above to applications.
PADDING_OPCODE = 0x80
_CHUNK_BYTES = 4 * 2**20
_COMPRESSING_THREADS = 2
_COMPRESSED_AHEAD = 3
_RECORD = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<BQHIQQ")
_MESSAGE_FIELDS_BYTES = 22
_CHUNK = struct.Struct("<BQQQQII")
_CHUNK_FIELDS_BYTES = 8 + 8 + 8 + 4 + 4 + 8
_INDEX = struct.Struct("<BQHI")


class McapFile:
    """Writes one MCAP file. Not thread-safe."""

    def __init__(self, path: Path, *, compression: str, profile: str, library: str) -> None:
        """Create the file.

        Args:
            path: Must not exist.
            compression: One of ``COMPRESSIONS``, of the chunks.
            profile: Profile named in the header.
            library: Name of the writing program.

        Raises:
            FileExistsError: If it exists.
        """
        self._compression = "" if compression == "none" else compression
        self._pool = ThreadPoolExecutor(_COMPRESSING_THREADS, "compress chunk") if self._compression else None
        self._ahead: deque[tuple[OpenChunk, Future[list[Piece]]]] = deque()
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._metadata: list[MetadataIndex] = []
        self._chunks: list[ChunkIndex] = []
        self._counts: list[Counter[int]] = []
        self._chunk = OpenChunk()
        self.disk = DiskFile(path)
        self.disk.append(MAGIC + _encode(Header(profile, library)))

    def add_metadata(self, name: str, pairs: Mapping[str, str]) -> None:
        """Append a metadata record, after what was written before."""
        self.finish_chunk()
        record = _encode(Metadata(name=name, metadata=dict(pairs)))
        self._metadata.append(MetadataIndex(offset=self.disk.position, length=len(record), name=name))
        self.disk.append(record)

    def add_schema(self, name: str, encoding: str, text: bytes) -> int:
        """Add a message definition; returns its number."""
        schema = Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=text)
        self._schemas.append(schema)
        self._chunk.add(_encode(schema))
        return schema.id

    def add_channel(self, topic: str, encoding: str, schema: int, metadata: Mapping[str, str]) -> int:
        """Add a topic; returns its number, starting at 1."""
        number = len(self._channels) + 1
        channel = Channel(id=number, topic=topic, message_encoding=encoding, schema_id=schema, metadata=dict(metadata))
        self._channels.append(channel)
        self._chunk.add(_encode(channel))
        return number

    def write(self, channel: int, data: Piece, log_time_ns: int, publish_time_ns: int, sequence: int) -> None:
        """Append a message; large ``data`` is kept, not copied, until its chunk is complete.

        Raises:
            OSError: The disk has failed.
        """
        chunk = self._chunk
        if not chunk.index:
            chunk.start_ns = chunk.end_ns = log_time_ns
        elif log_time_ns > chunk.end_ns:
            chunk.end_ns = log_time_ns
        elif log_time_ns < chunk.start_ns:
            chunk.start_ns = log_time_ns
        index = chunk.index.get(channel)
        if index is None:
            index = chunk.index[channel] = array("Q")
        index.append(log_time_ns)
        index.append(chunk.size)
        length = _MESSAGE_FIELDS_BYTES + len(data)
        chunk.add(_MESSAGE.pack(Opcode.MESSAGE, length, channel, sequence, log_time_ns, publish_time_ns))
        chunk.add(data)
        if chunk.size >= _CHUNK_BYTES:
            self.finish_chunk(wait=False)

    def finish_chunk(self, wait: bool = True) -> None:
        """Give the open chunk, if it holds messages, to the disk file.

        Args:
            wait: Also those that are still being compressed.

        Raises:
            OSError: The disk has failed.
        """
        chunk, self._chunk = self._chunk, OpenChunk()
        if chunk.index:
            chunk.seal()
            if self._pool is None:
                self._write_chunk(chunk, chunk.pieces)
            else:
                self._ahead.append((chunk, self._pool.submit(chunk.compressed)))
        elif chunk.size:
            self._chunk = chunk  # definitions wait for the first message
        while self._ahead and (wait or len(self._ahead) > _COMPRESSED_AHEAD or self._ahead[0][1].done()):
            done, pieces = self._ahead.popleft()
            self._write_chunk(done, pieces.result())

    def _write_chunk(self, chunk: OpenChunk, pieces: list[Piece]) -> None:
        stored = sum(len(piece) for piece in pieces)
        name = self._compression.encode()
        start = self.disk.position
        length = _CHUNK_FIELDS_BYTES + len(name) + stored
        header = _CHUNK.pack(Opcode.CHUNK, length, chunk.start_ns, chunk.end_ns, chunk.size, chunk.checksum, len(name))
        # Noted before it is written, so that a chunk cut by a full disk can be given back.
        self._counts.append(chunk.counts())
        offsets: dict[int, int] = {}
        self._chunks.append(
            ChunkIndex(
                message_start_time=chunk.start_ns,
                message_end_time=chunk.end_ns,
                chunk_start_offset=start,
                chunk_length=_RECORD.size + length,
                message_index_offsets=offsets,
                message_index_length=0,
                compression=self._compression,
                compressed_size=stored,
                uncompressed_size=chunk.size,
            )
        )
        self.disk.append(header + name + struct.pack("<Q", stored))
        for piece in pieces:
            self.disk.append(piece)
        index_start = self.disk.position
        for channel, index in chunk.index.items():
            offsets[channel] = self.disk.position
            octets = index.tobytes()
            self.disk.append(_INDEX.pack(Opcode.MESSAGE_INDEX, 6 + len(octets), channel, len(octets)) + octets)
        self._chunks[-1].message_index_length = self.disk.position - index_start

    def submit(self, sync: bool) -> None:
        """Finish the open chunk and hand everything to the disk, without waiting for it.

        Args:
            sync: Also ask that it be safe from a power cut.

        Raises:
            OSError: The disk has failed.
        """
        self.finish_chunk()
        missing = -self.disk.position % self.disk.alignment
        if missing:
            if missing < _RECORD.size:
                missing += self.disk.alignment
            self.disk.append(_RECORD.pack(PADDING_OPCODE, missing - _RECORD.size) + bytes(missing - _RECORD.size))
        self.disk.submit(sync)

    def finish(self) -> None:
        """Write the summary and close the file, everything on the disk.

        Raises:
            OSError: The disk has failed; the file stays open.
        """
        self.finish_chunk()
        self.disk.append(_encode(DataEnd(data_section_crc=0)))
        self.disk.append(self._summary(self.disk.position))
        self.disk.finish()
        self._stop()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._stop()
        self.disk.abandon()

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def give_back(self) -> bool:
        """Cut the file after an earlier chunk, so that there is room for its end; False if there is none to give.

        Raises:
            OSError: The file cannot be cut.
        """
        if not self._chunks:
            return False
        self._counts.pop()
        start = self._chunks.pop().chunk_start_offset
        while self._chunks and start > self.disk.written:
            self._counts.pop()
            start = self._chunks.pop().chunk_start_offset
        if start > self.disk.written:
            return False
        self._metadata = [index for index in self._metadata if index.offset < start]
        self._chunk = OpenChunk()
        self._ahead.clear()
        self.disk.rewind(start)
        return True

    def message_counts(self) -> Counter[int]:
        """Messages in the file by channel, those of chunks that are not written yet included."""
        total = self._chunk.counts()
        for chunk, _ in self._ahead:
            total.update(chunk.counts())
        for counts in self._counts:
            total.update(counts)
        return total

    def span_ns(self) -> tuple[int, int]:
        """Earliest and latest log time of the finished chunks, ns; zeros when there is none."""
        starts = [chunk.message_start_time for chunk in self._chunks]
        return min(starts, default=0), max((chunk.message_end_time for chunk in self._chunks), default=0)

    def _summary(self, start: int) -> bytes:
        counts = self.message_counts()
        first_ns, last_ns = self.span_ns()
        statistics = Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(counts),
            chunk_count=len(self._chunks),
            message_count=counts.total(),
            message_end_time=last_ns,
            message_start_time=first_ns,
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )
        groups: tuple[tuple[int, list[McapRecord]], ...] = (
            (Opcode.SCHEMA, list(self._schemas)),
            (Opcode.CHANNEL, list(self._channels)),
            (Opcode.STATISTICS, [statistics]),
            (Opcode.CHUNK_INDEX, list(self._chunks)),
            (Opcode.METADATA_INDEX, list(self._metadata)),
        )
        parts, offsets, position = [], [], start
        for opcode, records in groups:
            part = b"".join(_encode(record) for record in records)
            if part:
                offset = SummaryOffset(group_opcode=opcode, group_start=position, group_length=len(part))
                offsets.append(_encode(offset))
            parts.append(part)
            position += len(part)
        summary = b"".join((*parts, *offsets))
        # The checksum covers the footer up to itself.
        covered = summary + _RECORD.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, position)
        footer = Footer(summary_start=start, summary_offset_start=position, summary_crc=zlib.crc32(covered))
        return summary + _encode(footer) + MAGIC


def _encode(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())
