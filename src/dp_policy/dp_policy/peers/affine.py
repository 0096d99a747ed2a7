"""A peer's normalisation as ours: every vector is ``(x - offset) / scale``, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dp_policy.peers.errors import PeerCheckpointError


@dataclass(frozen=True)
class Affine:
    """``(x - offset) / scale``; both (D,) float64 in the data's units."""

    offset: Tensor
    scale: Tensor

    @classmethod
    def identity(cls, dim: int) -> Affine:
        """Numbers as they are."""
        return cls(torch.zeros(dim, dtype=torch.float64), torch.ones(dim, dtype=torch.float64))

    @classmethod
    def from_product(cls, scale: Tensor, offset: Tensor, name: str, dim: int) -> Affine:
        """The map ``x * scale + offset`` for ``dim`` columns; one number stands for all of them."""
        scale, offset = _columns(scale, name, dim), _columns(offset, name, dim)
        return cls(-offset / scale, 1.0 / scale).checked(name)

    @classmethod
    def from_range(cls, low: Tensor, high: Tensor, name: str, dim: int) -> Affine:
        """The map of ``low`` to -1 and ``high`` to 1."""
        low, high = _columns(low, name, dim), _columns(high, name, dim)
        return cls((low + high) / 2, (high - low) / 2).checked(name)

    @classmethod
    def from_mean(cls, mean: Tensor, std: Tensor, name: str, dim: int) -> Affine:
        """The map to zero mean and unit spread."""
        return cls(_columns(mean, name, dim), _columns(std, name, dim)).checked(name)

    def checked(self, name: str) -> Affine:
        """The same, if it can be undone.

        Raises:
            PeerCheckpointError: figures are not finite or a scale is zero.
        """
        if not all(bool(torch.isfinite(value).all()) for value in (self.offset, self.scale)) or (self.scale == 0).any():
            raise PeerCheckpointError(f"the normaliser of {name} was never fitted: its figures are not finite")
        return self

    def then(self, after: Affine) -> Affine:
        """First this map, then ``after``."""
        return Affine(self.offset + after.offset * self.scale, self.scale * after.scale)

    @classmethod
    def joined(cls, parts: Sequence[Affine]) -> Affine:
        """Vectors side by side."""
        if not parts:
            return cls.identity(0)
        return cls(*(torch.cat([getattr(part, key) for part in parts]) for key in ("offset", "scale")))

    def weights(self, prefix: str) -> dict[str, Tensor]:
        """The buffers ``<prefix>.offset`` and ``<prefix>.scale``."""
        return {f"{prefix}.{key}": getattr(self, key).float() for key in ("offset", "scale")}


def _columns(value: Tensor, name: str, dim: int) -> Tensor:
    if value.numel() not in (1, dim):
        raise PeerCheckpointError(f"the normaliser of {name} has {value.numel()} columns, not {dim}")
    return value.double().flatten().expand(dim)


#: Of torchvision's pretrained networks, for images in [0, 1].
IMAGENET = Affine(
    torch.tensor((0.485, 0.456, 0.406), dtype=torch.float64), torch.tensor((0.229, 0.224, 0.225), dtype=torch.float64)
)
#: Images in [0, 1] to [-1, 1].
SIGNED = Affine(torch.full((3,), 0.5, dtype=torch.float64), torch.full((3,), 0.5, dtype=torch.float64))


def image_section(maps: Sequence[Affine]) -> tuple[str, dict[str, Tensor]]:
    """``normaliser.images`` and its buffers for the maps of all cameras, from [0, 1], each of three channels."""
    for mode, one in (("signed", SIGNED), ("unit", Affine.identity(3))):
        if all(torch.equal(m.offset, one.offset) and torch.equal(m.scale, one.scale) for m in maps):
            return mode, {}
    rows = {key: torch.stack([getattr(m, key) for m in maps]).float() for key in ("offset", "scale")}
    return "channels", {"normaliser.image_mean": rows["offset"], "normaliser.image_std": rows["scale"]}
