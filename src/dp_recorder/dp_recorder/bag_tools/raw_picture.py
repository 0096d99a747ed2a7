"""A recorded JPEG as the raw picture that it was made of, serialized."""

import struct

import cv2
import numpy as np
from dp_dataset.bag_reader import RawMessage

from dp_recorder.bag_tools.image_health import compressed_data

_LITTLE_ENDIAN_HEADER = b"\x00\x01\x00\x00"


def raw_image_message(entry: RawMessage) -> bytes:
    """Serialized ``sensor_msgs/Image`` (rgb8) of a serialized ``sensor_msgs/CompressedImage``; the header is kept.

    Raises:
        ValueError: If the picture cannot be decoded.
    """
    found = cv2.imdecode(np.frombuffer(compressed_data(entry.data), np.uint8), cv2.IMREAD_COLOR)
    if found is None:
        raise ValueError(f"{entry.topic}: a compressed picture cannot be decoded")
    pixels = cv2.cvtColor(found, cv2.COLOR_BGR2RGB)
    height, width = pixels.shape[:2]
    (frame_size,) = struct.unpack_from("<I", entry.data, 12)
    # Stamp and frame lie in both messages in the same way.
    parts = bytearray(_LITTLE_ENDIAN_HEADER)
    parts += entry.data[4 : 16 + frame_size]
    _align(parts)
    parts += struct.pack("<II", height, width)
    parts += struct.pack("<I", 5) + b"rgb8\x00" + b"\x00"
    _align(parts)
    parts += struct.pack("<II", 3 * width, pixels.size)
    parts += pixels.tobytes()
    return bytes(parts)


def _align(parts: bytearray) -> None:
    # The four bytes of the encapsulation do not count, and are four.
    parts += b"\x00" * (-len(parts) % 4)
