"""Whole policies of real-stanford/diffusion_policy in plain torch: configuration, state dict and ``predict_action``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .published_networks import Transformer, Unet, keypoints, randomise, resnet18
from .published_sampling import sample

HORIZON, STEPS, HISTORY = 8, 4, 2
LEVELS = 6
#: The centre of the images that the networks see; more than 32 pixels, so that key points have somewhere to go.
IMAGE, CROP = (64, 72), (slice(7, 57), slice(3, 69))
CROP_SHAPE = [50, 66]
SIZES, STEP_FEATURES = (16, 32), 16
PACKAGE = "diffusion_policy.policy"


def scheduler(sampler: str = "ddpm", levels: int = LEVELS) -> dict[str, Any]:
    """``cfg.policy.noise_scheduler`` as the published files have it."""
    one = {
        "_target_": f"diffusers.schedulers.scheduling_{sampler}.{sampler.upper()}Scheduler",
        "num_train_timesteps": levels,
        "beta_start": 0.0001,
        "beta_end": 0.02,
        "beta_schedule": "squaredcos_cap_v2",
        "clip_sample": True,
        "prediction_type": "epsilon",
    }
    extra = {"variance_type": "fixed_small"} if sampler == "ddpm" else {"set_alpha_to_one": True, "steps_offset": 0}
    return {**one, **extra}


@dataclass
class Normalisers:
    """``LinearNormalizer``: per name ``x * scale + offset``."""

    maps: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, name: str, dim: int, generator: torch.Generator) -> None:
        low = torch.rand(dim, generator=generator) * 10 - 5
        scale = 2 / (1 + 100 * torch.rand(dim, generator=generator))
        self.maps[name] = (scale, -1 - scale * low)

    def __call__(self, name: str, x: Tensor) -> Tensor:
        scale, offset = self.maps[name]
        return x * scale + offset

    def undo(self, name: str, x: Tensor) -> Tensor:
        scale, offset = self.maps[name]
        return (x - offset) / scale

    def state(self) -> dict[str, Tensor]:
        place = "normalizer.params_dict."
        state = {}
        for name, (scale, offset) in self.maps.items():
            state[f"{place}{name}.scale"], state[f"{place}{name}.offset"] = scale, offset
            for figure in ("min", "max", "mean", "std"):
                state[f"{place}{name}.input_stats.{figure}"] = torch.zeros(len(scale))
        return state


@dataclass
class LowdimPolicy:
    """DiffusionUnetLowdimPolicy or DiffusionTransformerLowdimPolicy."""

    network: nn.Module
    cfg: dict[str, Any]
    normalisers: Normalisers
    start: int
    action: int

    def state(self) -> dict[str, Tensor]:
        model = {f"model.{name}": weight for name, weight in self.network.state_dict().items()}
        return {
            "_dummy_variable": torch.zeros(0),
            "mask_generator._dummy_variable": torch.zeros(0),
            **model,
            **self.normalisers.state(),
        }

    def predict(self, observation: Tensor, seed: int) -> Tensor:
        """(B, To, D) to the actions from the newest frame's time on."""
        condition = self.normalisers("obs", observation).flatten(1)
        return predict_from(self, condition, seed)


def predict_from(policy: Any, condition: Tensor, seed: int) -> Tensor:
    settings = policy.cfg["policy"]
    schedule = settings["noise_scheduler"]
    chunk = sample(
        lambda x, steps: policy.network(x, steps, condition),
        (len(condition), HORIZON, policy.action),
        schedule["num_train_timesteps"],
        settings["num_inference_steps"],
        "ddim" if "DDIM" in schedule["_target_"] else "ddpm",
        seed,
    )
    return policy.normalisers.undo("action", chunk)[:, policy.start :]


def lowdim_unet(
    obs: int = 20, action: int = 2, with_scale: bool = True, sampler: str = "ddpm", from_newest: bool = True
) -> LowdimPolicy:
    """A U-Net policy on Push-T's key points."""
    network = Unet(action, obs * HISTORY, SIZES, STEP_FEATURES, with_scale)
    model = {
        "_target_": "diffusion_policy.model.diffusion.conditional_unet1d.ConditionalUnet1D",
        "input_dim": action,
        "local_cond_dim": None,
        "global_cond_dim": obs * HISTORY,
        "diffusion_step_embed_dim": STEP_FEATURES,
        "down_dims": list(SIZES),
        "kernel_size": 5,
        "n_groups": 8,
        "cond_predict_scale": with_scale,
    }
    policy = _common("diffusion_unet_lowdim_policy.DiffusionUnetLowdimPolicy", sampler)
    policy |= {"model": model, "obs_dim": obs, "action_dim": action, "pred_action_steps_only": False}
    policy |= {"obs_as_local_cond": False, "obs_as_global_cond": True, "oa_step_convention": from_newest}
    return _lowdim(network, policy, obs, action, HISTORY - 1 if from_newest else HISTORY)


def lowdim_transformer(obs: int = 20, action: int = 2) -> LowdimPolicy:
    """A transformer policy on Push-T's key points."""
    network = Transformer(action, HORIZON, obs, HISTORY, width=16, layers=2)
    model = {
        "_target_": "diffusion_policy.model.diffusion.transformer_for_diffusion.TransformerForDiffusion",
        "input_dim": action,
        "output_dim": action,
        "horizon": HORIZON,
        "n_obs_steps": HISTORY,
        "cond_dim": obs,
        "n_layer": 2,
        "n_head": 4,
        "n_emb": 16,
        "p_drop_emb": 0.0,
        "p_drop_attn": 0.01,
        "causal_attn": True,
        "time_as_cond": True,
        "obs_as_cond": True,
        "n_cond_layers": 0,
    }
    policy = _common("diffusion_transformer_lowdim_policy.DiffusionTransformerLowdimPolicy", "ddpm")
    policy |= {"model": model, "obs_dim": obs, "action_dim": action, "obs_as_cond": True}
    return _lowdim(network, {**policy, "pred_action_steps_only": False}, obs, action, HISTORY - 1)


def _common(target: str, sampler: str) -> dict[str, Any]:
    return {
        "_target_": f"{PACKAGE}.{target}",
        "noise_scheduler": scheduler(sampler),
        "horizon": HORIZON,
        "n_action_steps": STEPS,
        "n_obs_steps": HISTORY,
        "num_inference_steps": LEVELS if sampler == "ddpm" else LEVELS // 2,
    }


def _lowdim(network: nn.Module, policy: dict[str, Any], obs: int, action: int, start: int) -> LowdimPolicy:
    randomise(network, seed=3)
    normalisers, generator = Normalisers(), torch.Generator().manual_seed(4)
    for name, dim in (("obs", obs), ("action", action)):
        normalisers.add(name, dim, generator)
    return LowdimPolicy(network.eval(), {"task_name": "pusht_lowdim", "policy": policy}, normalisers, start, action)


@dataclass
class ImagePolicy:
    """DiffusionUnetHybridImagePolicy (``hybrid``) or DiffusionUnetImagePolicy, with DDPM."""

    network: nn.Module
    cfg: dict[str, Any]
    normalisers: Normalisers
    trunks: Mapping[str, nn.Module]
    heads: Mapping[str, tuple[nn.Conv2d, nn.Linear]]
    hybrid: bool
    start: int = HISTORY - 1
    action: int = 3

    def state(self) -> dict[str, Tensor]:
        state = {"_dummy_variable": torch.zeros(0), "mask_generator._dummy_variable": torch.zeros(0)}
        for camera, trunk in self.trunks.items():
            weights = trunk.state_dict()
            if not self.hybrid:
                state |= {f"obs_encoder.key_model_map.{camera}.{name}": w for name, w in weights.items()}
                continue
            place = f"obs_encoder.obs_nets.{camera}."
            maps, linear = self.heads[camera]
            pool = {"temperature": torch.ones(1), "pos_x": torch.zeros(1, 1), "pos_y": torch.zeros(1, 1)}
            pool |= {f"nets.{name}": weight for name, weight in maps.state_dict().items()}
            for trunk_name, pool_name in (("backbone.nets.", "pool."), ("nets.0.nets.", "nets.1.")):
                state |= {f"{place}{trunk_name}{name}": weight for name, weight in weights.items()}
                state |= {f"{place}{pool_name}{name}": weight for name, weight in pool.items()}
            state |= {f"{place}nets.3.{name}": weight for name, weight in linear.state_dict().items()}
        if not self.hybrid:
            state["obs_encoder._dummy_variable"] = torch.zeros(0)
        state |= {f"model.{name}": weight for name, weight in self.network.state_dict().items()}
        return state | self.normalisers.state()

    def predict(self, observation: Mapping[str, Tensor], seed: int) -> Tensor:
        """Images (B, To, 3, H, W) in [0, 1] and vectors (B, To, D) by name, to the actions from the newest frame on."""
        shapes = self.cfg["policy"]["shape_meta"]["obs"]
        frames = {name: self.normalisers(name, value).flatten(0, 1) for name, value in observation.items()
                  if name not in self.cameras}  # fmt: skip
        for camera in self.cameras:
            scale, offset = self.normalisers.maps[camera]
            frames[camera] = self._image(camera, observation[camera].flatten(0, 1) * scale + offset)
        if self.hybrid:
            order = list(shapes)
        else:
            order = sorted(self.cameras) + sorted(set(shapes) - set(self.cameras))
        condition = torch.cat([frames[name] for name in order], dim=1)
        return predict_from(self, condition.view(-1, HISTORY * condition.shape[1]), seed)

    @property
    def cameras(self) -> list[str]:
        shapes = self.cfg["policy"]["shape_meta"]["obs"]
        return [name for name, one in shapes.items() if one.get("type") == "rgb"]

    def _image(self, camera: str, image: Tensor) -> Tensor:
        image = image[:, :, *CROP]
        if self.hybrid:
            maps, linear = self.heads[camera]
            return functional.relu(linear(keypoints(maps(self.trunks[camera](image)))))
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        image = (image - mean[:, None, None]) / std[:, None, None]
        trunk = self.trunks.get(camera) or self.trunks["rgb"]
        return trunk(image).mean(dim=(2, 3))


def hybrid_unet(order: Mapping[str, int]) -> ImagePolicy:
    """A hybrid policy.

    Args:
        order: size of each vector, 0 for a camera, in the order of the configuration and so of the features.
    """
    cameras = tuple(name for name, size in order.items() if not size)
    trunks = {camera: resnet18(named=False) for camera in cameras}
    heads = {camera: (nn.Conv2d(512, 32, 1), nn.Linear(64, 64)) for camera in cameras}
    for maps, _ in heads.values():
        maps.weight.data *= 10  # flat maps would put every key point into the middle of the image
    policy = _common("diffusion_unet_hybrid_image_policy.DiffusionUnetHybridImagePolicy", "ddpm")
    policy |= {"crop_shape": CROP_SHAPE, "obs_encoder_group_norm": True, "eval_fixed_crop": True}
    return _image(policy, order, trunks, heads, 64)


def hybrid_transformer(order: Mapping[str, int]) -> ImagePolicy:
    """The same with a transformer."""
    policy = hybrid_unet(order)
    settings = policy.cfg["policy"]
    for key in (
        "obs_as_global_cond down_dims kernel_size n_groups cond_predict_scale diffusion_step_embed_dim"
    ).split():
        del settings[key]
    module, name = "diffusion_transformer_hybrid_image_policy", "DiffusionTransformerHybridImagePolicy"
    settings |= {"_target_": f"{PACKAGE}.{module}.{name}", "obs_as_cond": True, "time_as_cond": True}
    settings |= {"n_layer": 2, "n_head": 4, "n_emb": 16, "n_cond_layers": 0, "causal_attn": True}
    settings |= {"p_drop_emb": 0.0, "p_drop_attn": 0.3, "pred_action_steps_only": False}
    features = sum(size or 64 for size in order.values())
    policy.network = Transformer(policy.action, HORIZON, features, HISTORY, width=16, layers=2)
    randomise(policy.network, seed=3)
    policy.network.eval()
    return policy


def multi_image_unet(shared: bool) -> ImagePolicy:
    """A policy with MultiImageObsEncoder on two cameras; a shared network keeps its BatchNorm, as in the peer."""
    names = ("rgb",) if shared else ("wrist", "front")
    trunks = {name: resnet18("batch" if shared else "group") for name in names}
    policy = _common("diffusion_unet_image_policy.DiffusionUnetImagePolicy", "ddpm")
    policy["obs_encoder"] = {
        "_target_": "diffusion_policy.model.vision.multi_image_obs_encoder.MultiImageObsEncoder",
        "rgb_model": {
            "_target_": "diffusion_policy.model.vision.model_getter.get_resnet",
            "name": "resnet18",
            "weights": None,
        },
        "resize_shape": None,
        "crop_shape": CROP_SHAPE,
        "random_crop": True,
        "use_group_norm": True,
        "share_rgb_model": shared,
        "imagenet_norm": True,
    }
    return _image(policy, {"speed": 3, "wrist": 0, "arm": 2, "front": 0}, trunks, {}, 512)


def _image(
    policy: dict[str, Any],
    order: Mapping[str, int],
    trunks: Mapping[str, nn.Module],
    heads: Mapping[str, tuple[nn.Conv2d, nn.Linear]],
    image_features: int,
) -> ImagePolicy:
    action = 3
    shapes = {
        name: {"shape": [size], "type": "low_dim"} if size else {"shape": [3, *IMAGE], "type": "rgb"}
        for name, size in order.items()
    }
    shape_meta = {"obs": shapes, "action": {"shape": [action]}}
    if "obs_encoder" in policy:
        policy["obs_encoder"]["shape_meta"] = shape_meta
    features = sum(size or image_features for size in order.values())
    network = Unet(action, HISTORY * features, SIZES, STEP_FEATURES)
    policy |= {"shape_meta": shape_meta, "obs_as_global_cond": True, "diffusion_step_embed_dim": STEP_FEATURES}
    policy |= {"down_dims": list(SIZES), "kernel_size": 5, "n_groups": 8, "cond_predict_scale": True}
    normalisers, generator = Normalisers(), torch.Generator().manual_seed(4)
    for name, dim in (*order.items(), ("action", action)):
        normalisers.add(name, dim, generator)
        if not dim:
            normalisers.maps[name] = (torch.tensor([2.0]), torch.tensor([-1.0]))
    for seed, module in enumerate((network, *trunks.values())):
        randomise(module, seed)
        module.eval()
    cfg = {"task_name": "lift_image", "policy": policy}
    return ImagePolicy(network, cfg, normalisers, trunks, heads, hybrid="obs_encoder" not in policy)
