"""Serialized sensor_msgs/Image and CompressedImage, made without a message object.

rclpy copies a picture into the message's array, from there into the C message, from there into the serialized one. Here
the fields before the pixels are laid out once; each frame is one copy, from the camera's buffer into the bytes that
rclpy hands to the middleware. Source: OMG DDS-XTypes 1.3, plain CDR version 1, little endian.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

_HEADER = b"\x00\x01\x00\x00"
_STAMP = struct.Struct("<iI")
_STAMP_AT = len(_HEADER)
_UNSIGNED = struct.Struct("<I")


def _text(body: bytearray, text: str) -> None:
    _align(body)
    octets = text.encode() + b"\x00"
    body += _UNSIGNED.pack(len(octets)) + octets


def _align(body: bytearray) -> None:
    """To four bytes, counted from the end of the CDR header."""
    body += b"\x00" * (-(len(body) - len(_HEADER)) % 4)


def _stamped(body: bytearray, stamp_ns: int) -> bytearray:
    _STAMP.pack_into(body, _STAMP_AT, *divmod(stamp_ns, 1_000_000_000))
    return body


class SerializedImage:
    """Makes serialized images of one size; one thread.

    Args:
        frame_id: optical frame.
        width: pixels.
        height: pixels.
        encoding: of sensor_msgs, for example rgb8 or 16UC1.
        pixel_bytes: bytes per pixel.
    """

    def __init__(self, frame_id: str, width: int, height: int, encoding: str, pixel_bytes: int) -> None:
        step = width * pixel_bytes
        self._size = height * step
        body = bytearray(_HEADER + bytes(_STAMP.size))
        _text(body, frame_id)
        _align(body)
        body += _UNSIGNED.pack(height) + _UNSIGNED.pack(width)
        _text(body, encoding)
        body += b"\x00"  # is_bigendian
        _align(body)
        self._before = body + _UNSIGNED.pack(step) + _UNSIGNED.pack(self._size)

    def serialize(self, pixels: NDArray[np.generic], stamp_ns: int) -> bytes:
        """The message of a frame.

        Args:
            pixels: `(height, width, ...)`, contiguous.
            stamp_ns: acquisition, ROS clock, ns.

        Raises:
            ValueError: not of the size of this camera, or not contiguous.
        """
        if pixels.nbytes != self._size:
            raise ValueError(f"a frame of {pixels.nbytes} bytes, wanted {self._size}")
        if not pixels.flags.c_contiguous:
            raise ValueError("the rows of the frame do not follow each other in memory")
        return b"".join((_stamped(self._before, stamp_ns), pixels.data))


class SerializedCompressedImage:
    """Makes serialized JPEG images; arguments as :class:`SerializedImage`."""

    def __init__(self, frame_id: str, encoding: str) -> None:
        self._before = bytearray(_HEADER + bytes(_STAMP.size))
        _text(self._before, frame_id)
        _text(self._before, f"{encoding}; jpeg compressed bgr8")
        _align(self._before)

    def serialize(self, jpeg: bytes, stamp_ns: int) -> bytes:
        """The message of a JPEG file."""
        return b"".join((_stamped(self._before, stamp_ns), _UNSIGNED.pack(len(jpeg)), jpeg))
