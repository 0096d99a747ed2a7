"""An observation encoder that only runs policies: fast image networks, float32 features."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dp_policy.encoders import CompactEncoder, ImageNetwork, ObservationEncoder, PretrainedEncoder, ResNetEncoder
from dp_policy.normaliser import Normaliser

#: Half the range of a pixel: ``signed`` images are (pixel - this) / this.
HALF_RANGE = 127.5


class FrameNetwork(ABC):
    """The network of one camera."""

    @abstractmethod
    def __call__(self, pixels: Tensor, normaliser: Normaliser, camera: int) -> Tensor:
        """(B, 3, H, W) pixels, uint8 or float32 in [0, 255], of a camera by number: (B, F_c) float32."""


class FastEncoder(nn.Module):
    """In place of an :class:`ObservationEncoder` when policies run; augmentation is for the plain one.

    Args:
        plain: the encoder.
        networks: by the names of ``plain.networks``.
    """

    def __init__(self, plain: ObservationEncoder, networks: Mapping[str, FrameNetwork]) -> None:
        super().__init__()
        self.plain = plain
        self.frame_features = plain.frame_features
        self._networks = dict(networks)

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the features."""
        return torch.float32

    def forward(
        self,
        images: Mapping[str, Tensor],
        proprioception: Tensor,
        normaliser: Normaliser,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """See :meth:`ObservationEncoder.forward`."""
        if generator is not None:
            return self.plain(images, proprioception, normaliser, generator)
        parts = {camera: self.encode_images(camera, images[camera], normaliser) for camera in self.plain.cameras}
        return self.join(parts, proprioception, normaliser)

    def encode_images(self, camera: str, images: Tensor, normaliser: Normaliser) -> Tensor:
        """See :meth:`ObservationEncoder.encode_images`; float32."""
        network = self._networks["shared" if self.plain.config.shared else camera]
        return network(self.plain.framing(images, None), normaliser, self.plain.cameras.index(camera))

    def join(self, parts: Mapping[str, Tensor], proprioception: Tensor, normaliser: Normaliser) -> Tensor:
        """See :meth:`ObservationEncoder.join`."""
        return self.plain.join(parts, proprioception, normaliser)


class BfloatNetwork(FrameNetwork):
    """Feature maps in bfloat16 and channels-last; what follows them in float32, where 3 digits would blur positions.

    ``signed`` pixels less half their range have 8 significant bits, so that they are exact in bfloat16; the division
    goes into the first layer's weights.
    """

    def __init__(self, plain: ImageNetwork, images: str) -> None:
        self._plain = plain
        network: Any = copy.deepcopy(plain).to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network
        first = {ResNetEncoder: lambda: network.trunk.conv1, CompactEncoder: lambda: network.stem}.get(type(plain))
        self._folded = images == "signed" and first is not None
        if first is not None and self._folded:
            original: Any = plain.trunk.conv1 if isinstance(plain, ResNetEncoder) else plain.stem
            first().weight.copy_(original.weight / HALF_RANGE)

    def __call__(self, pixels: Tensor, normaliser: Normaliser, camera: int) -> Tensor:
        """See :class:`FrameNetwork`."""
        if self._folded:
            values = pixels.to(torch.bfloat16) - HALF_RANGE if pixels.dtype == torch.uint8 else pixels - HALF_RANGE
        else:
            values = normaliser.images(pixels, torch.float32, camera)
        maps, token = self._maps(values.to(torch.bfloat16))
        return self._plain.features(maps.float(), None if token is None else token.float())

    def _maps(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        network = self._network
        if isinstance(network, CompactEncoder):
            x = nn.functional.pixel_unshuffle(values, network.block_px).contiguous(memory_format=torch.channels_last)
            return nn.functional.relu(network.blocks(network.stem(x))), None
        if isinstance(network, PretrainedEncoder):
            return network.trunk(values)
        return network.trunk(values.contiguous(memory_format=torch.channels_last)), None
