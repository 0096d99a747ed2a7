"""The records of an MCAP file in their order, of a damaged one too, one chunk in memory at a time.

Source: the MCAP specification, version 0 (https://mcap.dev/spec). A recorder that was killed leaves a file that ends
anywhere; a failing disk leaves holes. What is intact is found all the same: chunks carry a checksum, and after a hole
the next chunk is looked for by its header, whose two lengths must agree.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from dp_dataset.mcap_chunks import (
    CHANNEL,
    CHUNK,
    DATA_END,
    LARGEST_CHUNK_BYTES,
    LONGEST_CHUNK_HEADER,
    MESSAGE,
    MESSAGE_INDEX,
    METADATA,
    RECORD_HEADER,
    SCHEMA,
    SHORTEST_MESSAGE,
    Record,
    claimed_span,
    decompress,
    find_chunk,
    is_chunk,
    is_opcode,
    only,
    parse_chunk_header,
    records_of,
    salvage,
    written_size,
)

MAGIC = b"\x89MCAP0\r\n"


class McapDamage(ValueError):  # noqa: N818 (it is also passed on as news)
    """A part of a file that cannot be read.

    Attributes:
        offset: Where in the file it begins, bytes.
        size: How much of the file it takes, bytes.
        start_ns: Log time of the first message lost, ns; None where the file does not say.
        end_ns: Log time of the last message lost, ns; None where the file does not say.
        messages: Messages lost; None where unknown.
        at_end: Whether nothing follows: the file was cut off.
    """

    def __init__(
        self, what: str, offset: int, size: int, span_ns: tuple[int, int] | None = None, at_end: bool = False
    ) -> None:
        super().__init__(what)
        self.offset = offset
        self.size = size
        self.start_ns = span_ns[0] if span_ns else None
        self.end_ns = span_ns[1] if span_ns else None
        self.messages: int | None = None
        self.at_end = at_end


_READ = (SCHEMA, CHANNEL, MESSAGE, METADATA)
#: Outside of chunks lie attachments at most; a longer record is taken for a wrong length.
_LARGEST_OTHER_BYTES = 2**30

OnDamage = Callable[[McapDamage], None]


class McapRecords:
    """Iterates over a file: records outside of chunks, and those within, flattened, up to the end of the data.

    Args:
        path: The file.
        on_damage: Told of each part that cannot be read, which is then left out; None raises it instead.
        wanted: Asked with first and last log time (ns) whether a chunk matters; others are skipped unread.
        on_progress: Told how many bytes of the file were passed, each time some were.

    Attributes:
        complete: Whether the end of the data was found there, as a writer that was not killed puts it.
    """

    def __init__(
        self,
        path: Path,
        on_damage: OnDamage | None = None,
        wanted: Callable[[int, int], bool] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> None:
        self._path = path
        self._on_damage = on_damage
        self._wanted = wanted
        self._on_progress = on_progress
        self._bad: McapDamage | None = None
        self.complete = False

    def __iter__(self) -> Iterator[Record]:
        """Records in the order of the file.

        Raises:
            McapDamage: At the first part that cannot be read, unless damage is listened to.
            OSError: If the file cannot be opened.
        """
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            passed = 0
            for position, record in self._top_level(file, written_size(file, size)):
                if record is not None:
                    yield from record
                if self._on_progress is not None and position > passed:
                    self._on_progress(position - passed)
                    passed = position
            self._tell_pending()
            if self._on_progress is not None and size > passed:
                self._on_progress(size - passed)

    def _top_level(self, file: BinaryIO, size: int) -> Iterator[tuple[int, Iterator[Record] | None]]:
        """After each record: how far the file is read, and what to yield for it."""
        file.seek(0)
        if file.read(len(MAGIC)) != MAGIC:
            self._tell(McapDamage("it does not begin as an MCAP file does", 0, min(size, len(MAGIC)), at_end=size < 8))
        position = min(len(MAGIC), size)
        while position < size:
            file.seek(position)
            head = file.read(RECORD_HEADER.size)
            opcode, length = RECORD_HEADER.unpack(head) if len(head) == RECORD_HEADER.size else (0, size)
            end = position + RECORD_HEADER.size + length
            if end > size or not _is_plausible(file, opcode, length):
                following = find_chunk(file, position + 1, size)
                yield position, self._damaged_part(file, position, following, size, opcode)
                position = size if following is None else following
                continue
            if opcode == DATA_END:
                self.complete = True
                return
            yield end, self._record(file, opcode, position, length)
            position = end

    def _record(self, file: BinaryIO, opcode: int, position: int, length: int) -> Iterator[Record]:
        if opcode != MESSAGE_INDEX:
            self._tell_pending()
        if opcode == CHUNK:
            if self._wanted is not None:
                start, end = struct.unpack("<QQ", file.read(16).ljust(16, b"\x00"))
                if not self._wanted(start, end):
                    return
                file.seek(position + RECORD_HEADER.size)
            yield from self._chunk(memoryview(file.read(length)), position)
        elif opcode == MESSAGE_INDEX:
            if self._bad is not None:
                # What a lost chunk held is known from the index behind it: 16 bytes for each message.
                self._bad.messages = (self._bad.messages or 0) + max(0, length - 6) // 16
        elif opcode in _READ:
            yield Record(opcode, position, memoryview(file.read(length)))

    def _chunk(self, body: memoryview, position: int) -> Iterator[Record]:
        size = RECORD_HEADER.size + len(body)
        try:
            header = parse_chunk_header(body)
        except ValueError as error:
            self._postpone(McapDamage(f"a chunk is damaged: {error}", position, size))
            return
        span = header.start_ns, header.end_ns
        data = body[header.data_offset : header.data_offset + header.data_size]
        try:
            records = decompress(data, header)
            whole = header.crc == 0 or zlib.crc32(records) == header.crc
            if not whole:
                self._postpone(McapDamage("a chunk does not match its checksum", position, size, span))
                # Types and topics must be known for what follows; a wrong bit in them shows at once.
                yield from only(records_of(records, position, lenient=True), (SCHEMA, CHANNEL))
                return
            yield from records_of(records, position, lenient=False)
        except McapDamage:
            raise
        except (ValueError, struct.error, zstandard.ZstdError, RuntimeError) as error:
            self._postpone(McapDamage(f"a chunk cannot be unpacked: {error}", position, size, span))

    def _damaged_part(
        self, file: BinaryIO, position: int, following: int | None, size: int, opcode: int
    ) -> Iterator[Record]:
        self._tell_pending()
        if following is not None:
            what = f"{following - position} bytes are no records"
            self._tell(McapDamage(what, position, following - position))
            return
        rest = memoryview(b"")
        if opcode == CHUNK:
            file.seek(position + RECORD_HEADER.size)
            # Nothing is left where the file was cut inside the record's length, and zeros follow.
            left = max(0, size - position - RECORD_HEADER.size)
            rest = memoryview(file.read(min(left, LARGEST_CHUNK_BYTES)))
        yield from salvage(rest, position)
        what = "the file ends inside a chunk" if opcode == CHUNK else "the file ends inside a record"
        self._tell(McapDamage(what, position, size - position, claimed_span(rest), at_end=True))

    def _postpone(self, damage: McapDamage) -> None:
        """Damage is told once the index behind the chunk has said how much was in it."""
        if self._on_damage is None:
            raise damage
        self._tell_pending()
        self._bad = damage

    def _tell_pending(self) -> None:
        damage, self._bad = self._bad, None
        if damage is not None:
            self._tell(damage)

    def _tell(self, damage: McapDamage) -> None:
        if self._on_damage is None:
            raise damage
        self._on_damage(damage)


def _is_plausible(file: BinaryIO, opcode: int, length: int) -> bool:
    """Whether a record may be what it says, before its length is believed; the file stands at its content."""
    if opcode != CHUNK:
        shortest = SHORTEST_MESSAGE if opcode == MESSAGE else 0
        return is_opcode(opcode) and shortest <= length <= _LARGEST_OTHER_BYTES
    start = file.tell()
    head = file.read(LONGEST_CHUNK_HEADER)
    file.seek(start)
    return is_chunk(head, length)
