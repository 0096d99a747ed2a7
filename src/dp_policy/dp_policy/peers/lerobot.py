"""Reader of LeRobot DiffusionPolicy folders: ``config.json``, ``model.safetensors`` and, since 0.4, processor files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dp_policy.peers.affine import Affine, image_section
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.fields import Fields
from dp_policy.peers.lerobot_statistics import (
    PREPROCESSOR,
    FeatureStatistics,
    read_buffers,
    read_json,
    read_processors,
    read_safetensors,
)
from dp_policy.peers.networks import lerobot_unet_name, renamed_trunk, resnet_name, resnet_norm, unet_weights
from dp_policy.peers.noise_schedule import read_schedule
from dp_policy.peers.peer_policy import PeerPolicy, build_config
from dp_policy.peers.weights import FrameFeatures, PeerWeights

STATE, ACTION = "observation.state", "action"
ENVIRONMENT_STATE = "observation.environment_state"
RESNETS = ("resnet18", "resnet34")
GROUPS = 8
#: Keys that say how it was trained, where it runs or where it is published.
OTHER_KEYS = (
    "type device use_amp use_peft push_to_hub repo_id private tags license pretrained_path pretrained_revision "
    "drop_n_last_frames crop_is_random pretrained_backbone_weights use_group_norm do_mask_loss_for_padding "
    "optimizer_lr optimizer_betas optimizer_eps optimizer_weight_decay scheduler_name scheduler_warmup_steps "
    "compile_model compile_mode gradient_checkpointing crop_ratio"  # the ratio is read where there is a resize
).split()
#: Push-T's observations by feature and size, in our names.
PUSHT_VECTORS = {(STATE, 2): "agent_position", (ENVIRONMENT_STATE, 16): "vertices"}


@dataclass(frozen=True)
class Features:
    """What goes in and out.

    Attributes:
        images: feature to (channels, height, width), in the order of the file.
        vectors: feature to numbers, the robot's state first.
        action_dim: numbers per action.
        modes: normalisation by feature; empty if processor files say it.
    """

    images: Mapping[str, tuple[int, ...]]
    vectors: Mapping[str, int]
    action_dim: int
    modes: Mapping[str, str]


def read_lerobot(folder: Path, which: str | None = None) -> PeerPolicy:
    """Read a policy folder.

    Args:
        folder: with ``config.json`` and ``model.safetensors``.
        which: must be None or ``model``: there is one set of weights.

    Raises:
        PeerCheckpointError: a file is missing or damaged, or holds what this project cannot express.
    """
    if which not in (None, "model"):
        raise PeerCheckpointError(f"a LeRobot folder has one set of weights (model), no {which} weights")
    fields = Fields(read_json(folder / "config.json"), "config.json")
    fields.require("type", ("diffusion",), "diffusion")
    features = _read_features(fields)
    weights = PeerWeights(read_safetensors(folder / "model.safetensors"))
    if (folder / PREPROCESSOR).is_file():
        inputs, outputs = read_processors(folder)
    else:
        inputs, outputs = read_buffers(weights, features.modes)
    result = _read_policy(folder.resolve().name, fields, features, weights, inputs, outputs)
    weights.finish()
    fields.pass_over(*OTHER_KEYS)
    fields.finish()
    return result


def _read_features(fields: Fields) -> Features:
    if fields.take("input_shapes", None):  # before 0.1
        inputs = fields.section("input_shapes")
        shapes = {key: inputs.numbers(key) for key in inputs.names()}
        kinds = {key: "VISUAL" if key.startswith("observation.image") else _vector_kind(key) for key in shapes}
        action = fields.section("output_shapes").numbers(ACTION)
        sides = [fields.section(f"{side}_normalization_modes", {}) for side in ("input", "output")]
        modes = {key: str(side.take(key)).upper() for side in sides for key in side.names()}
    else:
        inputs, by_type = fields.section("input_features"), fields.section("normalization_mapping", {})
        features = {key: inputs.section(key) for key in inputs.names()}
        shapes = {key: feature.numbers("shape") for key, feature in features.items()}
        kinds = {key: str(feature.take("type")) for key, feature in features.items()}
        action = fields.section("output_features").section(ACTION).numbers("shape")
        modes = {key: str(by_type.take(kind, "IDENTITY")) for key, kind in (*kinds.items(), (ACTION, "ACTION"))}
    images = {key: shape for key, shape in shapes.items() if kinds[key] == "VISUAL"}
    for key, shape in images.items():
        if len(shape) != 3 or shape[0] != 3 or shape != next(iter(images.values())):
            raise inputs.refusal(key, list(shape), "three channels, and the same size for every camera")
    read = [key for key, kind in kinds.items() if key == STATE and kind == "STATE"]
    if not read or len(action) != 1:
        raise inputs.refusal(STATE, shapes.get(STATE), f"features with {STATE}, and an action vector")
    read += [key for key, kind in kinds.items() if kind == "ENV"][:1]
    for key in read:
        if len(shapes[key]) != 1:
            raise inputs.refusal(key, list(shapes[key]), "[numbers] of a vector")
    return Features(images, {key: shapes[key][0] for key in read}, action[0], modes)


def _vector_kind(key: str) -> str:
    return "ENV" if key == ENVIRONMENT_STATE else "STATE"


def _read_policy(
    name: str,
    fields: Fields,
    features: Features,
    weights: PeerWeights,
    inputs: FeatureStatistics,
    outputs: FeatureStatistics,
) -> PeerPolicy:
    history, horizon = fields.number("n_obs_steps"), fields.number("horizon")
    cameras = _camera_names(features)
    encoder, encoder_weights, width = _read_encoder(fields, features, weights, tuple(cameras.values()))
    robot, *environment = features.vectors
    widths = {robot: features.vectors[robot], **dict.fromkeys(cameras, width)}
    widths |= {key: features.vectors[key] for key in environment}
    frame = FrameFeatures(widths, (*cameras, robot, *environment), history)
    fields.require("n_groups", (GROUPS,), GROUPS)
    with_scale = fields.flag("use_film_scale_modulation")
    unet = {
        lerobot_unet_name(key.removeprefix("_orig_mod.")): weight
        for key, weight in weights.under("diffusion.unet.").items()
    }
    sampler = fields.require("noise_scheduler_type", ("DDPM", "DDIM")).lower()
    maps = {key: inputs.normaliser(key, dim) for key, dim in features.vectors.items()}
    images, image_weights = image_section([inputs.normaliser(key, 3)[0] for key in cameras])
    height, image_width = next(iter(features.images.values()))[1:] if cameras else (0, 0)
    state = _pusht_state(features)
    config = build_config(
        {
            "name": name,
            "observation": {
                "cameras": list(cameras.values()),
                "images": bool(cameras),
                "image_height": height,
                "image_width": image_width,
                "history": history,
                "state": state,
                "proprioception_dim": sum(features.vectors.values()),
            },
            "action": {
                "dim": features.action_dim,
                "horizon": horizon,
                "steps": fields.number("n_action_steps"),
                "past": history - 1,
            },
            "encoder": encoder,
            "denoiser": {
                "sizes": list(fields.numbers("down_dims")),
                "kernel": fields.number("kernel_size"),
                "groups": GROUPS,
                "step_features": fields.number("diffusion_step_embed_dim"),
            },
            "diffusion": read_schedule(fields, sampler, fields),
            "normaliser": {"unscaled_columns": [], "images": images},
        }
    )
    result: dict[str, Tensor] = {
        **unet_weights(unet, frame, with_scale),
        **encoder_weights,
        **image_weights,
        **Affine.joined([one for one, _ in maps.values()]).weights("normaliser.proprioception"),
        **outputs.restorer(ACTION, features.action_dim).weights("normaliser.action"),
    }
    return PeerPolicy("LeRobot DiffusionPolicy", config, result, {"weights": "model"}, _notes(maps, with_scale))


def _notes(maps: Mapping[str, tuple[Affine, list[int]]], with_scale: bool) -> tuple[str, ...]:
    notes = [
        f"columns {columns} of {key} never changed in the data; other values of them are not blown up as in the peer"
        for key, (_, columns) in maps.items()
        if columns
    ]
    if not with_scale:
        notes.append("the FiLM blocks only add (use_film_scale_modulation false): their scale is set to 1")
    return tuple(notes)


def _read_encoder(
    fields: Fields, features: Features, weights: PeerWeights, cameras: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Tensor], int]:
    """The section ``encoder``, its weights and the numbers per camera."""
    kind = fields.require("vision_backbone", RESNETS, RESNETS[0])
    keypoints = fields.number("spatial_softmax_num_keypoints", 32)
    separate = fields.flag("use_separate_rgb_encoder_per_camera", False)
    resize, crop = _framing(fields)
    if not cameras:
        return {}, {}, 0
    result: dict[str, Tensor] = {}
    norm, features_out = "group", 2 * keypoints
    for number, camera in enumerate(cameras if separate else ("shared",)):
        source = f"diffusion.rgb_encoder.{number}." if separate else "diffusion.rgb_encoder."
        target = f"encoder.networks.{camera}."
        trunk = renamed_trunk(weights.under(f"{source}backbone."), resnet_name)
        norm = resnet_norm(trunk)
        result |= {f"{target}trunk.{name}": weight for name, weight in trunk.items()}
        for ours, theirs in (("keypoints.maps", "pool.nets"), ("project", "out")):
            result |= {f"{target}{ours}.{key}": w for key, w in weights.under(f"{source}{theirs}.").items()}
    weights.pass_over(r"diffusion\.rgb_encoder\.(\d+\.)?pool\.pos_grid")
    section = {"kind": kind, "shared": not separate, "norm": norm, "resize": resize, "crop": crop}
    section |= {"keypoints": keypoints, "features": features_out, "output_activation": "relu"}
    if resize == list(next(iter(features.images.values()))[1:]):
        section["resize"] = []
    return section, result, features_out


def _framing(fields: Fields) -> tuple[list[int], list[int]]:
    """Sizes that images are resized to and cropped to; empty: not. A crop follows from a resize and its ratio."""
    resize, crop = (
        list(fields.numbers(key)) if fields.take(key, None) else [] for key in ("resize_shape", "crop_shape")
    )
    if not resize:
        return [], crop
    ratio = fields.take("crop_ratio", 1.0)
    return resize, [int(side * ratio) for side in resize] if ratio < 1.0 else []


def _camera_names(features: Features) -> dict[str, str]:
    """Short names of the cameras: ``observation.images.top`` is ``top``."""
    names = {key: key.removeprefix("observation.").removeprefix("images.").replace(".", "_") for key in features.images}
    if len(set(names.values())) < len(names):
        return {key: key.replace(".", "_") for key in names}
    return names


def _pusht_state(features: Features) -> list[str]:
    """Our names of Push-T's vectors, if that is what the features look like."""
    names = [PUSHT_VECTORS.get(item, "") for item in features.vectors.items()]
    images = {key: shape[1:] for key, shape in features.images.items()}
    pusht = features.action_dim == 2 and all(names) and images in ({}, {"observation.image": (96, 96)})
    return names if pusht else []
