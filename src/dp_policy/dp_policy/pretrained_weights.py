"""Reading pretrained image encoders from local files, once, when training starts. Nothing is downloaded or unpickled.

``encoder.weights`` is a folder as ``save_pretrained`` of transformers writes it (``config.json`` and safetensors), or a
state dict of torchvision's ResNet-18 or 34 (``.safetensors``; ``.pth`` is read as tensors only).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dp_policy.config import EncoderConfig, PolicyConfig
from dp_policy.normaliser import IMAGENET_MEAN, IMAGENET_STD
from dp_policy.policy import Policy
from dp_policy.pretrained_trunk import (
    MAP_MODELS,
    TOKEN_MODELS,
    TORCHVISION_RESNET,
    PretrainedTrunk,
    PretrainedWeightsError,
    import_transformers,
)
from dp_policy.resnet import STAGE_BLOCKS

#: Entries of a model's configuration that say nothing about the network; the path of the files least of all.
_UNNEEDED = ("_name_or_path", "architectures", "id2label", "label2id", "dtype", "torch_dtype", "auto_map")


def resolve_pretrained(config: PolicyConfig) -> PolicyConfig:
    """Describe the network of ``encoder.weights`` in the configuration, and how it wants its images.

    ``encoder.architecture`` is filled in, and the normalisation of images becomes that of the weights, unless
    ``normaliser.image_mean`` and ``image_std`` are given. Other kinds of encoder are left alone.

    Raises:
        PretrainedWeightsError: the files are missing or of an unknown kind, or do not say how to normalise.
    """
    encoder = config.encoder
    if encoder.kind != "pretrained" or not config.observation.images:
        return config
    if encoder.architecture and not encoder.weights:
        return config
    path = _weights_path(encoder)
    architecture = _read_folder(path) if path.is_dir() else _describe_resnet(read_state_dict(path), path, encoder.norm)
    mean, std = config.normaliser.image_mean, config.normaliser.image_std
    if not mean:
        mean, std = _image_figures(path) if path.is_dir() else (IMAGENET_MEAN, IMAGENET_STD)
    normaliser = dataclasses.replace(config.normaliser, images="channels", image_mean=mean, image_std=std)
    resolved = dataclasses.replace(encoder, architecture=architecture)
    return dataclasses.replace(config, encoder=resolved, normaliser=normaliser)


def load_pretrained_weights(policy: Policy) -> None:
    """Fill the trunks of a policy with the weights of ``encoder.weights``; other kinds of encoder are left alone.

    Raises:
        PretrainedWeightsError: the files are missing or damaged, or lack a weight.
    """
    encoder = policy.config.encoder
    trunks = [module for module in policy.modules() if isinstance(module, PretrainedTrunk)]
    if not trunks:
        return
    path = _weights_path(encoder)
    weights = _read_transformers(path, trunks[0]) if path.is_dir() else read_state_dict(path)
    for trunk in trunks:
        _fill(trunk, weights, path)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` or ``.pth`` file by name, float32.

    Raises:
        PretrainedWeightsError: the file cannot be read, or holds anything but tensors.
    """
    try:
        content: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PretrainedWeightsError(f"encoder.weights: {path} cannot be read as tensors only: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise PretrainedWeightsError(f"encoder.weights: {path} is not a state dict, a mapping of names to tensors")
    return {name: value.float() for name, value in content.items()}


def _weights_path(encoder: EncoderConfig) -> Path:
    path = Path(encoder.weights).expanduser()
    if not encoder.weights or not path.exists():
        raise PretrainedWeightsError(
            f"encoder.weights: {encoder.weights!r} does not exist; valid: a folder with config.json and "
            f"model.safetensors, or a state dict (.safetensors, .pth) of torchvision's ResNet-18 or 34"
        )
    return path


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainedWeightsError(f"encoder.weights: {path} cannot be read: {error}") from None
    return cast(dict[str, Any], content)


def _read_folder(folder: Path) -> dict[str, Any]:
    """The model's configuration as a plain mapping."""
    kind = str(_read_json(folder / "config.json").get("model_type"))
    kind = "clip_vision_model" if kind == "clip" else kind
    if kind not in TOKEN_MODELS + MAP_MODELS:
        valid = ", ".join((*TOKEN_MODELS, "clip", *MAP_MODELS))
        raise PretrainedWeightsError(f"encoder.weights: {folder} is a {kind!r}; valid: {valid}")
    if not list(folder.glob("*.safetensors")):
        raise PretrainedWeightsError(f"encoder.weights: {folder} has no safetensors file; other formats are not read")
    transformers = import_transformers()
    config_class = type(transformers.AutoConfig.for_model(kind))  # takes the vision part of a whole CLIP
    try:
        described = config_class.from_pretrained(folder, local_files_only=True).to_diff_dict()
    except (OSError, ValueError, TypeError) as error:
        raise PretrainedWeightsError(f"encoder.weights: {folder}/config.json is not valid: {error}") from None
    plain = json.loads(json.dumps({key: value for key, value in described.items() if key not in _UNNEEDED}))
    # a mask token is never used here; without it every weight is trained
    unmasked = {"use_mask_token": False} if kind == "dinov2" else {}
    return {**plain, **unmasked, "model_type": kind, "transformers_version": transformers.__version__}


def _image_figures(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and spread of the channels in [0, 1], of the folder's preprocessor."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise PretrainedWeightsError(
            f"encoder.weights: {folder} has no preprocessor_config.json, so how to normalise images is unknown; "
            f"set normaliser.image_mean and normaliser.image_std"
        )
    content = _read_json(path)
    if content.get("do_normalize", True):
        mean, std = content.get("image_mean", IMAGENET_MEAN), content.get("image_std", IMAGENET_STD)
    else:
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    # the figures are those of rescaled pixels, which are mostly but not always in [0, 1]
    unit = 255.0 * (content.get("rescale_factor", 1 / 255) if content.get("do_rescale", True) else 1.0)
    return tuple(float(value) / unit for value in mean), tuple(float(value) / unit for value in std)


def _describe_resnet(weights: dict[str, Tensor], path: Path, norm: str) -> dict[str, Any]:
    """Depth of a torchvision ResNet, from the names of its weights."""
    blocks = tuple(len({name.split(".")[1] for name in weights if name.startswith(f"layer{n}.")}) for n in (1, 2, 3, 4))
    depth = next((depth for depth, stages in STAGE_BLOCKS.items() if stages == blocks), None)
    if depth is None or "layer1.0.conv3.weight" in weights or "conv1.weight" not in weights:
        raise PretrainedWeightsError(
            f"encoder.weights: {path} is not a ResNet-18 or 34 of torchvision (blocks of its stages: {list(blocks)})"
        )
    return {"model_type": TORCHVISION_RESNET, "depth": depth, "norm": "group" if norm == "group" else "frozen_batch"}


def _read_transformers(folder: Path, trunk: PretrainedTrunk) -> dict[str, Tensor]:
    """Weights of a folder under the names of the installed version of transformers."""
    logging = import_transformers().utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        options = {"add_pooling_layer": False} if trunk.model.config.model_type == "vit" else {}  # type: ignore[union-attr]
        model, report = cast(Any, type(trunk.model)).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise PretrainedWeightsError(f"encoder.weights: {folder} cannot be loaded: {error}") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    if report["missing_keys"]:  # transformers fills them with random numbers
        raise PretrainedWeightsError(f"encoder.weights: {folder} lacks {sorted(report['missing_keys'])[0]}")
    return {name: value.float() for name, value in model.state_dict().items()}


def _fill(trunk: PretrainedTrunk, weights: dict[str, Tensor], path: Path) -> None:
    wanted = trunk.model.state_dict()
    for name, value in wanted.items():
        if name not in weights:
            raise PretrainedWeightsError(f"encoder.weights: {path} lacks {name}")
        if weights[name].shape != value.shape:
            shapes = f"{tuple(weights[name].shape)}, expected {tuple(value.shape)}"
            raise PretrainedWeightsError(f"encoder.weights: {name} of {path} is {shapes}")
    trunk.model.load_state_dict({name: weights[name] for name in wanted})
