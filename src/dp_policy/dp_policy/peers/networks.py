"""Weight names of the peers' networks and ours: ResNet trunk, U-Net and transformer."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.weights import FrameFeatures

#: Children of torchvision's ResNet in a Sequential, by number; 2 and 3 (ReLU, pooling) have no weights.
RESNET_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
DENOISER = "head.denoiser."


def resnet_name(name: str) -> str:
    """``4.0.conv1.weight`` of a Sequential is ``layer1.0.conv1.weight`` of torchvision and ours."""
    child, _, rest = name.partition(".")
    return f"{RESNET_CHILDREN.get(child, child)}.{rest}"


def resnet_norm(trunk: Mapping[str, Tensor]) -> str:
    """Which norm a trunk was trained with; its weights say so."""
    return "frozen_batch" if "bn1.running_mean" in trunk else "group"


def renamed_trunk(trunk: Mapping[str, Tensor], rename: Callable[[str], str] = str) -> dict[str, Tensor]:
    """A trunk under torchvision's names, without BatchNorm's counters of batches, which only training reads."""
    counter = "num_batches_tracked"
    return {rename(name): weight for name, weight in trunk.items() if not name.endswith(counter)}


def lerobot_unet_name(name: str) -> str:
    """LeRobot's name of a U-Net weight in the published names, which are ours."""
    name = re.sub(r"\.conv([12])\.block\.", lambda match: f".blocks.{int(match[1]) - 1}.block.", name)
    return re.sub(r"^((?:down|up)_modules\.\d+\.2)\.(weight|bias)$", r"\1.conv.\2", name)


def unet_weights(weights: Mapping[str, Tensor], features: FrameFeatures, with_scale: bool) -> dict[str, Tensor]:
    """A U-Net of the published names with our order of the observation.

    A block that only adds a bias is one that scales by 1: the scale's rows are zero, its bias is one.

    Args:
        weights: by published name.
        features: of one frame.
        with_scale: the condition gives a scale and a bias per channel, not only a bias.
    """
    result = dict(weights)
    for name in weights:
        if not name.endswith(".cond_encoder.1.weight"):
            continue
        weight = features.reorder(weights[name], features.frames)
        bias_name = name.removesuffix("weight") + "bias"
        if not with_scale:
            bias = weights[bias_name]
            result[bias_name] = torch.cat((torch.ones_like(bias), bias))
            weight = torch.cat((torch.zeros_like(weight), weight))
        result[name] = weight
    return {DENOISER + name: weight for name, weight in result.items()}


def transformer_weights(weights: Mapping[str, Tensor], features: FrameFeatures) -> dict[str, Tensor]:
    """A transformer of the published names with our order of the observation."""
    result = dict(weights)
    if "cond_obs_emb.weight" not in result:
        raise PeerCheckpointError("weight cond_obs_emb.weight is missing")
    result["cond_obs_emb.weight"] = features.reorder(result["cond_obs_emb.weight"], 1)
    return {DENOISER + name: weight for name, weight in result.items()}
