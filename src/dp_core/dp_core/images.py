"""Image resizing and JPEG, shared by the dataset builder and the inference node so that both see the same pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def resize_image(image: Image, width: int, height: int) -> Image:
    """Resize an RGB image (H, W, 3) uint8 to (height, width, 3) by area averaging when it shrinks."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image has shape {image.shape} and type {image.dtype}, expected (H, W, 3) uint8")
    if image.shape[:2] == (height, width):
        return image
    shrinks = width <= image.shape[1] and height <= image.shape[0]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)


def encode_jpeg(image: Image, quality: int = 90) -> bytes:
    """Compress an RGB image (H, W, 3) uint8 to JPEG; quality in [1, 100]."""
    ok, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"could not compress an image of shape {image.shape} to JPEG")
    return data.tobytes()


def decode_jpeg(data: bytes | memoryview) -> Image:
    """Decompress a JPEG to RGB (H, W, 3) uint8.

    Raises:
        ValueError: the bytes are not an image.
    """
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{len(data)} bytes do not decode as an image")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def image_from_bytes(data: bytes | memoryview, width: int, height: int, encoding: str, step: int = 0) -> Image:
    """View the data of a raw sensor_msgs/Image as RGB (H, W, 3) uint8; copies only when channels are swapped.

    Args:
        data: height * step bytes.
        width: pixels.
        height: pixels.
        encoding: rgb8 or bgr8.
        step: bytes of a row; 0 means 3 * width.

    Raises:
        ValueError: unknown encoding or a size that does not fit, naming both.
    """
    if encoding not in ("rgb8", "bgr8"):
        raise ValueError(f"image encoding '{encoding}' is not supported; valid: rgb8, bgr8")
    if width < 1 or height < 1:
        raise ValueError(f"image of {width}x{height} pixels is empty")
    row = step or 3 * width
    buffer = np.frombuffer(data, dtype=np.uint8)
    if row < 3 * width or buffer.size != row * height:
        raise ValueError(f"image data has {buffer.size} bytes, expected {height} rows of {row} for {width}x{height}")
    image = buffer.reshape(height, row)[:, : 3 * width].reshape(height, width, 3)
    return image if encoding == "rgb8" else np.ascontiguousarray(image[..., ::-1])
