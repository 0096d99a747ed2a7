"""Image encoders, one per camera, and the observation encoder that joins them with proprioception."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.config import EncoderConfig, PolicyConfig
from dp_policy.normaliser import Normaliser
from dp_policy.resnet import ResNet18
from dp_policy.spatial_softmax import SpatialSoftmax

#: First scale of the compact encoder's keypoint maps; 10 halves the error of a short training against 1.
KEYPOINT_SHARPNESS = 10.0


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions without norm; the second starts at zero, so the block starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        assert self.conv2.bias is not None
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x)), inplace=True))


class CompactEncoder(nn.Module):
    """Small encoder for small images: space-to-depth, one convolution, residual blocks, keypoints and mean pool.

    ``forward``: (B, 3, H, W) to (B, features). There is no norm: on a processor it costs more than it brings.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.block_px = config.space_to_depth
        self.stem = nn.Conv2d(3 * self.block_px**2, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.blocks)))
        self.keypoints = SpatialSoftmax(config.width, config.keypoints, KEYPOINT_SHARPNESS)
        self.project = nn.Linear(config.keypoints * 2 + config.width, config.features)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, features)."""
        x = functional.pixel_unshuffle(images, self.block_px).contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.blocks(self.stem(x)))
        return self.project(torch.cat((self.keypoints(x), x.mean(dim=(2, 3))), dim=-1))


class ResNetEncoder(nn.Module):
    """ResNet-18 with GroupNorm, spatial softmax and a linear layer: (B, 3, H, W) to (B, features)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.trunk = ResNet18()
        self.keypoints = SpatialSoftmax(ResNet18.channels, config.keypoints)
        self.project = nn.Linear(config.keypoints * 2, config.features)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, features)."""
        x = self.trunk(images.contiguous(memory_format=torch.channels_last))
        return self.project(self.keypoints(x))


def crop_images(images: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """Cut one window out of every image; indices beyond the edge repeat the edge pixel.

    Args:
        images: (B, H, W, 3) uint8.
        rows: (B,) int64, first row of each window, may be negative.
        columns: (B,) int64, first column of each window, may be negative.
        height: rows of the window.
        width: columns of the window.

    Returns:
        (B, height, width, 3) uint8.
    """
    row_index = (rows[:, None] + torch.arange(height)).clamp_(0, images.shape[1] - 1)
    column_index = (columns[:, None] + torch.arange(width)).clamp_(0, images.shape[2] - 1)
    frame_index = torch.arange(images.shape[0])[:, None, None]
    return images[frame_index, row_index[:, :, None], column_index[:, None, :]]


class ObservationEncoder(nn.Module):
    """All cameras and the proprioception of one frame to one feature vector.

    ``features`` per frame: cameras in the order of the configuration, then normalised proprioception.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config.encoder
        self.cameras = config.observation.cameras
        names = ("shared",) if config.encoder.shared else self.cameras
        build = CompactEncoder if config.encoder.kind == "compact" else ResNetEncoder
        self.networks = nn.ModuleDict({name: build(config.encoder) for name in names})
        height, width = config.observation.image_height, config.observation.image_width
        self.crop = (round(height * config.encoder.crop_ratio), round(width * config.encoder.crop_ratio))
        self.frame_features = len(self.cameras) * config.encoder.features + config.observation.proprioception_dim

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the weights, and so of the passes."""
        return next(self.parameters()).dtype if len(self.networks) else torch.float32

    def forward(
        self,
        images: Mapping[str, Tensor],
        proprioception: Tensor,
        normaliser: Normaliser,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Encode a batch of frames.

        Args:
            images: per camera (B, H, W, 3) uint8.
            proprioception: (B, P) float32, physical units.
            normaliser: of the policy.
            generator: draws random crops and shifts; None: centre crop, no shift (deployment).

        Returns:
            (B, frame_features) in ``dtype``.
        """
        parts = []
        for camera in self.cameras:
            network = self.networks["shared" if self.config.shared else camera]
            pixels = self._augment(images[camera], generator).permute(0, 3, 1, 2)
            parts.append(network(normaliser.images(pixels, self.dtype)))
        parts.append(normaliser.proprioception.normalise(proprioception).to(self.dtype))
        return torch.cat(parts, dim=-1)

    def _augment(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        height, width = self.crop
        spare_rows, spare_columns = images.shape[1] - height, images.shape[2] - width
        shift = self.config.random_shift
        if generator is None:
            top, left = round(spare_rows / 2), round(spare_columns / 2)
            return images[:, top : top + height, left : left + width]
        if spare_rows == 0 and spare_columns == 0 and shift == 0:
            return images
        count = (images.shape[0],)
        rows = torch.randint(-shift, spare_rows + shift + 1, count, generator=generator)
        columns = torch.randint(-shift, spare_columns + shift + 1, count, generator=generator)
        return crop_images(images, rows, columns, height, width)
