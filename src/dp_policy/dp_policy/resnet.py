"""ResNet trunks (He et al., arXiv 1512.03385) with GroupNorm as in arXiv 2303.04137, 16 channels per group."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS_PER_GROUP = 16
#: Blocks of the four stages, by depth.
STAGE_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class FrozenBatchNorm(nn.Module):
    """BatchNorm with the statistics that came with the weights; only scale and bias are trained.

    Statistics of small batches of one task would drift away from those that the weights were made for, and an average
    of the weights over time has no statistics of its own.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, H, W) to the same shape."""
        return functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


def _norm(channels: int, kind: str) -> nn.Module:
    return FrozenBatchNorm(channels) if kind == "frozen_batch" else group_norm(channels)


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with 16 channels per group."""
    return nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a skip; names follow the published checkpoints (conv1, bn1, ..., downsample)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, norm: str = "group") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = _norm(channels_out, norm)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = _norm(channels_out, norm)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), _norm(channels_out, norm)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.downsample(x), inplace=True)


class ResNet(nn.Module):
    """ResNet-18 or 34 without its classifier: images (B, 3, H, W) to maps (B, 512, ceil(H/32), ceil(W/32)).

    Parameter names are those of torchvision's ResNet. ResNet-18 has 11.2 M parameters, ResNet-34 21.3 M.

    Args:
        depth: 18 or 34.
        norm: ``group`` or ``frozen_batch``.
    """

    channels = 512
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, depth: int = 18, norm: str = "group") -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = _norm(64, norm)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels_in = 64
        for stage, (channels, blocks) in enumerate(zip((64, 128, 256, 512), STAGE_BLOCKS[depth], strict=True), 1):
            first = BasicBlock(channels_in, channels, 1 if stage == 1 else 2, norm)
            rest = (BasicBlock(channels, channels, 1, norm) for _ in range(blocks - 1))
            self.add_module(f"layer{stage}", nn.Sequential(first, *rest))
            channels_in = channels
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 512, ceil(H/32), ceil(W/32))."""
        x = self.maxpool(functional.relu(self.bn1(self.conv1(images)), inplace=True))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
