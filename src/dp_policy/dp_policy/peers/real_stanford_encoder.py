"""Observation encoders of real-stanford checkpoints: robomimic's (hybrid) and MultiImageObsEncoder (image)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from dp_policy.peers.affine import IMAGENET, Affine, image_section
from dp_policy.peers.fields import Fields
from dp_policy.peers.networks import renamed_trunk, resnet_name, resnet_norm
from dp_policy.peers.weights import PeerWeights

RESNETS = ("resnet18", "resnet34")
CHANNELS = 512


@dataclass(frozen=True)
class ObservationShapes:
    """The section ``shape_meta.obs``.

    Attributes:
        images: camera to (channels, height, width), in the order of the file.
        vectors: name to numbers, in the order of the file.
        action_dim: numbers per action.
        names: all names in the order of the file.
    """

    images: Mapping[str, tuple[int, ...]]
    vectors: Mapping[str, int]
    action_dim: int
    names: tuple[str, ...]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of every camera's images, pixels."""
        return next(iter(self.images.values()))[1:]  # type: ignore[return-value]


def read_shapes(fields: Fields) -> ObservationShapes:
    """Parse ``shape_meta``.

    Raises:
        PeerCheckpointError: an observation is neither an rgb image nor a vector, or the cameras differ in size.
    """
    observations = fields.section("obs")
    images: dict[str, tuple[int, ...]] = {}
    vectors: dict[str, int] = {}
    for name in observations.names():
        one = observations.section(name)
        shape = one.numbers("shape")
        if one.require("type", ("rgb", "low_dim"), "low_dim") == "rgb":
            if len(shape) != 3 or shape[0] != 3 or (images and shape != next(iter(images.values()))):
                raise one.refusal("shape", list(shape), "three channels, and the same size for every camera")
            images[name] = shape
        elif len(shape) != 1:
            raise one.refusal("shape", list(shape), "[numbers] of a vector")
        else:
            vectors[name] = shape[0]
        one.pass_over("horizon")
        one.finish()
    action = fields.section("action")
    shape = action.numbers("shape")
    if len(shape) != 1:
        raise action.refusal("shape", list(shape), "[numbers] of a vector")
    return ObservationShapes(images, vectors, shape[0], observations.names())


@dataclass(frozen=True)
class EncoderImport:
    """An observation encoder in our terms.

    Attributes:
        section: the section ``encoder``.
        weights: by our names.
        widths: numbers per part of a frame, in the order in which the denoiser was trained to read them.
        cameras: in our order.
        vectors: in our order.
        image_map: what the encoder does to normalised images.
        notes: for the user.
    """

    section: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    widths: Mapping[str, int]
    cameras: Sequence[str]
    vectors: Sequence[str]
    image_map: Affine = field(default_factory=lambda: Affine.identity(3))
    notes: tuple[str, ...] = ()


def read_robomimic_encoder(fields: Fields, shapes: ObservationShapes, weights: PeerWeights) -> EncoderImport:
    """The encoder of the hybrid policies: per camera ResNet-18, spatial softmax, linear layer, ReLU.

    Features follow each other as in ``shape_meta``; vectors go in as they are.
    """
    crop = () if fields.take("crop_shape", [76, 76]) is None else fields.numbers("crop_shape")
    if crop:
        fields.require("eval_fixed_crop", (True,), False)  # otherwise robomimic crops at random in deployment too
    fields.pass_over("eval_fixed_crop", "obs_encoder_group_norm")  # the weights say which norm
    result: dict[str, Tensor] = {}
    section: dict[str, Any] = {}
    widths = dict(shapes.vectors)
    for camera in shapes.images:
        source, target = f"obs_encoder.obs_nets.{camera}.nets.", f"encoder.networks.{camera}."
        trunk = renamed_trunk(weights.under(f"{source}0.nets."), resnet_name)
        keypoints, project = weights.under(f"{source}1.nets."), weights.under(f"{source}3.")
        temperature = weights.take(f"{source}1.temperature").item()
        if temperature != 1.0:
            raise fields.refusal("spatial softmax temperature", temperature, "1.0")
        result |= {f"{target}trunk.{name}": weight for name, weight in trunk.items()}
        result |= {f"{target}keypoints.maps.{name}": weight for name, weight in keypoints.items()}
        result |= {f"{target}project.{name}": weight for name, weight in project.items()}
        widths[camera] = project["weight"].shape[0]
        section = {"norm": resnet_norm(trunk), "keypoints": keypoints["weight"].shape[0], "features": widths[camera]}
    weights.pass_over(r"obs_encoder\.obs_nets\.[^.]+\.(backbone|pool)\..*")  # the same modules under other names
    weights.pass_over(r"obs_encoder\.obs_nets\.[^.]+\.nets\.1\.pos_[xy]")
    section |= {"kind": "resnet18", "crop": list(crop), "output_activation": "relu"}
    ordered = {name: widths[name] for name in shapes.names}
    return EncoderImport(section, result, ordered, tuple(shapes.images), tuple(shapes.vectors))


def read_multi_image_encoder(fields: Fields, shapes: ObservationShapes, weights: PeerWeights) -> EncoderImport:
    """MultiImageObsEncoder: ResNet with mean pooling, per camera or shared; names in alphabetical order."""
    fields.require("_target_", ("diffusion_policy.model.vision.multi_image_obs_encoder.MultiImageObsEncoder",))
    fields.pass_over("shape_meta", "use_group_norm")
    model = fields.section("rgb_model")
    model.require("_target_", ("diffusion_policy.model.vision.model_getter.get_resnet",))
    kind = model.require("name", RESNETS)
    model.pass_over("weights")
    model.finish()
    shared = fields.flag("share_rgb_model", False)
    imagenet = fields.flag("imagenet_norm", False)
    resize = _resize(fields, shapes)
    notes: tuple[str, ...] = ()
    crop = _size(fields, "crop_shape")
    if crop and not fields.flag("random_crop", True):
        crop, notes = (), (f"crop_shape {list(crop)} is left out: the peer ignores it with random_crop false",)
    fields.pass_over("random_crop")
    fields.finish()
    cameras, vectors = sorted(shapes.images), sorted(shapes.vectors)
    result: dict[str, Tensor] = {}
    norm = "group"
    for source, target in (("rgb", "shared"),) if shared else ((camera, camera) for camera in cameras):
        trunk = renamed_trunk(weights.under(f"obs_encoder.key_model_map.{source}."))
        norm = resnet_norm(trunk)
        result |= {f"encoder.networks.{target}.trunk.{name}": weight for name, weight in trunk.items()}
    weights.pass_over(r"obs_encoder\._dummy_variable")
    section = {"kind": kind, "shared": shared, "norm": norm, "resize": resize, "crop": list(crop)}
    section |= {"pooling": "mean", "features": 0}
    widths = {camera: CHANNELS for camera in cameras} | {name: shapes.vectors[name] for name in vectors}
    image_map = IMAGENET if imagenet else Affine.identity(3)
    return EncoderImport(section, result, widths, cameras, vectors, image_map, notes)


def _size(fields: Fields, key: str) -> tuple[int, ...]:
    value = fields.take(key, None)
    if isinstance(value, Mapping):
        sizes = [list(size) for size in value.values()]
        if any(size != sizes[0] for size in sizes):
            raise fields.refusal(key, value, "one size for every camera")
        return tuple(sizes[0])
    return () if value is None else fields.numbers(key)


def _resize(fields: Fields, shapes: ObservationShapes) -> list[int]:
    size = _size(fields, "resize_shape")
    if not size or size == shapes.image_size:
        return []
    if any(new < old for new, old in zip(size, shapes.image_size, strict=True)):
        # its torchvision (0.13) shrinks tensors without antialiasing, ours with it
        raise fields.refusal("resize_shape", list(size), f"at least the images' {list(shapes.image_size)}")
    return list(size)


def read_image_maps(maps: Mapping[str, Affine], encoder: EncoderImport) -> tuple[str, dict[str, Tensor]]:
    """``normaliser.images`` and its buffers: the normaliser of each camera, then the encoder's own map."""
    return image_section([maps[camera].then(encoder.image_map) for camera in encoder.cameras])
