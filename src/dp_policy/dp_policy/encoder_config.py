"""How observations reach the network: the image encoder and the normalisation of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from dp_core.configuration import require_choice as check_choice

from dp_policy.config_error import check_range


@dataclass(frozen=True)
class EncoderConfig:
    """The image encoder, one per camera or one shared.

    Attributes:
        kind: ``compact`` (space-to-depth, few residual blocks, no norm) or ``resnet18`` (GroupNorm).
        shared: the same weights for every camera.
        crop_ratio: side of the crop over the side of the image; random in training, centred in deployment.
        random_shift: training shifts every image by up to this many pixels (edges repeated).
        keypoints: spatial-softmax maps.
        features: numbers per camera and frame.
        width: channels of the compact encoder.
        blocks: residual blocks of the compact encoder.
        space_to_depth: block side in pixels of the compact encoder's first layer.
    """

    kind: str = "resnet18"
    shared: bool = False
    crop_ratio: float = 1.0
    random_shift: int = 0
    keypoints: int = 32
    features: int = 64
    width: int = 48
    blocks: int = 2
    space_to_depth: int = 4

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, ("compact", "resnet18"))
        check_range("crop_ratio", self.crop_ratio, 0.1, 1.0)
        check_range("random_shift", self.random_shift, 0)
        for key in ("keypoints", "features", "width", "space_to_depth"):
            check_range(key, getattr(self, key), 1)


@dataclass(frozen=True)
class NormaliserConfig:
    """How numbers reach the network.

    Attributes:
        proprioception: ``limits`` (min..max to [-1, 1]), ``gaussian`` (zero mean, unit spread), ``identity``.
        action: as above.
        unscaled_columns: columns left alone in both (rot6d is already in [-1, 1]).
        images: ``signed`` ([-1, 1]) or ``unit`` ([0, 1]).
    """

    proprioception: str = "limits"
    action: str = "limits"
    unscaled_columns: tuple[int, ...] = (3, 4, 5, 6, 7, 8)
    images: str = "signed"

    def __post_init__(self) -> None:
        check_choice("proprioception", self.proprioception, ("limits", "gaussian", "identity"))
        check_choice("action", self.action, ("limits", "gaussian", "identity"))
        check_choice("images", self.images, ("signed", "unit"))
