"""How observations reach the network: the image encoder and the normalisation of numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dp_core.configuration import ConfigurationError
from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import check_range

#: How pixels become numbers, see :class:`NormaliserConfig`.
IMAGE_MODES = ("signed", "unit", "imagenet", "channels")
#: How feature maps become numbers; the last is for pretrained transformers only.
POOLINGS = ("keypoints", "mean", "token")


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
        kind: ``compact`` (space-to-depth, few residual blocks, no norm), ``resnet18``, ``resnet34`` or ``pretrained``
            (the network of ``weights``).
        shared: the same weights for every camera.
        resize: [height, width] that images are brought to first (bilinear with antialiasing, as torchvision's
            ``Resize`` does on floats); empty: as they are.
        crop: [height, width] of the crop; empty: ``crop_ratio`` of the image. Random in training, else centred.
        crop_ratio: side of the crop over the side of the image, where ``crop`` is empty.
        random_shift: training shifts every image by up to this many pixels (edges repeated).
        colour_jitter: of training images.
        norm: of the ResNets: ``group`` (GroupNorm, 16 channels per group), ``frozen_batch`` (BatchNorm whose
            statistics came with the weights and stay as they are), or ``auto``: ``frozen_batch`` for pretrained
            weights, which GroupNorm would spoil, else ``group``.
        pooling: of the feature maps: ``keypoints`` (spatial softmax; the compact encoder adds the mean), ``mean``, or
            ``token``: the class token of a pretrained vision transformer.
        keypoints: spatial-softmax maps.
        features: numbers per camera and frame, of a linear layer; 0: no such layer, what the pooling gives.
        output_activation: of the features, ``none`` or ``relu``.
        width: channels of the compact encoder.
        blocks: residual blocks of the compact encoder.
        space_to_depth: block side in pixels of the compact encoder's first layer.
        weights: of ``pretrained``: a local folder of transformers (config.json, safetensors) or a state dict of
            torchvision's ResNet-18 or 34; read once, when training starts.
        pretrained_learning_rate_scale: share of the learning rate for the pretrained trunk; 0 freezes it.
        architecture: of ``pretrained``, filled in when training starts, so that a checkpoint needs no other files.
    """

    kind: str = "resnet18"
    shared: bool = False
    resize: tuple[int, ...] = ()
    crop: tuple[int, ...] = ()
    crop_ratio: float = 1.0
    random_shift: int = 0
    colour_jitter: ColourJitterConfig = field(default_factory=ColourJitterConfig)
    norm: str = "auto"
    pooling: str = "keypoints"
    keypoints: int = 32
    features: int = 64
    output_activation: str = "none"
    width: int = 48
    blocks: int = 2
    space_to_depth: int = 4
    weights: str = ""
    pretrained_learning_rate_scale: float = 0.1
    architecture: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("compact", "resnet18", "resnet34", "pretrained"))
        check_choice("norm", self.norm, ("auto", "group", "frozen_batch"))
        check_choice("pooling", self.pooling, POOLINGS if self.kind == "pretrained" else POOLINGS[:2])
        check_range("pretrained_learning_rate_scale", self.pretrained_learning_rate_scale, 0.0)
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
            ImageNet) or ``channels`` (``image_mean`` and ``image_std``). Pretrained encoders set it to ``channels``.
        image_mean: of ``channels``, red, green, blue in [0, 1]; empty: each camera's in the data.
        image_std: of ``channels``, likewise.
    """

    proprioception: str = "limits"
    action: str = "limits"
    unscaled_columns: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    images: str = "signed"
    image_mean: tuple[float, ...] = ()
    image_std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_choice("proprioception", self.proprioception, ("limits", "gaussian", "identity"))
        check_choice("action", self.action, ("limits", "gaussian", "identity"))
        check_choice("images", self.images, IMAGE_MODES)
        for key in ("image_mean", "image_std"):
            if len(getattr(self, key)) != (3 if self.image_mean or self.image_std else 0):
                raise ConfigurationError(
                    f"{key}: {list(getattr(self, key))} is not valid; valid: 3 numbers in both "
                    f"image_mean and image_std, or none"
                )
        if self.image_std and min(self.image_std) <= 0:
            raise ConfigurationError(f"image_std: {list(self.image_std)} is not valid; valid: above 0")
