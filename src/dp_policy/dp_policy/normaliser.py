"""Between physical units and the network's numbers; the statistics travel with the weights.

Every vector is mapped column by column by ``(x - offset) / scale``. Columns that never change in the data
get scale 1, so that they map to zero and no rounding noise is blown up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dp_policy.config import NormaliserConfig

#: A column whose range (limits) or spread (gaussian) is below this counts as constant; metres or plain numbers.
CONSTANT_TOLERANCE = 1e-5


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
    """Normalisation of proprioception, action and images for one policy."""

    def __init__(self, config: NormaliserConfig, proprioception_dim: int, action_dim: int) -> None:
        super().__init__()
        self.config = config
        self.proprioception = VectorNormaliser(proprioception_dim)
        self.action = VectorNormaliser(action_dim)

    def fit(self, statistics: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Set both maps from a store's statistics ``{proprioception: {...}, action: {...}}``."""
        unscaled = self.config.unscaled_columns
        if self.proprioception.offset.numel():
            self.proprioception.fit(statistics["proprioception"], self.config.proprioception, unscaled)
        self.action.fit(statistics["action"], self.config.action, unscaled)

    def images(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """(...) uint8 to the same shape in ``dtype``, in [-1, 1] (``signed``) or [0, 1] (``unit``)."""
        if self.config.images == "signed":
            return images.to(dtype).mul_(1 / 127.5).sub_(1.0)
        return images.to(dtype).mul_(1 / 255.0)
