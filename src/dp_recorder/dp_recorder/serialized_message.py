"""Reading and writing the few fields the recorder needs, straight from serialized (CDR) messages.

A recorder that decodes every message cannot keep up on two cores. All streams it takes start with a
``std_msgs/Header``, whose stamp lies in the first eight bytes after the four-byte CDR header.
Source: OMG DDS-XTypes 1.3, plain CDR version 1, as every ROS 2 middleware sends it.
"""

import struct
from dataclasses import dataclass

_STAMP = {0: struct.Struct(">iI"), 1: struct.Struct("<iI")}
_CDR_HEADER_BYTES = 4
_LITTLE_ENDIAN_HEADER = b"\x00\x01\x00\x00"
NANOSECONDS = 1_000_000_000


class SerializedMessageError(ValueError):
    """Bytes that are not the message they are said to be."""


@dataclass(frozen=True)
class SerializedImage:
    """View into a serialized ``sensor_msgs/Image``; nothing is copied.

    Attributes:
        stamp_ns: Acquisition stamp, ns.
        frame_id: Optical frame.
        height: Rows.
        width: Columns.
        encoding: Pixel layout, for example ``rgb8``.
        step: Bytes per row.
        data: ``(height * step,) uint8`` pixels.
    """

    stamp_ns: int
    frame_id: str
    height: int
    width: int
    encoding: str
    step: int
    data: memoryview


def read_stamp_ns(message: bytes) -> int:
    """Header stamp of a serialized message that starts with a ``std_msgs/Header``, in ns.

    Raises:
        SerializedMessageError: If the message is shorter than a header.
    """
    try:
        seconds, nanoseconds = _STAMP[message[1] & 1].unpack_from(message, _CDR_HEADER_BYTES)
    except (IndexError, struct.error) as error:
        raise SerializedMessageError(f"{len(message)} bytes are too few for a header stamp") from error
    return int(seconds) * NANOSECONDS + int(nanoseconds)


class _Cursor:
    """Reads little-endian CDR fields in order, with their alignment."""

    def __init__(self, message: bytes) -> None:
        if len(message) < _CDR_HEADER_BYTES or message[1] != 1:
            raise SerializedMessageError("only little-endian CDR messages are read")
        self._body = memoryview(message)[_CDR_HEADER_BYTES:]
        self._position = 0

    def unsigned(self) -> int:
        self._position = (self._position + 3) & ~3
        try:
            (value,) = struct.unpack_from("<I", self._body, self._position)
        except struct.error as error:
            raise SerializedMessageError("the message ends inside a number") from error
        self._position += 4
        return int(value)

    def byte(self) -> int:
        if self._position >= len(self._body):
            raise SerializedMessageError("the message ends before a byte")
        self._position += 1
        return self._body[self._position - 1]

    def octets(self) -> memoryview:
        length = self.unsigned()
        taken = self._body[self._position : self._position + length]
        if len(taken) != length:
            raise SerializedMessageError(f"the message ends inside {length} bytes of data")
        self._position += length
        return taken

    def text(self) -> str:
        return bytes(self.octets()).rstrip(b"\x00").decode("utf-8")


def read_image(message: bytes) -> SerializedImage:
    """Read a serialized ``sensor_msgs/Image`` without copying its pixels.

    Raises:
        SerializedMessageError: If the bytes are not such a message.
    """
    cursor = _Cursor(message)
    stamp_ns = cursor.unsigned() * NANOSECONDS + cursor.unsigned()
    frame_id = cursor.text()
    height, width, encoding = cursor.unsigned(), cursor.unsigned(), cursor.text()
    cursor.byte()  # is_bigendian: has no meaning for 8-bit pixels
    step = cursor.unsigned()
    data = cursor.octets()
    if len(data) != height * step:
        raise SerializedMessageError(f"an image of {height} rows of {step} bytes carries {len(data)} bytes")
    return SerializedImage(stamp_ns, frame_id, height, width, encoding, step, data)


def write_compressed_image(stamp_ns: int, frame_id: str, image_format: str, data: bytes) -> bytes:
    """Serialize a ``sensor_msgs/CompressedImage``.

    Args:
        stamp_ns: Acquisition stamp, ns.
        frame_id: Optical frame.
        image_format: As image_transport writes it, for example ``rgb8; jpeg compressed bgr8``.
        data: The compressed file.
    """
    parts = bytearray(_LITTLE_ENDIAN_HEADER)
    parts += struct.pack("<iI", *divmod(stamp_ns, NANOSECONDS))
    for octets in (frame_id.encode() + b"\x00", image_format.encode() + b"\x00", data):
        parts += b"\x00" * (-len(parts) % 4)
        parts += struct.pack("<I", len(octets))
        parts += octets
    return bytes(parts)
