"""The records of one MCAP chunk while it is being filled: pieces that are copied only when it is written."""

from __future__ import annotations

import zlib
from array import array
from collections import Counter
from dataclasses import dataclass, field

import zstandard

Piece = bytes | bytearray | memoryview
_SMALL_BYTES = 32 * 1024
_ZSTD_LEVEL = 1


@dataclass
class OpenChunk:
    """Records of the chunk being filled.

    Large messages are kept by reference, small ones gathered in ``small`` until a large one comes.
    """

    pieces: list[Piece] = field(default_factory=list)
    small: bytearray = field(default_factory=bytearray)
    size: int = 0
    checksum: int = 0
    start_ns: int = 0
    end_ns: int = 0
    index: dict[int, array[int]] = field(default_factory=dict)

    def counts(self) -> Counter[int]:
        """Messages by channel."""
        return Counter({channel: len(index) // 2 for channel, index in self.index.items()})

    def compressed(self) -> list[Piece]:
        """The records as one zstd frame, in pieces; the chunk must be sealed. May run on any thread."""
        stream = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compressobj(size=self.size)
        pieces: list[Piece] = [stream.compress(piece) for piece in self.pieces]
        return [piece for piece in (*pieces, stream.flush()) if piece]

    def add(self, data: Piece) -> None:
        """Append bytes."""
        self.size += len(data)
        if len(data) < _SMALL_BYTES:
            self.small += data
            return
        self.seal()
        self._add_piece(data)

    def seal(self) -> None:
        """Make a piece of the small records gathered so far."""
        if self.small:
            self._add_piece(self.small)
            self.small = bytearray()

    def _add_piece(self, piece: Piece) -> None:
        self.checksum = zlib.crc32(piece, self.checksum)
        self.pieces.append(piece)
