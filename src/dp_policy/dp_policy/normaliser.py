"""Between physical units and the network's numbers; the statistics travel with the weights.

Every vector is mapped column by column by ``(x - offset) / scale``. Columns that never change in the data
get scale 1, so that they map to zero and no rounding noise is blown up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from dp_policy.config import NormaliserConfig

#: A column whose range (limits) or spread (gaussian) is below this counts as constant; metres or plain numbers.
CONSTANT_TOLERANCE = 1e-5
#: Mean and spread of the channels of ImageNet, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
#: Where nothing is known yet.
NO_MEAN, NO_STD = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


class VectorNormaliser(nn.Module):
    """Column-wise affine map of vectors of ``dim`` numbers; buffers ``offset`` and ``scale`` are (dim,) float32."""

    offset: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("offset", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, statistics: Mapping[str, Sequence[float]], mode: str, unscaled: Sequence[int] = ()) -> None:
        """Set the map from per-column statistics.

        Args:
            statistics: ``min, max, mean, std``, each (dim,) in the data's units.
            mode: ``limits``, ``gaussian`` or ``identity``.
            unscaled: columns left alone; entries beyond ``dim`` are ignored.

        Raises:
            ValueError: a statistic has another length than ``dim`` or is not finite.
        """
        columns = {
            key: torch.tensor(list(statistics[key]), dtype=torch.float32) for key in ("min", "max", "mean", "std")
        }
        for key, values in columns.items():
            if values.shape != self.offset.shape or not bool(torch.isfinite(values).all()):
                raise ValueError(
                    f"statistics {key!r} must be {self.offset.numel()} finite numbers, got {values.tolist()}"
                )
        if mode == "limits":
            offset = (columns["max"] + columns["min"]) / 2
            scale = (columns["max"] - columns["min"]) / 2
        elif mode == "gaussian":
            offset, scale = columns["mean"].clone(), columns["std"].clone()
        else:
            offset, scale = torch.zeros_like(self.offset), torch.ones_like(self.scale)
        scale[scale < CONSTANT_TOLERANCE] = 1.0
        for column in unscaled:
            if column < scale.numel():
                offset[column], scale[column] = 0.0, 1.0
        self.offset.copy_(offset)
        self.scale.copy_(scale)

    def normalise(self, values: Tensor) -> Tensor:
        """(..., dim) in physical units to (..., dim) float32 for the network."""
        return (values.float() - self.offset) / self.scale

    def restore(self, values: Tensor) -> Tensor:
        """(..., dim) of the network back to (..., dim) float32 in physical units."""
        return values.float() * self.scale + self.offset


class Normaliser(nn.Module):
    """Normalisation of proprioception, action and images for one policy.

    With ``images: channels`` the buffers ``image_mean`` and ``image_std`` are (cameras, 3) float32 in [0, 1], rows in
    the order of ``observation.cameras``; other modes have no such buffers.
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, config: NormaliserConfig, proprioception_dim: int, action_dim: int, cameras: int = 0) -> None:
        super().__init__()
        self.config = config
        self.proprioception = VectorNormaliser(proprioception_dim)
        self.action = VectorNormaliser(action_dim)
        if config.images in ("channels", "imagenet"):
            mean, std = (config.image_mean, config.image_std) if config.images == "channels" else IMAGENET
            stored = config.images == "channels"
            rows = cameras if stored else 1
            self.register_buffer("image_mean", torch.tensor(mean or NO_MEAN).repeat(rows, 1), persistent=stored)
            self.register_buffer("image_std", torch.tensor(std or NO_STD).repeat(rows, 1), persistent=stored)

    def fit(self, statistics: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the maps from a store's statistics ``{proprioception: {...}, action: {...}}``.

        With ``images: channels`` and no ``image_mean`` also ``images: {mean, std}``, each (cameras, 3) in [0, 1].

        Raises:
            ValueError: a statistic is missing, has another shape or is not finite.
        """
        unscaled = self.config.unscaled_columns
        if self.proprioception.offset.numel():
            self.proprioception.fit(statistics["proprioception"], self.config.proprioception, unscaled)
        self.action.fit(statistics["action"], self.config.action, unscaled)
        if self.config.images == "channels" and not self.config.image_mean:
            if "images" not in statistics:
                raise ValueError("normaliser.images = channels needs the statistics 'images' of the cameras")
            self.fit_images(statistics["images"]["mean"], statistics["images"]["std"])

    def fit_images(self, mean: ArrayLike, std: ArrayLike) -> None:
        """Set mean and spread (cameras, 3) of the channels, in [0, 1]; a channel that never changes is not blown up."""
        for name, values in (("image_mean", mean), ("image_std", std)):
            tensor = torch.as_tensor(np.asarray(values, np.float32))
            buffer: Tensor = getattr(self, name)
            if tensor.shape != buffer.shape or not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name} must be {tuple(buffer.shape)} finite numbers, got {tensor.tolist()}")
            buffer.copy_(tensor)
        self.image_std[self.image_std < CONSTANT_TOLERANCE] = 1.0

    def images(self, images: Tensor, dtype: torch.dtype = torch.float32, camera: int = 0) -> Tensor:
        """Pixels to numbers for the network, in one step from 0..255.

        Args:
            images: (B, 3, H, W) uint8, or floats in [0, 255].
            dtype: of the result.
            camera: number of the camera in ``observation.cameras``.

        Returns:
            the same shape in ``dtype``: [-1, 1] (``signed``), [0, 1] (``unit``), or zero mean and unit spread per
            channel (``imagenet``, ``channels``).
        """
        values = images if images.is_floating_point() else images.to(dtype)
        if self.config.images == "signed":
            return values.mul(1 / 127.5).sub_(1.0).to(dtype)
        if self.config.images == "unit":
            return values.mul(1 / 255.0).to(dtype)
        row = camera if self.config.images == "channels" else 0
        return standardise(values, self.image_mean[row], self.image_std[row]).to(dtype)


def standardise(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B, 3, H, W) floats in [0, 255] to zero mean and unit spread; ``mean`` and ``std`` (3,) are those of [0, 1]."""
    scale = (1 / (255.0 * std.double())).to(pixels)
    offset = (mean.double() / std.double()).to(pixels)
    return pixels.mul(scale[:, None, None]).sub_(offset[:, None, None])
