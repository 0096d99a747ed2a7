"""Image encoders, one per camera, and the observation encoder that joins them with proprioception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.colour_jitter import ColourJitter
from dp_policy.config import EncoderConfig, PolicyConfig, PolicyConfigError
from dp_policy.framing import Framing
from dp_policy.normaliser import Normaliser
from dp_policy.pretrained_trunk import build_pretrained_trunk
from dp_policy.resnet import ResNet
from dp_policy.spatial_softmax import SpatialSoftmax

#: First scale of the compact encoder's keypoint maps; 10 halves the error of a short training against 1.
KEYPOINT_SHARPNESS = 10.0
RESNET_DEPTHS = {"resnet18": 18, "resnet34": 34}


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


class ImageNetwork(nn.Module):
    """Images (B, 3, H, W) to (B, out_features); a trunk makes feature maps, which are pooled and projected."""

    out_features: int

    def add_pooling(
        self, config: EncoderConfig, channels: int, sharpness: float = 1.0, with_mean: bool = False
    ) -> None:
        """Add what comes after the trunk, last, so that the order of the weights is that of the pass.

        Args:
            config: of the encoder.
            channels: of the feature maps.
            sharpness: of the spatial softmax, see :class:`SpatialSoftmax`.
            with_mean: put the mean of the maps beside the keypoints.
        """
        self.with_keypoints = config.pooling == "keypoints"
        self.with_token = config.pooling == "token"
        self.with_mean = with_mean or config.pooling == "mean"
        self.relu = config.output_activation == "relu"
        if self.with_keypoints:
            self.keypoints = SpatialSoftmax(channels, config.keypoints, sharpness)
        pooled = 2 * config.keypoints * self.with_keypoints + channels * (self.with_mean + self.with_token)
        self.project = nn.Linear(pooled, config.features) if config.features else nn.Identity()
        self.out_features = config.features or pooled

    def features(self, maps: Tensor, token: Tensor | None = None) -> Tensor:
        """Maps (B, C, H, W) or the class token (B, C) to (B, out_features)."""
        parts = [token] if self.with_token and token is not None else []
        parts += [self.keypoints(maps)] if self.with_keypoints else []
        parts += [maps.mean(dim=(2, 3))] if self.with_mean else []
        features = self.project(torch.cat(parts, dim=-1))
        return functional.relu(features) if self.relu else features


class CompactEncoder(ImageNetwork):
    """Small encoder for small images: space-to-depth, one convolution, residual blocks, keypoints and mean pool.

    ``forward``: (B, 3, H, W) to (B, out_features). There is no norm: on a processor it costs more than it brings.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.block_px = config.space_to_depth
        self.stem = nn.Conv2d(3 * self.block_px**2, config.width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.blocks)))
        self.add_pooling(config, config.width, KEYPOINT_SHARPNESS, with_mean=True)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_features)."""
        x = functional.pixel_unshuffle(images, self.block_px).contiguous(memory_format=torch.channels_last)
        return self.features(functional.relu(self.blocks(self.stem(x))))


class ResNetEncoder(ImageNetwork):
    """ResNet with spatial softmax or mean pool and a linear layer: (B, 3, H, W) to (B, out_features)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.trunk = ResNet(RESNET_DEPTHS[config.kind], "group" if config.norm == "auto" else config.norm)
        self.add_pooling(config, ResNet.channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_features)."""
        return self.features(self.trunk(images.contiguous(memory_format=torch.channels_last)))


class PretrainedEncoder(ImageNetwork):
    """A trunk that was trained elsewhere, its maps pooled or its class token taken, and a linear layer.

    Args:
        config: of the encoder, with its architecture resolved.
        size: height and width of the images that it sees, pixels.
    """

    def __init__(self, config: EncoderConfig, size: tuple[int, ...]) -> None:
        super().__init__()
        self.trunk = build_pretrained_trunk(config, size)
        self.add_pooling(config, self.trunk.channels)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_features)."""
        return self.features(*self.trunk(images))


def build_image_network(config: EncoderConfig, size: tuple[int, ...]) -> ImageNetwork:
    """The network of ``config.kind`` for one camera; ``size`` is that of the images that it sees, pixels.

    Raises:
        PolicyConfigError: the images do not fit the network.
    """
    block = config.space_to_depth
    if config.kind == "compact" and (size[0] % block or size[1] % block):
        raise PolicyConfigError(
            f"encoder: images of {size[0]}x{size[1]} pixels do not divide into the blocks of {block}x{block} of the "
            f"compact encoder; set encoder.resize or encoder.crop to multiples of encoder.space_to_depth"
        )
    if config.kind == "pretrained":
        return PretrainedEncoder(config, size)
    return CompactEncoder(config) if config.kind == "compact" else ResNetEncoder(config)


class ObservationEncoder(nn.Module):
    """All cameras and the proprioception of one frame to one feature vector.

    ``frame_features`` per frame: cameras in the order of the configuration, then normalised proprioception. Without
    cameras there are no weights and the features are the normalised proprioception, float32.
    """

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config.encoder
        self.cameras = config.observation.cameras
        names = (("shared",) if config.encoder.shared else self.cameras) if self.cameras else ()
        self.colour_jitter = ColourJitter(config.encoder.colour_jitter)
        self.networks = nn.ModuleDict()
        if self.cameras:
            self.framing = Framing(config.encoder, config.observation.image_height, config.observation.image_width)
        for name in names:
            self.networks[name] = build_image_network(config.encoder, self.framing.size)
        image_features = sum(self._network(camera).out_features for camera in self.cameras)
        self.frame_features = image_features + config.observation.proprioception_dim

    def _network(self, camera: str) -> ImageNetwork:
        return cast(ImageNetwork, self.networks["shared" if self.config.shared else camera])

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
            generator: draws crops, shifts and colours; None: centre crop, no changes (deployment).

        Returns:
            (B, frame_features) in ``dtype``.
        """
        parts = {camera: self.encode_images(camera, images[camera], normaliser, generator) for camera in self.cameras}
        return self.join(parts, proprioception, normaliser)

    def encode_images(
        self, camera: str, images: Tensor, normaliser: Normaliser, generator: torch.Generator | None = None
    ) -> Tensor:
        """The part of one camera: (B, H, W, 3) uint8 to (B, features of its network), in ``dtype``."""
        pixels = self.framing(images, generator)
        pixels = pixels if generator is None else self.colour_jitter(pixels, generator)
        return self._network(camera)(normaliser.images(pixels, self.dtype, self.cameras.index(camera)))

    def join(self, parts: Mapping[str, Tensor], proprioception: Tensor, normaliser: Normaliser) -> Tensor:
        """Features of frames from the parts of their cameras and their (B, P) proprioception in physical units."""
        joined = [parts[camera] for camera in self.cameras]
        return torch.cat([*joined, normaliser.proprioception.normalise(proprioception).to(self.dtype)], dim=-1)
