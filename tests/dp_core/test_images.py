"""Image conversions on patterns whose result is known."""

import numpy as np
import pytest
from dp_core.images import decode_jpeg, encode_jpeg, image_from_bytes, resize_image


def test_area_resize_averages():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 2:] = 200
    image[0, 0] = 100
    small = resize_image(image, 2, 2)
    assert small[0, 0].tolist() == [25, 25, 25] and small[1, 1].tolist() == [200, 200, 200]


def test_jpeg_keeps_channel_order():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 220
    back = decode_jpeg(encode_jpeg(image, 95))
    assert back[16, 16, 0] > 200 and back[16, 16, 2] < 20
    with pytest.raises(ValueError, match="do not decode"):
        decode_jpeg(b"not an image")


def test_bgr_and_row_padding():
    data = bytes([1, 2, 3, 99, 4, 5, 6, 99])
    assert image_from_bytes(data, 1, 2, "bgr8", step=4).tolist() == [[[3, 2, 1]], [[6, 5, 4]]]
    with pytest.raises(ValueError, match="'mono8' is not supported; valid: rgb8, bgr8"):
        image_from_bytes(data, 1, 2, "mono8")
    with pytest.raises(ValueError, match="expected 2 rows of 9"):
        image_from_bytes(data, 3, 2, "rgb8")


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="0x0 pixels is empty"):
        image_from_bytes(b"", 0, 0, "rgb8")
