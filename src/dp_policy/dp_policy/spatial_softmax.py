"""Spatial softmax: where in the image each feature map is active (Levine et al., arXiv 1504.00702)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def expected_coordinates(heat: Tensor) -> Tensor:
    """Expected position under the softmax of each map.

    Args:
        heat: (B, K, H, W) scores.

    Returns:
        (B, K, 2) float32: x (columns, left to right) and y (rows, top to bottom), each in [-1, 1].
    """
    batch, maps, height, width = heat.shape
    weights = torch.softmax(heat.float().reshape(batch, maps, height * width), dim=-1)
    # in double, as the published code has them: float32 steps differ in the last bit
    y, x = (torch.linspace(-1.0, 1.0, n, dtype=torch.float64, device=heat.device).float() for n in (height, width))
    grid = torch.stack((x.repeat(height), y.repeat_interleave(width)), dim=-1)
    return weights @ grid


class SpatialSoftmax(nn.Module):
    """1x1 convolution to ``keypoints`` maps, then the expected coordinates of each.

    ``sharpness`` scales the first weights of the maps. After unnormalised features 1 gives almost flat maps, whose
    keypoints all sit in the middle of the image and say nothing; training then wastes its first steps.

    ``forward``: (B, C, H, W) to (B, keypoints * 2), x and y of one keypoint side by side: the order of robomimic,
    real-stanford and LeRobot, at temperature 1.
    """

    def __init__(self, channels: int, keypoints: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, keypoints, kernel_size=1)
        with torch.no_grad():
            self.maps.weight.mul_(sharpness)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to (B, keypoints * 2)."""
        return expected_coordinates(self.maps(features)).flatten(1).to(features.dtype)
