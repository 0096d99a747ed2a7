"""Dead pictures: black, over-exposed or frozen ones, and such that cannot be decoded.

Every picture is compared with the one before it by a checksum. Its brightness is judged from every eighth pixel; of
compressed pictures only one every 0.1 s is decoded, at an eighth of its size, but of every JPEG the end is looked for.
"""

import zlib

import cv2
import numpy as np
from dp_dataset.bag_reader import RawMessage
from numpy.typing import NDArray

from dp_recorder.bag_tools.finding import FAILURE, WARNING, BagFinding, Spell
from dp_recorder.bag_tools.motion_record import MotionRecord
from dp_recorder.recorded_streams import COMPRESSED_IMAGE_TYPE, IMAGE_TYPE
from dp_recorder.serialized_message import SerializedMessageError, read_image

IMAGE_TYPES = (IMAGE_TYPE, COMPRESSED_IMAGE_TYPE)
#: Mean level (0 to 255) below which a picture is black, and share of white pixels from which it is over-exposed.
BLACK_LEVEL, WHITE_LEVEL, WHITE_SHARE = 4.0, 250, 0.6
#: For this long a picture may stay the same (or dead) before it is complained of, s; and motion that must show.
FROZEN_S, DEAD_S, VISIBLE_MOTION_M = 0.5, 0.3, 0.01
#: Pictures of a simulator have no noise: those of a wrist camera over an even floor stay the same while it moves.
FROZEN_SIMULATED_S = 2.0
_FROZEN_PICTURES = 3
_STEP = 8
#: Compressed pictures are decoded so often at most, ns.
_DECODE_NS = 100_000_000
#: Cameras fill the rest of a buffer behind the end with zeros.
_PADDING_BYTES = 4096
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class ImageHealth:
    """Judges the pictures of one camera in their order; constant memory."""

    def __init__(self, topic: str, simulated: bool = False, severe: str = FAILURE) -> None:
        """Start with none.

        Args:
            topic: Full name.
            simulated: Whether a simulator drew them.
            severe: Level of what makes pictures worthless: of a mask, which may well be dark, only a warning.
        """
        self.topic = topic
        self._frozen_ns = 1e9 * (FROZEN_SIMULATED_S if simulated else FROZEN_S)
        self._severe = severe
        self.pictures = 0
        self._checksum: int | None = None
        self._same_since_ns = 0
        self._run_length = 0
        self._next_decoding_ns = 0
        self._repeated = 0
        self._frozen: list[tuple[int, int]] = []
        self._black, self._white, self._broken = Spell(), Spell(), Spell()

    def add(self, entry: RawMessage) -> None:
        """Judge one picture."""
        self.pictures += 1
        t_ns = entry.log_time_ns
        try:
            pixels, content = self._sample(entry)
        except (SerializedMessageError, ValueError, cv2.error):
            self._broken.update(t_ns, True)
            return
        self._broken.update(t_ns, False)
        checksum = zlib.crc32(content)
        if checksum == self._checksum:
            self._repeated += 1
            self._run_length += 1
        else:
            self._end_run(t_ns)
            self._checksum, self._same_since_ns, self._run_length = checksum, t_ns, 1
        if pixels is not None:
            self._black.update(t_ns, float(pixels.mean()) < BLACK_LEVEL)
            self._white.update(t_ns, float((pixels >= WHITE_LEVEL).mean()) > WHITE_SHARE)
        self._last_ns = t_ns

    def _sample(self, entry: RawMessage) -> tuple[NDArray[np.uint8] | None, memoryview]:
        """Some levels of a picture, if it is time for that, and the bytes by which it is told from another."""
        if entry.type_name != COMPRESSED_IMAGE_TYPE:
            return _sample_raw(entry)
        data = compressed_data(entry.data)
        if data[:2] == _JPEG_BEGIN and _JPEG_END not in bytes(data[-_PADDING_BYTES:]):
            # OpenCV would decode it all the same, with grey where the rest should be.
            raise ValueError("a JPEG without an end")
        if entry.log_time_ns < self._next_decoding_ns:
            return None, data
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_COLOR_8)
        if pixels is None:
            raise ValueError("no picture")
        self._next_decoding_ns = entry.log_time_ns + _DECODE_NS
        return np.asarray(pixels, np.uint8), data

    def _end_run(self, t_ns: int) -> None:
        # One picture before a pause, or of a slow camera, is not frozen.
        lasted = self._run_length >= _FROZEN_PICTURES and t_ns - self._same_since_ns > self._frozen_ns
        if self._checksum is not None and lasted:
            # The longest few tell enough, and a camera that stands still for hours keeps its memory.
            self._frozen = sorted([*self._frozen, (self._same_since_ns, t_ns)], key=lambda run: run[0] - run[1])[:100]

    def findings(self, start_ns: int, motion: MotionRecord) -> list[BagFinding]:
        """What is wrong, in a bag that starts at a log time (ns), with what is known of the arm's motion."""
        if self._checksum is not None:
            self._end_run(self._last_ns)
        found = []
        for name, seen in (("black", self._black), ("over-exposed", self._white)):
            if seen.longest_ns > DEAD_S * 1e9:
                what = f"{name} for {seen.longest_ns / 1e9:.2f} s"
                found.append(self._finding(self._severe, what, seen.longest_at_ns, start_ns))
        if self._broken.times:
            what = "pictures cannot be decoded"
            found.append(self._finding(self._severe, what, self._broken.first_ns, start_ns))
        for begin, end in self._frozen:
            moved_m = motion.distance_m(begin, end)
            what = f"the same picture for {(end - begin) / 1e9:.2f} s"
            if moved_m is not None and moved_m > VISIBLE_MOTION_M:
                what = f"frozen: {what} while the arm moved by {moved_m:.3f} m"
                found.append(self._finding(self._severe, what, begin, start_ns))
                break
            if moved_m is None:
                found.append(self._finding(WARNING, what, begin, start_ns))
                break
        return found

    def _finding(self, level: str, what: str, at_ns: int, start_ns: int) -> BagFinding:
        return BagFinding(level, self.topic, what, (at_ns - start_ns) / 1e9)

    @property
    def repeated(self) -> int:
        """Pictures equal to the one before."""
        return self._repeated


def _sample_raw(entry: RawMessage) -> tuple[NDArray[np.uint8], memoryview]:
    image = read_image(entry.data)  # type: ignore[arg-type]  # a view reads as bytes do
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    if not rows.size:
        raise ValueError("an empty picture")
    channels = max(1, image.step // max(1, image.width))
    pixels = rows[::_STEP, : image.width * channels].reshape(-1, image.width, channels)[:, ::_STEP]
    return pixels, image.data


def compressed_data(message: memoryview) -> memoryview:
    """The file in a serialized ``sensor_msgs/CompressedImage``.

    Raises:
        ValueError: If the message is shorter than it says.
    """
    position = 12
    for _ in range(3):
        position = (position - 4 + 3 & ~3) + 4
        length = int.from_bytes(message[position : position + 4], "little")
        position += 4 + length
    if not 0 < length == len(message[position - length : position]):
        raise ValueError("the message ends inside its picture")
    return message[position - length : position]
