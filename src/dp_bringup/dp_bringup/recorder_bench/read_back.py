"""Reads a recorded file back once and holds every message against what was published."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dp_core.contract import Contract
from dp_core.images import encode_jpeg
from dp_recorder.serialized_message import write_compressed_image
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Chunk
from mcap.stream_reader import StreamReader, get_chunk_data_stream

from dp_bringup.errors import CommandError
from dp_bringup.recorder_bench.known_messages import (
    BODY_START,
    camera_frames,
    camera_topics,
    counter_of,
    state_topics,
)

_IMAGE_FORMAT = "rgb8; jpeg compressed bgr8"
_COMPRESSED = "/compressed"
_TOLD_EVERY = 256
_RECORD, _CHANNEL, _MESSAGE_FIELDS_BYTES = struct.Struct("<BQ"), struct.Struct("<H"), 22


@dataclass
class ReadBack:
    """What a file holds.

    Attributes:
        recorded: Messages by topic, each counted once.
        in_time: Those of them that were published while processor time was measured.
        bytes_in_time: Their size as they were published.
        expected: Messages that should be there, by topic.
        damaged: Messages whose content is not what was published.
        repeated: Messages that are there more than once, or not in the order they were published.
        begun: Number of the first message of each topic.
        last: Number of the newest message of each topic so far.
    """

    recorded: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    in_time: int = 0
    bytes_in_time: int = 0
    damaged: int = 0
    repeated: int = 0

    begun: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, counter: int, first: int, size: int) -> None:
        """Note that a message is there; ``first`` and ``size`` are those of its topic, as in :func:`read_back`."""
        self.begun.setdefault(name, counter)
        if counter <= self.last.get(name, -1):
            self.repeated += 1
            return
        self.last[name] = counter
        self.recorded[name] = self.recorded.get(name, 0) + 1
        if counter >= first:
            self.in_time += 1
            self.bytes_in_time += size

    @property
    def lost(self) -> int:
        """Messages published and not in the file, whole."""
        return sum(self.expected.values()) - sum(self.recorded.values()) + self.damaged


def jpeg_checksums(contract: Contract) -> dict[str, tuple[int, ...]]:
    """CRC-32 of what follows the frame id in the bag, by camera topic and frame: the JPEGs are made here once more."""
    checksums = {}
    for number, camera in enumerate(contract.cameras.values()):
        frames = camera_frames(number, camera.width, camera.height)
        checksums[camera.topic] = tuple(_jpeg_checksum(encode_jpeg(frame, camera.jpeg_quality)) for frame in frames)
    return checksums


def published_sizes(contract: Contract) -> dict[str, int]:
    """Bytes of a message of each topic, as published."""
    return {topic.name: len(topic.message(0)) for topic in (*camera_topics(contract), *state_topics(contract))}


def _jpeg_checksum(data: bytes) -> int:
    message = write_compressed_image(0, "x" * (BODY_START - 17), _IMAGE_FORMAT, data)
    return zlib.crc32(message[BODY_START:])


def read_back(
    path: Path,
    sizes: Mapping[str, int],
    first: Mapping[str, int],
    end: Mapping[str, int],
    compressed: Mapping[str, tuple[int, ...]] | None,
    on_message: Callable[[int], None] = lambda count: None,
) -> ReadBack:
    """Read a file and check each message.

    Args:
        path: MCAP file.
        sizes: Bytes of a message of each topic, as published.
        first: Number of the first message of each topic that must be in the file; earlier ones may be.
        end: Number after the last published message of each topic.
        compressed: Checksums of topics whose content is not as published (:func:`jpeg_checksums`); None where nothing
            can be said of the content, since it was serialised anew and padding bytes may hold anything.
        on_message: Told how many messages were read since it was last told.
    """
    found = ReadBack()
    told = 0
    with path.open("rb") as file:
        for topic, data in _messages(file):
            name = topic.strip("/").removesuffix(_COMPRESSED)
            if name not in sizes:
                continue
            counter, checksum = counter_of(data)
            if compressed is not None:
                size = sizes[name]  # the middleware may pad the end
                if contents := compressed.get(name):
                    size = len(data)
                    checksum = contents[counter % len(contents)]
                found.damaged += zlib.crc32(data[BODY_START:size]) != checksum
            found.count(name, counter, first[name], sizes[name])
            told += 1
            if told == _TOLD_EVERY:
                on_message(told)
                told = 0
    on_message(told)
    for name in sizes:
        found.expected[name] = end[name] - min(found.begun.get(name, first[name]), first[name])
    return found


def _messages(file: BinaryIO) -> Iterator[tuple[str, memoryview]]:
    """Topic and data of each message in the order of the file, every chunk checked; the index must agree in number.

    The mcap package takes the file apart, but not the chunks: that would take longer than the recording.
    """
    summary = SeekingReader(file).get_summary()
    if summary is None or summary.statistics is None:
        raise CommandError(f"{file.name} has no summary: its recorder did not finish it")
    topics = {channel.id: channel.topic for channel in summary.channels.values()}
    count = 0
    file.seek(0)
    for chunk in StreamReader(file, emit_chunks=True).records:
        if not isinstance(chunk, Chunk):
            continue
        stream, _ = get_chunk_data_stream(chunk, validate_crc=True)
        records = memoryview(stream.read(chunk.uncompressed_size))
        position = 0
        while position < len(records):
            opcode, length = _RECORD.unpack_from(records, position)
            position += _RECORD.size
            if opcode == Opcode.MESSAGE:
                (channel,) = _CHANNEL.unpack_from(records, position)
                yield topics[channel], records[position + _MESSAGE_FIELDS_BYTES : position + length]
                count += 1
            position += length
    if count != summary.statistics.message_count:
        raise CommandError(f"{file.name} holds {count} messages, its index says {summary.statistics.message_count}")
