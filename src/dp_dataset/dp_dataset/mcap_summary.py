"""Whether the summary at the end of an MCAP file is what its writer put there.

The reader of the ``mcap`` package believes it unseen: a wrong bit in it would rename topics and falsify types and
counts of an intact recording, or claim lengths beyond all memory.
Source: the MCAP specification, version 0 (https://mcap.dev/spec).
"""

import struct
import zlib
from typing import BinaryIO

from dp_dataset.mcap_records import MAGIC

_FOOTER = struct.Struct("<BQQQI")
_FOOTER_OPCODE, _FOOTER_BYTES, _CHECKSUM_BYTES = 2, 20, 4
_BLOCK_BYTES = 2**20


def is_summary_intact(file: BinaryIO, size: int) -> bool:
    """Check footer and checksum; a file without a summary has none that is intact.

    Args:
        file: The file.
        size: Its size, bytes.
    """
    end = size - len(MAGIC) - _FOOTER.size
    if end < len(MAGIC):
        return False
    file.seek(end)
    tail = file.read(_FOOTER.size + len(MAGIC))
    opcode, length, start, _, checksum = _FOOTER.unpack_from(tail)
    if tail[_FOOTER.size :] != MAGIC or (opcode, length) != (_FOOTER_OPCODE, _FOOTER_BYTES):
        return False
    if not len(MAGIC) <= start <= end:
        return False
    if checksum == 0:  # by the specification: none was computed
        return True
    file.seek(start)
    left, computed = end + _FOOTER.size - _CHECKSUM_BYTES - start, 0
    while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
        computed = zlib.crc32(block, computed)
        left -= len(block)
    return computed == checksum
