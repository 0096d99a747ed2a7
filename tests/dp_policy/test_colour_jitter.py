from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from dp_policy.colour_jitter import ColourJitter, change_brightness, change_contrast, change_saturation, shift_hue
from dp_policy.config import EncoderConfig, PolicyConfig
from dp_policy.encoder_config import ColourJitterConfig
from dp_policy.policy import VisuomotorPolicy
from PIL import Image, ImageEnhance

FACTORS = (0.0, 0.4, 1.0, 1.7)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """(4, 3, 12, 10) uint8 with grey, black, white and saturated pixels among them."""
    pixels = torch.randint(0, 256, (4, 3, 12, 10), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    corners = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]]
    pixels[:, :, 0, :7] = torch.tensor(corners, dtype=torch.uint8).T
    return pixels


@pytest.mark.parametrize(
    ("change", "enhancer"),
    [
        (change_brightness, ImageEnhance.Brightness),
        (change_contrast, ImageEnhance.Contrast),
        (change_saturation, ImageEnhance.Color),
    ],
)
def test_changes_are_those_of_pil(images: torch.Tensor, change: Callable, enhancer: Callable) -> None:
    """PIL rounds the grey value and the result, so one level of difference is allowed, two where both add up."""
    changed = change(images.float(), torch.tensor(FACTORS))
    for image, factor, ours in zip(images, FACTORS, changed, strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        theirs = np.asarray(enhancer(picture).enhance(factor), np.float32)
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1.6


def test_hue_is_that_of_hsv(images: torch.Tensor) -> None:
    turns = torch.tensor([-0.5, -0.13, 0.0, 0.37])
    changed = shift_hue(images.float(), turns)
    for image, turn, ours in zip(images, turns.tolist(), changed, strict=True):
        for pixel, found in zip(image.flatten(1).T.tolist(), ours.flatten(1).T.tolist(), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*(level / 255 for level in pixel))
            wanted = [255 * level for level in colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)]
            np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_contrast_by_hand() -> None:
    """Grey values 0.587 * 100 = 58.7 and 0, mean 29.35; half contrast lies in the middle between pixel and mean."""
    image = torch.zeros(1, 3, 1, 2)
    image[0, 1, 0, 0] = 100.0
    changed = change_contrast(image, torch.tensor([0.5]))[0, :, 0]
    expected = torch.tensor([[14.675, 14.675], [64.675, 14.675], [14.675, 14.675]])
    torch.testing.assert_close(changed, expected)


def test_factors_fill_their_range_and_differ_between_images() -> None:
    jitter = ColourJitter(ColourJitterConfig(brightness=0.25))
    grey = torch.full((2000, 3, 1, 1), 100, dtype=torch.uint8)
    levels = jitter(grey, torch.Generator().manual_seed(0))[:, 0, 0, 0]
    assert 75.0 <= float(levels.min()) < 75.2
    assert 124.8 < float(levels.max()) <= 125.0
    assert abs(float(levels.mean()) - 100.0) < 1.0


def test_parts_of_a_batch_are_one_batch(images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    jitter = ColourJitter(ColourJitterConfig(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.2))
    whole = jitter(images, torch.Generator().manual_seed(5))
    monkeypatch.setattr("dp_policy.colour_jitter.CACHED_PIXELS", 1)
    torch.testing.assert_close(jitter(images, torch.Generator().manual_seed(5)), whole)
    assert not torch.equal(jitter(images, torch.Generator().manual_seed(6)), whole)


def test_nothing_to_change_changes_nothing(images: torch.Tensor) -> None:
    assert ColourJitter(ColourJitterConfig())(images, torch.Generator()) is images


def test_only_training_images_are_changed(small_config: Callable[..., PolicyConfig]) -> None:
    strong = {"colour_jitter": {"brightness": 0.9, "hue": 0.5}}
    plain, jittered = VisuomotorPolicy(small_config()), VisuomotorPolicy(small_config(encoder=strong))
    jittered.load_state_dict(plain.state_dict())
    frame = {"front": torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)}
    state = torch.zeros(3, 10)
    torch.testing.assert_close(jittered.encode_frame(frame, state), plain.encode_frame(frame, state))
    generator = torch.Generator().manual_seed(0)
    trained = jittered.encode_frame(frame, state, generator)
    assert (trained - plain.encode_frame(frame, state)).abs().max() > 1e-2


@pytest.mark.parametrize("spread", [{"hue": 0.6}, {"contrast": -0.1}])
def test_impossible_spreads_are_refused(spread: dict) -> None:
    key = next(iter(spread))
    with pytest.raises(ValueError, match=rf"encoder.colour_jitter.{key}: {spread[key]} is out of range"):
        PolicyConfig.from_dict({"name": "test", "encoder": {"colour_jitter": spread}})
    assert EncoderConfig().colour_jitter == ColourJitterConfig()
