"""The peers' own code, where it is installed: it writes a checkpoint and predicts, and so do we."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.normaliser import VectorNormaliser
from dp_policy.peers.importing import read_peer
from torch import Tensor

SEED, TOLERANCE = 5, 1e-4
WHY = "the peer's own code is not installed; test_real_stanford and test_lerobot compare with references instead"
SCHEDULE = {
    "_target_": "diffusers.schedulers.scheduling_ddpm.DDPMScheduler",
    "num_train_timesteps": 10,
    "beta_schedule": "squaredcos_cap_v2",
    "variance_type": "fixed_small",
    "clip_sample": True,
    "prediction_type": "epsilon",
}
COMMON = {"horizon": 16, "n_action_steps": 8, "n_obs_steps": 2, "num_inference_steps": 10, "noise_scheduler": SCHEDULE}
UNET = {"down_dims": [16, 32], "diffusion_step_embed_dim": 16, "kernel_size": 5, "cond_predict_scale": True}


def assert_same(actions: Tensor, expected: Tensor, normaliser: VectorNormaliser) -> None:
    assert actions.shape == expected.shape
    assert (normaliser.normalise(actions) - normaliser.normalise(expected)).abs().max() < TOLERANCE


def save_real_stanford(settings: dict[str, Any], data: dict[str, Tensor], path: Path) -> Any:
    """Build the policy that the settings name, fit its normaliser, save it as its workspace does; returns it."""
    dill = pytest.importorskip("dill", reason=WHY)
    omegaconf = pytest.importorskip("omegaconf", reason=WHY)
    hydra = pytest.importorskip("hydra.utils", reason=WHY)
    pytest.importorskip("diffusion_policy.policy.diffusion_unet_lowdim_policy", reason=WHY)
    from diffusion_policy.common.normalize_util import get_image_range_normalizer
    from diffusion_policy.model.common.normalizer import LinearNormalizer

    cfg = omegaconf.OmegaConf.create({"task_name": "test", "policy": settings})
    torch.manual_seed(0)
    policy = hydra.instantiate(cfg.policy)
    normaliser = LinearNormalizer()
    normaliser.fit({name: values for name, values in data.items() if values.dim() == 2})
    for name, values in data.items():
        if values.dim() > 2:
            normaliser[name] = get_image_range_normalizer()
    policy.set_normalizer(normaliser)
    state = policy.state_dict()
    payload = {"cfg": cfg, "state_dicts": {"model": state, "ema_model": copy.deepcopy(state)}}
    torch.save({**payload, "pickles": {"epoch": dill.dumps(3)}}, path, pickle_module=dill)
    return policy.eval()


def test_real_stanford_low_dimensional(tmp_path: Path) -> None:
    model = {"_target_": "diffusion_policy.model.diffusion.conditional_unet1d.ConditionalUnet1D", "input_dim": 2}
    settings = COMMON | {
        "_target_": "diffusion_policy.policy.diffusion_unet_lowdim_policy.DiffusionUnetLowdimPolicy",
        "model": {**model, **UNET, "global_cond_dim": 10},
        "obs_dim": 5,
        "action_dim": 2,
        "obs_as_global_cond": True,
        "oa_step_convention": True,
    }
    data = {"obs": torch.rand(50, 5) * 9, "action": torch.rand(50, 2) * 500}
    theirs = save_real_stanford(settings, data, tmp_path / "a.ckpt")
    ours = read_peer(tmp_path / "a.ckpt").policy
    observation = torch.rand(3, 2, 5) * 9
    torch.manual_seed(SEED)
    with torch.no_grad():
        expected = theirs.predict_action({"obs": observation})["action_pred"][:, 1:]
    actions = ours.plan(ours.encode({}, observation), generator=torch.Generator().manual_seed(SEED))
    assert_same(actions, expected, ours.normaliser.action)


def test_real_stanford_hybrid(tmp_path: Path) -> None:
    pytest.importorskip("robomimic", reason=WHY)
    obs = {"agent_pos": {"shape": [2], "type": "low_dim"}, "image": {"shape": [3, 72, 80], "type": "rgb"}}
    settings = COMMON | {
        "_target_": "diffusion_policy.policy.diffusion_unet_hybrid_image_policy.DiffusionUnetHybridImagePolicy",
        "shape_meta": {"obs": obs, "action": {"shape": [2]}},
        **UNET,
        "crop_shape": [65, 70],
        "obs_encoder_group_norm": True,
        "eval_fixed_crop": True,
    }
    data = {"agent_pos": torch.rand(50, 2), "action": torch.rand(50, 2), "image": torch.rand(2, 3, 4, 4)}
    theirs = save_real_stanford(settings, data, tmp_path / "a.ckpt")
    ours = read_peer(tmp_path / "a.ckpt").policy
    pixels = torch.randint(0, 256, (2, 2, 72, 80, 3), dtype=torch.uint8)
    position = torch.rand(2, 2, 2)
    torch.manual_seed(SEED)
    with torch.no_grad():
        image = pixels.permute(0, 1, 4, 2, 3) / 255
        expected = theirs.predict_action({"agent_pos": position, "image": image})["action_pred"][:, 1:]
    features = ours.encode({"image": pixels}, position)
    assert_same(ours.plan(features, generator=torch.Generator().manual_seed(SEED)), expected, ours.normaliser.action)


def test_lerobot(tmp_path: Path) -> None:
    modeling = pytest.importorskip("lerobot.policies.diffusion.modeling_diffusion", reason=WHY)
    types = pytest.importorskip("lerobot.configs.types", reason=WHY)
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    def feature(kind: str, size: int) -> Any:
        return types.PolicyFeature(type=getattr(types.FeatureType, kind), shape=(size,))

    config = DiffusionConfig(
        input_features={"observation.environment_state": feature("ENV", 6), "observation.state": feature("STATE", 3)},
        output_features={"action": feature("ACTION", 2)},
        down_dims=(16, 32),
        diffusion_step_embed_dim=16,
        num_train_timesteps=10,
        horizon=16,
        n_action_steps=8,
        crop_shape=None,
        device="cpu",
    )
    figures = {
        name: {"min": torch.zeros(n), "max": torch.ones(n) * 9, "mean": torch.ones(n), "std": torch.ones(n)}
        for name, n in (("observation.environment_state", 6), ("observation.state", 3), ("action", 2))
    }
    torch.manual_seed(0)
    try:
        from lerobot.policies.diffusion.processor_diffusion import make_diffusion_pre_post_processors
    except ImportError:  # before 0.4
        theirs = modeling.DiffusionPolicy(config, figures)
        normalise, restore = theirs.normalize_inputs, lambda x: theirs.unnormalize_outputs({"action": x})["action"]
    else:
        theirs = modeling.DiffusionPolicy(config)
        normalise, restore = make_diffusion_pre_post_processors(config, figures)
        normalise.save_pretrained(tmp_path / "theirs")
        restore.save_pretrained(tmp_path / "theirs")
    theirs.save_pretrained(tmp_path / "theirs")
    theirs.eval()
    ours = read_peer(tmp_path / "theirs").policy
    batch = {"observation.environment_state": torch.rand(3, 2, 6), "observation.state": torch.rand(3, 2, 3)}
    with torch.no_grad():
        inside = {name: value for name, value in normalise(dict(batch)).items() if name in batch}
        condition = theirs.diffusion._prepare_global_conditioning(inside)
        generator = torch.Generator().manual_seed(SEED)
        chunk = theirs.diffusion.conditional_sample(3, global_cond=condition, generator=generator)
        expected = restore(chunk.flatten(0, 1)).view(chunk.shape)[:, 1:]
    proprioception = torch.cat((batch["observation.state"], batch["observation.environment_state"]), dim=-1)
    features = ours.encode({}, proprioception)
    assert_same(ours.plan(features, generator=torch.Generator().manual_seed(SEED)), expected, ours.normaliser.action)
