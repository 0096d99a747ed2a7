"""Weights on their way from a peer's names to ours, and the order of the observation features that they read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dp_policy.peers.errors import PeerCheckpointError


@dataclass
class PeerWeights:
    """A peer's state dict, taken name by name, so that a weight that nothing takes is noticed.

    Attributes:
        source: by name, float or integer tensors.
        taken: names that were read or passed over.
    """

    source: Mapping[str, Tensor]
    taken: set[str] = field(default_factory=set)

    def take(self, name: str) -> Tensor:
        """One weight in float32.

        Raises:
            PeerCheckpointError: there is none of this name.
        """
        if name not in self.source:
            raise PeerCheckpointError(f"weight {name} is missing")
        self.taken.add(name)
        return self.source[name].float()

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The weights below a prefix (with its dot), by the rest of their names, in float32."""
        return {name.removeprefix(prefix): self.take(name) for name in self.source if name.startswith(prefix)}

    def pass_over(self, pattern: str) -> None:
        """Leave out weights whose whole name matches: copies, constants and what only training needs."""
        self.taken.update(name for name in self.source if re.fullmatch(pattern, name))

    def finish(self) -> None:
        """Raise if a weight was neither taken nor passed over."""
        left = sorted(set(self.source) - self.taken)
        if left:
            raise PeerCheckpointError(f"{len(left)} weights have no place in this policy, the first is {left[0]}")


@dataclass(frozen=True)
class FrameFeatures:
    """The features of one frame: which follow which in the peer, and which in ours.

    Attributes:
        widths: by name, in the peer's order.
        order: the names in our order: cameras, then proprioception.
        frames: frames To, oldest first in both.
    """

    widths: Mapping[str, int]
    order: Sequence[str]
    frames: int

    @property
    def width(self) -> int:
        """Numbers per frame."""
        return sum(self.widths.values())

    def columns(self, name: str) -> Tensor:
        """Places of a part among the peer's numbers of a frame."""
        before = 0
        for part, width in self.widths.items():
            if part == name:
                return torch.arange(before, before + width)
            before += width
        raise KeyError(name)

    def reorder(self, weight: Tensor, frames: int) -> Tensor:
        """Bring the last ``frames * width`` columns of a (rows, columns) weight into our order."""
        first = weight.shape[1] - frames * self.width
        if first < 0:
            raise PeerCheckpointError(
                f"a layer reads {weight.shape[1]} numbers, fewer than the {frames * self.width} of the observation"
            )
        one_frame = torch.cat([self.columns(name) for name in self.order])
        index = torch.cat([torch.arange(first), *(first + frame * self.width + one_frame for frame in range(frames))])
        return weight[:, index]
