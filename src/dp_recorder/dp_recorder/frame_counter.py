"""Frames that a camera took and that never reached the recorder, by the camera's own counter.

The stamps of images show a gap, not whether frames are missing in it, and a publisher's counter knows only what was
published. The camera counts what it took, and says so with each frame: in dp_msgs/FrameMetadata of our own node, in
the JSON of realsense2_camera_msgs/Metadata of realsense-ros. Both are read straight from the serialized message.
"""

import json
import struct

from dp_core.frame_gaps import FrameGaps, GapSummary

from dp_recorder.serialized_message import SerializedMessageError

FRAME_METADATA_TYPE = "dp_msgs/msg/FrameMetadata"
REALSENSE_METADATA_TYPE = "realsense2_camera_msgs/msg/Metadata"
METADATA_TYPES = (FRAME_METADATA_TYPE, REALSENSE_METADATA_TYPE)
_CDR_HEADER_BYTES = 4
_STAMP_BYTES = 8
_UNSIGNED = struct.Struct("<I")
_UNSIGNED_LONG = struct.Struct("<Q")


def read_frame_number(message: bytes | memoryview, type_name: str) -> int:
    """The camera's counter in a serialized metadata message.

    Args:
        message: Serialized.
        type_name: One of ``METADATA_TYPES``.

    Raises:
        SerializedMessageError: If it is not such a message, or has no counter in it.
    """
    if len(message) < _CDR_HEADER_BYTES or message[1] != 1:
        raise SerializedMessageError("only little-endian CDR messages are read")
    body = memoryview(message)[_CDR_HEADER_BYTES:]
    try:
        (length,) = _UNSIGNED.unpack_from(body, _STAMP_BYTES)
        place = _STAMP_BYTES + _UNSIGNED.size + length  # after frame_id
        if type_name == FRAME_METADATA_TYPE:
            return int(_UNSIGNED_LONG.unpack_from(body, place + -place % 8)[0])
        place += -place % 4
        (length,) = _UNSIGNED.unpack_from(body, place)
    except struct.error as error:
        raise SerializedMessageError(f"{len(message)} bytes are too few for the metadata of a frame") from error
    return _number_of(bytes(body[place + _UNSIGNED.size : place + _UNSIGNED.size + length]))


def _number_of(text: bytes) -> int:
    """The counter in the JSON of realsense-ros: that of the camera, else that of librealsense."""
    try:
        data = json.loads(text.rstrip(b"\x00"))
        return int(data["frame_counter"] if "frame_counter" in data else data["frame_number"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise SerializedMessageError(f"no frame_counter or frame_number in {text[:60]!r}") from error


class FrameCounter:
    """Counts the frames that are missing in the metadata of one camera; constant memory, one thread."""

    def __init__(self, type_name: str) -> None:
        """Start with no frame seen.

        Args:
            type_name: Type of the messages, one of ``METADATA_TYPES``.
        """
        self._type_name = type_name
        self._gaps = FrameGaps()
        self._sequence: int | None = None
        self.unreadable = 0

    def add(self, message: bytes | memoryview, sequence: int = 0) -> int:
        """Take the metadata of the next frame.

        Args:
            message: Serialized.
            sequence: The publisher's counter of messages. What is missing in it was lost on the way, and is counted
                there; 0 or less if the middleware gives none.

        Returns:
            How many frames are missing before this one that the publisher never had.
        """
        try:
            number = read_frame_number(message, self._type_name)
        except SerializedMessageError:
            self.unreadable += 1
            return 0
        before, self._sequence = self._sequence, sequence if sequence > 0 else None
        on_the_way = max(0, sequence - before - 1) if before is not None and sequence > 0 else 0
        return max(0, self._gaps.add(number) - on_the_way)

    @property
    def summary(self) -> GapSummary:
        """What the camera's counter told, losses on the way included."""
        return self._gaps.summary
