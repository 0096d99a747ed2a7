"""How observations reach the network: the image encoder and the normalisation of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from dp_core.configuration import ConfigurationError
from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import check_range

#: How pixels become numbers, see :class:`NormaliserConfig`.
IMAGE_MODES = ("signed", "unit", "imagenet", "channels")


def _check_size(name: str, size: tuple[int, ...]) -> None:
    if size and (len(size) != 2 or min(size) < 1):
        raise ConfigurationError(f"{name}: {list(size)} is not valid; valid: [height, width] in pixels, or empty")


@dataclass(frozen=True)
class ColourJitterConfig:
    """How far the colours of training images stray, as in torchvision's ``ColorJitter``; 0: not at all.

    Attributes:
        brightness: factor drawn from [max(0, 1 - brightness), 1 + brightness].
        contrast: likewise.
        saturation: likewise.
        hue: turns drawn from [-hue, hue], at most 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for key in ("brightness", "contrast", "saturation"):
            check_range(key, getattr(self, key), 0.0)
        check_range("hue", self.hue, 0.0, 0.5)


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder, one per camera or one shared.

    Images are resized (``resize``), then cropped (``crop`` or ``crop_ratio``), in training and in deployment alike.

    Attributes:
        kind: ``compact`` (space-to-depth, few residual blocks, no norm), ``resnet18`` or ``resnet34``.
        shared: the same weights for every camera.
        resize: [height, width] that images are brought to first (bilinear with antialiasing, as torchvision's
            ``Resize`` does on floats); empty: as they are.
        crop: [height, width] of the crop; empty: ``crop_ratio`` of the image. Random in training, else centred.
        crop_ratio: side of the crop over the side of the image, where ``crop`` is empty.
        random_shift: training shifts every image by up to this many pixels (edges repeated).
        colour_jitter: of training images.
        norm: of the ResNets: ``group`` (GroupNorm, 16 channels per group) or ``frozen_batch`` (BatchNorm whose
            statistics came with the weights and stay as they are).
        pooling: of the feature maps: ``keypoints`` (spatial softmax; the compact encoder adds the mean) or ``mean``.
        keypoints: spatial-softmax maps.
        features: numbers per camera and frame, of a linear layer; 0: no such layer, what the pooling gives.
        output_activation: of the features, ``none`` or ``relu``.
        width: channels of the compact encoder.
        blocks: residual blocks of the compact encoder.
        space_to_depth: block side in pixels of the compact encoder's first layer.
    """

    kind: str = "resnet18"
    shared: bool = False
    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    crop_ratio: float = 1.0
    random_shift: int = 0
    colour_jitter: ColourJitterConfig = field(default_factory=ColourJitterConfig)
    norm: str = "group"
    pooling: str = "keypoints"
    keypoints: int = 32
    features: int = 64
    output_activation: str = "none"
    width: int = 48
    blocks: int = 2
    space_to_depth: int = 4

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("compact", "resnet18", "resnet34"))
        check_choice("norm", self.norm, ("group", "frozen_batch"))
        check_choice("pooling", self.pooling, ("keypoints", "mean"))
        check_choice("output_activation", self.output_activation, ("none", "relu"))
        _check_size("resize", self.resize)
        _check_size("crop", self.crop)
        check_range("crop_ratio", self.crop_ratio, 0.1, 1.0)
        check_range("random_shift", self.random_shift, 0)
        check_range("features", self.features, 0)
        check_range("blocks", self.blocks, 0)
        for key in ("keypoints", "width", "space_to_depth"):
            check_range(key, getattr(self, key), 1)


@dataclass(frozen=True)
class NormaliserConfig:
    """How numbers reach the network.

    Attributes:
        proprioception: ``limits`` (min..max to [-1, 1]), ``gaussian`` (zero mean, unit spread), ``identity``.
        action: as above.
        unscaled_columns: columns left alone in both (rot6d is already in [-1, 1]).
        images: from uint8, in one step: ``signed`` ([-1, 1]), ``unit`` ([0, 1]), ``imagenet`` (mean and spread of
            ImageNet) or ``channels`` (mean and spread of each camera's channels in the data).
    """

    proprioception: str = "limits"
    action: str = "limits"
    unscaled_columns: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    images: str = "signed"

    def __post_init__(self) -> None:
        check_choice("proprioception", self.proprioception, ("limits", "gaussian", "identity"))
        check_choice("action", self.action, ("limits", "gaussian", "identity"))
        check_choice("images", self.images, IMAGE_MODES)
