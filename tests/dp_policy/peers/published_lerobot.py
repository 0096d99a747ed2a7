"""LeRobot's DiffusionPolicy in plain torch, and writers of its folders as three generations of releases wrote them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from .published_networks import Unet, keypoints, randomise, resnet18
from .published_sampling import sample

HORIZON, STEPS, HISTORY, LEVELS = 8, 4, 2, 6
SIZES, STEP_FEATURES, KEYPOINTS = (16, 32), 16, 8
MODES = {"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ENV": "MEAN_STD", "ACTION": "MIN_MAX"}
EPSILON = 1e-8


def kind_of(feature: str) -> str:
    if feature == "action":
        return "ACTION"
    return "VISUAL" if "image" in feature else "ENV" if "environment" in feature else "STATE"


@dataclass
class LerobotPolicy:
    """One policy.

    Attributes:
        shapes: of the inputs, in the order of the configuration.
        statistics: per feature ``min, max, mean, std``.
        encoders: one for every camera, or one for all.
    """

    shapes: Mapping[str, tuple[int, ...]]
    action: int
    crop: tuple[int, int] | None
    separate: bool
    with_scale: bool
    norm: str
    sampler: str
    unet: Unet
    encoders: list[nn.Module]
    statistics: dict[str, dict[str, Tensor]]

    @property
    def cameras(self) -> list[str]:
        return [name for name in self.shapes if kind_of(name) == "VISUAL"]

    def config(self) -> dict[str, Any]:
        """What all generations have in common."""
        return {
            "n_obs_steps": HISTORY,
            "horizon": HORIZON,
            "n_action_steps": STEPS,
            "vision_backbone": "resnet18",
            "crop_shape": self.crop and list(self.crop),
            "crop_is_random": True,
            "pretrained_backbone_weights": None,
            "use_group_norm": self.norm == "group",
            "spatial_softmax_num_keypoints": KEYPOINTS,
            "use_separate_rgb_encoder_per_camera": self.separate,
            "down_dims": list(SIZES),
            "kernel_size": 5,
            "n_groups": 8,
            "diffusion_step_embed_dim": STEP_FEATURES,
            "use_film_scale_modulation": self.with_scale,
            "noise_scheduler_type": self.sampler.upper(),
            "num_train_timesteps": LEVELS,
            "beta_schedule": "squaredcos_cap_v2",
            "beta_start": 0.0001,
            "beta_end": 0.02,
            "prediction_type": "epsilon",
            "clip_sample": True,
            "clip_sample_range": 1.0,
            "num_inference_steps": LEVELS // 2 if self.sampler == "ddim" else None,
            "do_mask_loss_for_padding": False,
        }

    def weights(self) -> dict[str, Tensor]:
        state = {f"diffusion.unet.{name}": weight for name, weight in self.unet.state_dict().items()}
        for number, encoder in enumerate(self.encoders):
            place = f"diffusion.rgb_encoder.{number}." if self.separate else "diffusion.rgb_encoder."
            state |= {place + name: weight for name, weight in encoder.state_dict().items()}
            state[f"{place}pool.pos_grid"] = torch.zeros(1, 2)
        return state

    def normalise(self, feature: str, x: Tensor) -> Tensor:
        figures = self.statistics[feature]
        if MODES[kind_of(feature)] == "MEAN_STD":
            return (x - figures["mean"]) / (figures["std"] + EPSILON)
        return (x - figures["min"]) / (figures["max"] - figures["min"] + EPSILON) * 2 - 1

    def predict(self, observation: Mapping[str, Tensor], seed: int) -> Tensor:
        """Images (B, To, 3, H, W) in [0, 1] and vectors (B, To, D), to the actions from the newest frame on."""
        parts = [self.normalise("observation.state", observation["observation.state"])]
        for number, camera in enumerate(self.cameras):
            encoder = self.encoders[number if self.separate else 0]
            pixels = self.normalise(camera, observation[camera])
            parts.append(self._encode(encoder, pixels.flatten(0, 1)).unflatten(0, (-1, HISTORY)))
        parts += [self.normalise(name, observation[name]) for name in self.shapes if kind_of(name) == "ENV"]
        condition = torch.cat(parts, dim=2).flatten(1)
        steps = LEVELS // 2 if self.sampler == "ddim" else LEVELS
        shape = (len(condition), HORIZON, self.action)
        chunk = sample(lambda x, level: self.unet(x, level, condition), shape, LEVELS, steps, self.sampler, seed)
        low, high = (self.statistics["action"][name] for name in ("min", "max"))
        return ((chunk + 1) / 2 * (high - low) + low)[:, HISTORY - 1 :]

    def _encode(self, encoder: nn.Module, image: Tensor) -> Tensor:
        if self.crop:
            top, left = (image.shape[2] - self.crop[0]) // 2, (image.shape[3] - self.crop[1]) // 2
            image = image[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        maps = encoder.get_submodule("pool.nets")(encoder.get_submodule("backbone")(image))
        return functional.relu(encoder.get_submodule("out")(keypoints(maps)))


def lerobot_policy(
    shapes: Mapping[str, tuple[int, ...]],
    action: int = 2,
    crop: tuple[int, int] | None = None,
    separate: bool = False,
    with_scale: bool = True,
    norm: str = "group",
    sampler: str = "ddpm",
) -> LerobotPolicy:
    """A policy with random weights and statistics."""
    cameras = sum(kind_of(name) == "VISUAL" for name in shapes)
    numbers = sum(shape[0] for name, shape in shapes.items() if kind_of(name) != "VISUAL")
    condition = HISTORY * (numbers + cameras * 2 * KEYPOINTS)
    unet = Unet(action, condition, SIZES, STEP_FEATURES, with_scale, style="lerobot")
    encoders: list[nn.Module] = []
    for _ in range((cameras if separate else 1) if cameras else 0):
        encoder = nn.Module()
        encoder.backbone, encoder.pool = resnet18(norm, named=False), nn.Module()
        encoder.pool.nets = maps = nn.Conv2d(512, KEYPOINTS, 1)
        maps.weight.data *= 10  # flat maps would put every key point into the middle of the image
        encoder.out = nn.Linear(2 * KEYPOINTS, 2 * KEYPOINTS)
        encoders.append(encoder)
    for seed, module in enumerate((unet, *encoders)):
        randomise(module, seed)
        module.eval()
    generator = torch.Generator().manual_seed(8)
    statistics = {}
    for name, shape in (*shapes.items(), ("action", (action,))):
        size = (shape[0], 1, 1) if len(shape) == 3 else shape
        draws = [torch.rand(size, generator=generator) for _ in range(4)]
        low = draws[0] * 10 - 5
        figures = {"min": low, "max": low + 20 + 300 * draws[1], "mean": draws[2], "std": 0.1 + draws[3]}
        statistics[name] = figures
    return LerobotPolicy(shapes, action, crop, separate, with_scale, norm, sampler, unet, encoders, statistics)


def write_2024(policy: LerobotPolicy, folder: Path) -> Path:
    """Shapes and modes by feature, statistics beside the weights."""
    modes = {name: MODES[kind_of(name)].lower() for name in policy.shapes}
    config = policy.config() | {
        "input_shapes": {name: list(shape) for name, shape in policy.shapes.items()},
        "output_shapes": {"action": [policy.action]},
        "input_normalization_modes": modes,
        "output_normalization_modes": {"action": MODES["ACTION"].lower()},
    }
    return _write(folder, config, policy.weights() | _buffers(policy))


def write_buffers(policy: LerobotPolicy, folder: Path) -> Path:
    """0.1 to 0.3: features with types, statistics beside the weights."""
    return _write(folder, policy.config() | _features(policy), policy.weights() | _buffers(policy))


def write_processors(policy: LerobotPolicy, folder: Path, **step: Any) -> Path:
    """0.4 and later: statistics in the files of the processors; ``step`` changes the normaliser's entry."""
    config = _features(policy)
    features = {**config["input_features"], **config["output_features"]}
    _write(folder, policy.config() | config, policy.weights())
    flat = {f"{name}.{key}": value for name, one in policy.statistics.items() for key, value in one.items()}
    for side, kind, number in (("pre", "normalizer_processor", 3), ("post", "unnormalizer_processor", 0)):
        name = f"policy_{side}processor"
        state = f"{name}_step_{number}_{kind}.safetensors"
        settings = {"eps": EPSILON, "features": features, "norm_map": MODES}
        normaliser = {"registry_name": kind, "config": settings, "state_file": state} | step
        others = [
            {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
            {"registry_name": "to_batch_processor", "config": {}},
            {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
        ]
        steps = [*others, normaliser] if side == "pre" else [normaliser, others[2]]
        (folder / f"{name}.json").write_text(json.dumps({"name": name, "steps": steps}))
        save_file({key: value.contiguous() for key, value in flat.items()}, folder / state)
    return folder


def _features(policy: LerobotPolicy) -> dict[str, Any]:
    inputs = {name: {"type": kind_of(name), "shape": list(shape)} for name, shape in policy.shapes.items()}
    return {
        "type": "diffusion",
        "device": "cuda",
        "input_features": inputs,
        "output_features": {"action": {"type": "ACTION", "shape": [policy.action]}},
        "normalization_mapping": MODES,
    }


def _buffers(policy: LerobotPolicy) -> dict[str, Tensor]:
    state = {}
    for name, figures in policy.statistics.items():
        names = ("mean", "std") if MODES[kind_of(name)] == "MEAN_STD" else ("min", "max")
        modules = ("normalize_targets", "unnormalize_outputs") if name == "action" else ("normalize_inputs",)
        for module in modules:
            place = f"{module}.buffer_{name.replace('.', '_')}"
            state |= {f"{place}.{key}": figures[key].clone() for key in names}
    return state


def _write(folder: Path, config: dict[str, Any], weights: Mapping[str, Tensor]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: weight.contiguous() for name, weight in weights.items()}, folder / "model.safetensors")
    return folder
