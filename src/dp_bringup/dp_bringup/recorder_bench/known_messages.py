"""Messages whose content is known beforehand: made once, published with a counter, checked when read back.

A message is a fixed start, its stamp, and a frame id that holds its counter and the checksum of all that follows; what
follows goes round a few contents that differ from each other. So a publisher only joins bytes, and a reader can tell
for each message which it is and whether it is whole.
"""

from __future__ import annotations

import struct
import time
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

JPEG_QUALITY = 90
NOISE_LEVELS = 4.0
_FRAMES = 8
_STATES = 64
_FRAME_ID_CHARACTERS = 19
_START_BYTES = 16
BODY_START = _START_BYTES + _FRAME_ID_CHARACTERS + 1
_STAMP = struct.Struct("<iI")
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class KnownTopic:
    """A topic of the bench.

    Attributes:
        name: Relative, as the contract gives it.
        type_name: Message type.
        rate_hz: Rate.
        bodies: Serialized content after the header, gone round by the counter.
    """

    name: str
    type_name: str
    rate_hz: float
    bodies: tuple[bytes, ...]

    @cached_property
    def checksums(self) -> tuple[int, ...]:
        """CRC-32 of the bodies."""
        return tuple(zlib.crc32(body) for body in self.bodies)

    def message(self, counter: int) -> bytes:
        """The message of this number, stamped now."""
        which = counter % len(self.bodies)
        stamp = _STAMP.pack(*divmod(time.time_ns(), _NANOSECONDS))
        text = b"%010d.%08x\x00" % (counter, self.checksums[which])
        length = (_FRAME_ID_CHARACTERS + 1).to_bytes(4, "little")
        return b"".join((b"\x00\x01\x00\x00", stamp, length, text, self.bodies[which]))


def counter_of(message: bytes | memoryview) -> tuple[int, int]:
    """Counter and checksum that a message of the bench carries.

    Raises:
        ValueError: It carries none.
    """
    text = bytes(message[_START_BYTES : _START_BYTES + _FRAME_ID_CHARACTERS])
    return int(text[:10]), int(text[11:], 16)


def camera_topics(contract: Contract) -> list[KnownTopic]:
    """The cameras of a contract, each with frames of its own."""
    topics = []
    for number, camera in enumerate(contract.cameras.values()):
        bodies = tuple(_image_body(frame) for frame in _frames(number, camera.width, camera.height))
        topics.append(KnownTopic(camera.topic, "sensor_msgs/msg/Image", camera.rate_hz, bodies))
    return topics


def state_topics(contract: Contract) -> list[KnownTopic]:
    """The robot's streams of a contract."""
    from dp_recorder.ros_types import message_class

    topics = []
    for stream in contract.streams.values():
        joints = list(stream.joint_names or ())
        bodies = tuple(_state_body(message_class(stream.type), joints, number) for number in range(_STATES))
        topics.append(KnownTopic(stream.topic, stream.type, stream.rate_hz, bodies))
    return topics


def camera_frames(number: int, width: int, height: int) -> list[NDArray[np.uint8]]:
    """The frames that a camera of the bench goes round, (H, W, 3) uint8 RGB."""
    return list(_frames(number, width, height))


def _frames(number: int, width: int, height: int) -> Iterator[NDArray[np.uint8]]:
    """Table-like scenes: a gradient, coloured shapes that move from frame to frame, and noise as of a sensor."""
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    ground = np.stack([90 + 80 * columns / width, 110 + 60 * rows / height, 140 - 50 * columns / width], axis=-1)
    shapes = rng.uniform(0.0, 1.0, (40, 4))
    colours = rng.uniform(20, 235, (40, 3))
    for frame in range(_FRAMES):
        image = ground.copy()
        for (x, y, size, turn), colour in zip(shapes, colours, strict=True):
            centre = (int((x + 0.01 * frame) * width), int((y + 0.005 * frame) * height))
            axes = (int(4 + 0.08 * size * width), int(4 + 0.05 * size * width))
            cv2.ellipse(image, centre, axes, 180 * turn, 0, 360, tuple(map(float, colour)), -1, cv2.LINE_AA)
        noisy = image + rng.normal(0.0, NOISE_LEVELS, image.shape)
        yield np.clip(noisy, 0, 255).astype(np.uint8)


def _image_body(pixels: NDArray[np.uint8]) -> bytes:
    from sensor_msgs.msg import Image

    height, width, _ = pixels.shape
    data = array("B", pixels.tobytes())
    return _body(Image(height=height, width=width, encoding="rgb8", step=3 * width, data=data))


def _state_body(kind: Any, joints: list[str], number: int) -> bytes:
    message = kind()
    if hasattr(message, "position"):
        values = [0.01 * number + 0.1 * joint for joint in range(len(joints))]
        message.name, message.position, message.velocity, message.effort = joints, values, values, values
    elif hasattr(message, "pose"):
        message.pose.position.x = 0.3 + 0.001 * number
        message.pose.orientation.w = 1.0
    return _body(message)


def _body(message: Any) -> bytes:
    from rclpy.serialization import serialize_message

    message.header.frame_id = "x" * _FRAME_ID_CHARACTERS
    return bytes(serialize_message(message)[BODY_START:])
