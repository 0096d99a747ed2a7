"""Random brightness, contrast, saturation and hue of training images, as torchvision's ``ColorJitter`` defines them.

All images of a batch are changed at once, each by factors of its own. Frames of one window have factors of their own
too: frames are encoded one by one, and robomimic's randomiser draws per frame as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dp_policy.encoder_config import ColourJitterConfig

#: Shares of red, green and blue in the grey value, those of torchvision (ITU-R BT.601).
GREY_WEIGHTS = (0.2989, 0.587, 0.114)

#: Pixels changed at a time on a processor, few enough to stay in its cache: twice as fast as a whole batch.
CACHED_PIXELS = 150_000


class ColourJitter:
    """Draws factors and applies them, in an order that is drawn once per batch."""

    def __init__(self, config: ColourJitterConfig) -> None:
        scales = (
            (config.brightness, change_brightness),
            (config.contrast, change_contrast),
            (config.saturation, change_saturation),
        )
        self._changes: list[tuple[float, float, Callable[[Tensor, Tensor], Tensor]]] = [
            (max(0.0, 1.0 - spread), 1.0 + spread, change) for spread, change in scales if spread
        ]
        if config.hue:
            self._changes.append((-config.hue, config.hue, shift_hue))

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change the colours of training images.

        Args:
            images: (B, 3, H, W) uint8 or floats in [0, 255].
            generator: draws order and factors, on the processor.

        Returns:
            (B, 3, H, W) float32 in [0, 255], not rounded; the input itself if nothing is to be changed.
        """
        if not self._changes:
            return images
        order = torch.randperm(len(self._changes), generator=generator).tolist()
        changes = [self._changes[index] for index in order]
        factors = torch.stack(
            [low + (high - low) * torch.rand(len(images), generator=generator) for low, high, _ in changes]
        ).to(images.device)
        at_once = max(1, CACHED_PIXELS // images[0, 0].numel()) if images.device.type == "cpu" else len(images)
        changed = torch.empty(images.shape, device=images.device)
        for start in range(0, len(images), at_once):
            here = slice(start, start + at_once)
            pixels = images[here].to(torch.float32, memory_format=torch.contiguous_format)
            for (_, _, change), factor in zip(changes, factors, strict=True):
                pixels = change(pixels, factor[here])
            changed[here] = pixels
        return changed


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(dim=1)
    return (red * GREY_WEIGHTS[0]).add_(green, alpha=GREY_WEIGHTS[1]).add_(blue, alpha=GREY_WEIGHTS[2])


def _blend(images: Tensor, other: Tensor, factors: Tensor) -> Tensor:
    """``factors`` parts of the images and the rest of ``other`` (broadcast), kept in [0, 255]."""
    weight = factors[:, None, None, None]
    return (images * weight).add_(other * (1 - weight)).clamp_(0.0, 255.0)


def change_brightness(images: Tensor, factors: Tensor) -> Tensor:
    """(B, 3, H, W) floats in [0, 255] times (B,) factors; 0 is black."""
    return (images * factors[:, None, None, None]).clamp_(0.0, 255.0)


def change_contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the mean grey of each image; 0 is grey all over."""
    return _blend(images, _grey(images).mean(dim=(1, 2))[:, None, None, None], factors)


def change_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Blend with the grey image; 0 has no colour."""
    return _blend(images, _grey(images)[:, None], factors)


def shift_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue by (B,) full turns, value and saturation of HSV as they are."""
    red, green, blue = images.unbind(dim=1)
    largest, smallest = images.amax(dim=1), images.amin(dim=1)
    chroma = largest - smallest
    per_chroma = 1.0 / torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.where(
        largest == red,
        (green - blue).mul_(per_chroma),
        torch.where(
            largest == green,
            (blue - red).mul_(per_chroma).add_(2.0),
            (red - green).mul_(per_chroma).add_(4.0),
        ),
    )
    sixths.add_(turns[:, None, None] * 6.0).remainder_(6.0)
    shifted = torch.empty_like(images)
    # each channel is full, empty or on a ramp of one sixth: |hue - centre| against its distance
    for channel, centre in enumerate((3.0, 2.0, 4.0)):
        distance = (sixths - centre).abs_()
        share = distance.sub_(1.0) if channel == 0 else distance.neg_().add_(2.0)
        torch.addcmul(smallest, share.clamp_(0.0, 1.0), chroma, out=shifted[:, channel])
    return shifted
