from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from dp_policy.config import EncoderConfig, PolicyConfigError
from dp_policy.framing import Framing, _gather_windows, crop_images, resize_images


def test_crop_repeats_edges() -> None:
    image = torch.arange(9, dtype=torch.uint8).view(1, 3, 3, 1).expand(1, 3, 3, 3)
    crop = crop_images(image, torch.tensor([-1]), torch.tensor([1]), 3, 3)
    assert crop[0, :, :, 0].tolist() == [[1, 2, 2], [1, 2, 2], [4, 5, 5]]


@pytest.mark.parametrize("low", [0, -3])
def test_slices_and_gather_agree(low: int) -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (9, 14, 11, 3), generator=generator, dtype=torch.uint8)
    rows = torch.randint(low, 5 - low, (9,), generator=generator)
    columns = torch.randint(low, 4 - low, (9,), generator=generator)
    expected = _gather_windows(images, rows, columns, 10, 8)
    torch.testing.assert_close(crop_images(images, rows, columns, 10, 8), expected)


def test_crop_is_random_in_training_and_centred_in_deployment() -> None:
    framing = Framing(EncoderConfig(crop=(16, 20)), 32, 32)
    images = torch.arange(32, dtype=torch.uint8).view(1, 32, 1, 1).expand(64, 32, 32, 3)
    centre = framing(images, None)
    assert centre.shape == (64, 3, 16, 20)
    assert centre[0, 0, :, 0].tolist() == list(range(8, 24))
    tops = framing(images, torch.Generator().manual_seed(0))[:, 0, 0, 0].tolist()
    assert min(tops) == 0
    assert max(tops) == 16
    assert len(set(tops)) > 10  # every image of the batch has its own


def test_shift_moves_by_at_most_its_pixels() -> None:
    framing = Framing(EncoderConfig(random_shift=2), 8, 8)
    images = torch.arange(8, dtype=torch.uint8).view(1, 1, 8, 1).expand(200, 8, 8, 3)
    middles = framing(images, torch.Generator().manual_seed(0))[:, 0, 4, 4].tolist()
    assert set(middles) == {2, 3, 4, 5, 6}


def test_resize_is_bilinear_with_antialiasing() -> None:
    """Against PIL's formula by hand: halving with a triangle of width two weighs 1/8, 3/8, 3/8, 1/8."""
    levels = torch.tensor([0, 80, 160, 240, 0, 80, 160, 240], dtype=torch.uint8)
    images = levels.view(1, 1, 8, 1).expand(1, 2, 8, 3)
    resized = resize_images(images, (2, 4))
    inner = [(80 + 3 * 160 + 3 * 240 + 0) / 8, (240 + 3 * 0 + 3 * 80 + 160) / 8]
    assert resized[0, 0, 1:3, 0].tolist() == pytest.approx(inner)


def test_enlarging_is_that_of_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    expected = cv2.resize(image.astype(np.float32), (27, 30), interpolation=cv2.INTER_LINEAR)
    ours = resize_images(torch.from_numpy(image)[None], (30, 27))[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_resize_comes_before_the_crop() -> None:
    framing = Framing(EncoderConfig(resize=(16, 16), crop_ratio=0.5), 32, 32)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    expected = resize_images(images, (16, 16))[:, 4:12, 4:12].permute(0, 3, 1, 2)
    torch.testing.assert_close(framing(images, None), expected)


def test_crop_must_fit_into_the_image() -> None:
    with pytest.raises(PolicyConfigError, match=r"encoder.crop: \[40, 20\] is larger than the images, \[32, 32\]"):
        Framing(EncoderConfig(crop=(40, 20)), 32, 32)


@pytest.mark.parametrize(("key", "size"), [("crop", (84,)), ("resize", (0, 20))])
def test_sizes_are_pairs(key: str, size: tuple) -> None:
    with pytest.raises(ValueError, match=rf"{key}: .* is not valid; valid: \[height, width\]"):
        EncoderConfig(**{key: size})
