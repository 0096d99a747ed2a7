"""A ResNet's feature maps by ``trunk.cpp``."""

from __future__ import annotations

import ctypes
from typing import Any, cast

import torch
from torch import Tensor, nn

from dp_policy.encoders import ResNetEncoder
from dp_policy.normaliser import Normaliser
from dp_policy.resnet import BasicBlock, FrozenBatchNorm, ResNet
from dp_policy.runtime.fast_encoder import HALF_RANGE, FrameNetwork


class NativeResNet(FrameNetwork):
    """Maps in bfloat16 products; pooling and projection as the plain network's, float32.

    Args:
        plain: the network.
        size: height and width of the images that it sees, pixels.
        images: mode of the normaliser; ``signed`` pixels are exact in bfloat16 and their scale is the first layer's.
        library: see :func:`dp_policy.runtime.native.library.load_library`.
    """

    def __init__(self, plain: ResNetEncoder, size: tuple[int, ...], images: str, library: ctypes.CDLL) -> None:
        self._plain, self._library = plain, library
        self._folded = images == "signed"
        self._shape = (-(-size[0] // 32), -(-size[1] // 32), ResNet.channels)
        self._trunk = library.dp_trunk_new(*size)
        trunk = plain.trunk
        self._add(trunk.conv1, trunk.bn1, 1 / HALF_RANGE if self._folded else 1.0)
        for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
            for block in cast(list[BasicBlock], list(stage)):
                self._add(block.conv1, block.bn1)
                self._add(block.conv2, block.bn2)
                if isinstance(block.downsample, nn.Sequential):
                    self._add(cast(nn.Conv2d, block.downsample[0]), block.downsample[1])

    def __del__(self) -> None:
        """Give the weights back."""
        if "_trunk" in self.__dict__:
            self._library.dp_trunk_delete(self._trunk)

    def _add(self, conv: nn.Conv2d, norm: nn.Module, scale: float = 1.0) -> None:
        weight = (conv.weight.detach().float() * scale).permute(0, 2, 3, 1).contiguous()
        parts = cast(Any, norm)
        factor, offset, groups = parts.weight.detach(), parts.bias.detach(), 0
        if isinstance(norm, FrozenBatchNorm):
            factor = factor / torch.sqrt(norm.running_var + norm.eps)
            offset = offset - norm.running_mean * factor
        else:
            groups = parts.num_groups
        factor, offset = factor.float().contiguous(), offset.float().contiguous()
        self._library.dp_trunk_add_layer(
            *(self._trunk, weight.data_ptr(), conv.out_channels, conv.in_channels, conv.kernel_size[0]),
            *(conv.stride[0], factor.data_ptr(), offset.data_ptr(), groups, float(parts.eps)),
        )

    def __call__(self, pixels: Tensor, normaliser: Normaliser, camera: int) -> Tensor:
        """See :class:`FrameNetwork`."""
        values = pixels.float() - HALF_RANGE if self._folded else normaliser.images(pixels, torch.float32, camera)
        rows = values.permute(0, 2, 3, 1).contiguous()
        maps = torch.empty((len(rows), *self._shape))
        for image, result in zip(rows, maps, strict=True):
            self._library.dp_trunk_run(self._trunk, image.data_ptr(), result.data_ptr())
        return self._plain.features(maps.permute(0, 3, 1, 2))
