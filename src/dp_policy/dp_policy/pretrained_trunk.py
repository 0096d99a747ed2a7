"""Trunks that were trained elsewhere: vision models of Hugging Face transformers, and torchvision's ResNets.

The architecture is a plain mapping that travels in the policy configuration, so a checkpoint needs no other files. The
weights come from :mod:`dp_policy.pretrained_weights` once, when training starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from dp_policy.config_error import PolicyConfigError
from dp_policy.encoder_config import EncoderConfig
from dp_policy.resnet import ResNet

#: ``model_type`` of a torchvision ResNet in :attr:`EncoderConfig.architecture`; the other keys are depth and norm.
TORCHVISION_RESNET = "torchvision_resnet"
#: Models of transformers that give patches and a class token, and those that give feature maps.
TOKEN_MODELS = ("vit", "dinov2", "dinov2_with_registers", "clip_vision_model")
MAP_MODELS = ("resnet",)


class PretrainedWeightsError(PolicyConfigError):
    """Pretrained weights are missing, of an unknown kind or do not fit the images."""


def import_transformers() -> Any:
    """The package transformers.

    Raises:
        PretrainedWeightsError: it is not installed.
    """
    try:
        import transformers
    except ImportError:
        raise PretrainedWeightsError(
            "this pretrained encoder needs transformers: pip install 'diffusion-policy-ros2[pretrained]'"
        ) from None
    return transformers


class PretrainedTrunk(nn.Module):
    """Images (B, 3, H, W) to feature maps (B, channels, h, w) and a class token (B, channels), if there is one.

    Attributes:
        channels: of the feature maps.
        has_token: whether there is a class token.
        learning_rate_scale: share of the learning rate, for the optimiser.
        model: with the parameter names of its origin.
    """

    channels: int
    has_token: bool
    model: nn.Module

    def __init__(self, learning_rate_scale: float) -> None:
        super().__init__()
        self.learning_rate_scale = learning_rate_scale

    def finish(self) -> None:
        """Freeze what is never trained; called at the end of construction."""
        for name, parameter in self.model.named_parameters():
            if self.learning_rate_scale == 0 or "mask_token" in name:
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> PretrainedTrunk:
        """Statistics of BatchNorm stay those of the pretraining, also while training."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class TorchvisionTrunk(PretrainedTrunk):
    """Our own ResNet-18 or 34, whose names are those of torchvision."""

    has_token = False

    def __init__(self, architecture: Mapping[str, Any], learning_rate_scale: float) -> None:
        super().__init__(learning_rate_scale)
        self.model = ResNet(int(architecture["depth"]), str(architecture["norm"]))
        self.channels = ResNet.channels
        self.finish()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) to maps (B, 512, ceil(H/32), ceil(W/32))."""
        return self.model(images.contiguous(memory_format=torch.channels_last)), None


class TransformersTrunk(PretrainedTrunk):
    """A vision model of transformers, built from its configuration without weights.

    Args:
        architecture: the model's configuration.
        learning_rate_scale: share of the learning rate.
        size: height and width of the images that it sees, pixels.

    Raises:
        PretrainedWeightsError: transformers is missing or of another major version than the one that described the
            model, or the images do not divide into patches.
    """

    def __init__(self, architecture: Mapping[str, Any], learning_rate_scale: float, size: tuple[int, ...]) -> None:
        super().__init__(learning_rate_scale)
        transformers = import_transformers()
        _check_version(str(architecture.get("transformers_version", "")), transformers.__version__)
        kind = str(architecture["model_type"])
        described = {key: value for key, value in architecture.items() if key != "transformers_version"}
        config = transformers.AutoConfig.for_model(**described)
        options = {"add_pooling_layer": False} if kind == "vit" else {}
        self.model = transformers.AutoModel.from_config(config, trust_remote_code=False, **options).float()
        self.has_token = kind in TOKEN_MODELS
        self.channels = int(config.hidden_size if self.has_token else config.hidden_sizes[-1])
        if self.has_token:
            self._plan_patches(config, kind, tuple(size))
        self.finish()

    def _plan_patches(self, config: Any, kind: str, size: tuple[int, ...]) -> None:
        patch, native = _side(config.patch_size), _side(config.image_size)
        if size[0] % patch or size[1] % patch:
            raise PretrainedWeightsError(
                f"encoder: images of {size[0]}x{size[1]} pixels do not divide into the patches of {patch}x{patch} of "
                f"this {kind}; set encoder.resize or encoder.crop to multiples of {patch} (trained at {native})"
            )
        self.grid = (size[0] // patch, size[1] // patch)
        self.token_is_pooled = kind == "clip_vision_model"  # its last norm is applied to the pooled token only
        resized = tuple(size) != (native, native) and not kind.startswith("dinov2")  # which always interpolates
        self.options = {"interpolate_pos_encoding": True} if resized else {}

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(B, 3, H, W) to maps (B, channels, h, w), of the patches or of the last stage, and the class token."""
        if not self.has_token:
            return self.model(pixel_values=images).last_hidden_state, None
        outputs = self.model(pixel_values=images, **self.options)
        tokens: Tensor = outputs.last_hidden_state
        rows, columns = self.grid
        # class token first, then registers if there are any, patches last
        maps = tokens[:, -rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        return maps, outputs.pooler_output if self.token_is_pooled else tokens[:, 0]


def build_pretrained_trunk(config: EncoderConfig, size: tuple[int, ...]) -> PretrainedTrunk:
    """The trunk that ``config.architecture`` describes, with random weights.

    Args:
        config: of the encoder, resolved.
        size: height and width of the images that it sees, pixels.

    Raises:
        PretrainedWeightsError: the architecture is not resolved or not known, or does not fit the images or pooling.
    """
    kind = config.architecture.get("model_type")
    if kind is None:
        raise PretrainedWeightsError(
            "encoder.architecture is empty; for encoder.kind = pretrained, training reads it from encoder.weights"
        )
    if kind == TORCHVISION_RESNET:
        trunk: PretrainedTrunk = TorchvisionTrunk(config.architecture, config.pretrained_learning_rate_scale)
    elif kind in TOKEN_MODELS + MAP_MODELS:
        trunk = TransformersTrunk(config.architecture, config.pretrained_learning_rate_scale, size)
    else:
        valid = ", ".join((*TOKEN_MODELS, *MAP_MODELS, TORCHVISION_RESNET))
        raise PretrainedWeightsError(f"encoder.architecture: model_type {kind!r} is not known; valid: {valid}")
    if config.pooling == "token" and not trunk.has_token:
        raise PretrainedWeightsError(f"encoder.pooling: {kind} has no class token; valid: keypoints, mean")
    return trunk


def _side(value: Any) -> int:
    return int(cast(Any, value)[0] if isinstance(value, (list, tuple)) else value)


def _check_version(described: str, installed: str) -> None:
    if described and described.split(".")[0] != installed.split(".")[0]:
        raise PretrainedWeightsError(
            f"the encoder was described by transformers {described}, and {installed} is installed; parameter names "
            f"differ between major versions: pip install 'transformers=={described.split('.')[0]}.*'"
        )
