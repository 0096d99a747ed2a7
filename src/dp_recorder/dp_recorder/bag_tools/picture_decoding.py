"""Pictures for people out of recorded messages: any common encoding, JPEG and PNG too, as RGB of a given height."""

import cv2
import numpy as np
from dp_dataset.bag_reader import RawMessage
from numpy.typing import NDArray

from dp_recorder.bag_tools.image_health import compressed_data
from dp_recorder.recorded_streams import COMPRESSED_IMAGE_TYPE
from dp_recorder.serialized_message import SerializedImage, SerializedMessageError, read_image

Picture = NDArray[np.uint8]
_CHANNELS = {"mono8": 1, "8UC1": 1, "rgb8": 3, "bgr8": 3, "8UC3": 3, "rgba8": 4, "bgra8": 4, "8UC4": 4}
_DEPTHS = ("16UC1", "mono16")
#: Distance shown as white, in the millimetres of a depth picture.
_FARTHEST_MM = 2000.0


def decode_picture(entry: RawMessage, height: int) -> Picture:
    """Decode a recorded picture.

    Args:
        entry: A ``sensor_msgs/Image`` or ``sensor_msgs/CompressedImage``.
        height: Rows wanted; the picture keeps its proportions.

    Returns:
        ``(height, W, 3) uint8`` RGB.

    Raises:
        ValueError: If it cannot be decoded; names the encoding and those that can.
    """
    if entry.type_name == COMPRESSED_IMAGE_TYPE:
        found = cv2.imdecode(np.frombuffer(compressed_data(entry.data), np.uint8), cv2.IMREAD_COLOR)
        if found is None:
            raise ValueError(f"{entry.topic}: a compressed picture cannot be decoded")
        picture: NDArray[np.uint8] = np.asarray(found[..., ::-1], np.uint8)
    else:
        try:
            picture = _decode_raw(read_image(entry.data), entry.topic)  # type: ignore[arg-type]  # reads as bytes do
        except SerializedMessageError as error:
            raise ValueError(f"{entry.topic}: {error}") from error
    width = max(2, round(picture.shape[1] * height / picture.shape[0]))
    how = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def _decode_raw(image: SerializedImage, topic: str) -> Picture:
    if image.height == 0 or image.width == 0:
        raise ValueError(f"{topic}: a picture is empty")
    rows = np.frombuffer(image.data, np.uint8).reshape(image.height, image.step)
    if image.encoding in _DEPTHS:
        depth = np.ascontiguousarray(rows[:, : 2 * image.width]).view(np.uint16)
        level = np.clip(depth * (255.0 / _FARTHEST_MM), 0, 255).astype(np.uint8)
        return np.asarray(cv2.cvtColor(level, cv2.COLOR_GRAY2RGB), np.uint8)
    channels = _CHANNELS.get(image.encoding)
    if channels is None:
        known = ", ".join((*_CHANNELS, *_DEPTHS))
        raise ValueError(f"{topic}: no picture can be made of encoding '{image.encoding}'; valid: {known}")
    pixels = rows[:, : image.width * channels].reshape(image.height, image.width, channels)
    if channels == 1:
        return np.asarray(np.repeat(pixels, 3, axis=2), np.uint8)
    swapped = image.encoding.startswith(("bgr", "8UC"))
    return np.ascontiguousarray(pixels[..., 2::-1] if swapped else pixels[..., :3])
