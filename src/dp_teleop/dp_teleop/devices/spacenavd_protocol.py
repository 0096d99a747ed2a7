"""The wire protocol of spacenavd: packing and unpacking, no I/O.

Everything is native 32-bit integers. An event is eight of them, its type first. With protocol 1 (spacenavd 1.0 of
2022 and later) a request and its answer are eight as well: type, six of data, status (negative: refused). Both
daemons begin with protocol 0; a client asks for another version by sending one integer that an old daemon takes for
a sensitivity that is not a number. Facts from spacenavd 0.5 to 1.3 and libspnav 1.2 (proto.h, proto_unix.c, spnav.c).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

PACKET = struct.Struct("=8i")
WORD = struct.Struct("=i")
SENSITIVITY = struct.Struct("=f")

# Types of events.
MOTION, PRESS, RELEASE, DEVICE_CHANGE = 0, 1, 2, 3
DEVICE_ADDED, DEVICE_REMOVED = 0, 1
# Bits of the event mask.
MASK_MOTION, MASK_BUTTON, MASK_DEVICE = 0x01, 0x02, 0x04
# Requests; the tag makes each of them a float that is not a number.
_TAG = 0x7FAA0000
CHANGE_PROTOCOL = _TAG | 0x5500
SET_SENSITIVITY, SET_EVENT_MASK = 0x1001, 0x1003
DEVICE_NAME, DEVICE_PATH, DEVICE_BUTTONS, DEVICE_TYPE = 0x2000, 0x2001, 0x2003, 0x2005
_FIRST_REQUEST = 0x1000

TEXT_CHUNK = 24  # bytes of a string in one answer
_LENGTH_BITS = 0xFFFF


@dataclass(frozen=True)
class Packet:
    """An event (``kind`` below 0x1000) or the answer to request ``kind``.

    Attributes:
        kind: type of event, or the request without its tag.
        data: (7,) integers; of an answer the last is its status.
    """

    kind: int
    data: tuple[int, ...]

    @property
    def is_answer(self) -> bool:
        """Whether this answers a request."""
        return self.kind >= _FIRST_REQUEST

    @property
    def refused(self) -> bool:
        """Whether the daemon could not do what was asked: for queries of the device, there is none."""
        return self.data[6] < 0

    @property
    def text(self) -> bytes:
        """Bytes of a string that this answer carries."""
        return struct.pack("=6i", *self.data[:6])[: min(self.remaining, TEXT_CHUNK)]

    @property
    def remaining(self) -> int:
        """Bytes of the string from this answer on, its own included."""
        return self.data[6] & _LENGTH_BITS


def protocol_request(version: int) -> bytes:
    """Four bytes that ask for protocol ``version`` (0 to 255)."""
    return WORD.pack(CHANGE_PROTOCOL | version)


def protocol_answer(word: int) -> int | None:
    """The version that the daemon agrees to, or None when ``word`` is no answer to :func:`protocol_request`."""
    return word & 0xFF if word & ~0xFF == CHANGE_PROTOCOL else None


def pack_request(kind: int, *data: int) -> bytes:
    """A request of protocol 1 with up to seven integers of data."""
    return PACKET.pack(_TAG | kind, *data, *([0] * (7 - len(data))))


def unpack(packet: bytes) -> Packet:
    """32 bytes to an event or an answer."""
    kind, *data = PACKET.unpack(packet)
    return Packet(kind & 0xFFFF if kind >= _FIRST_REQUEST else kind, tuple(data))


def float_bits(value: float) -> int:
    """A 32-bit float as the integer with the same bits."""
    return int(WORD.unpack(SENSITIVITY.pack(value))[0])
