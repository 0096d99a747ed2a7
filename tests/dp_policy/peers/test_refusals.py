"""What a policy here cannot express is refused by key, value and what is supported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.importing import read_peer

from .checkpoint_files import write_real_stanford
from .published_policies import lowdim_transformer, lowdim_unet


def refusal(folder: Path, cfg: dict[str, Any], state: dict[str, Any]) -> str:
    path = write_real_stanford(folder / "a.ckpt", cfg, {"model": state})
    with pytest.raises(PeerCheckpointError) as refused:
        read_peer(path)
    return str(refused.value)


def changed(cfg: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with one dotted key set."""
    first, _, rest = key.partition(".")
    return {**cfg, first: changed(cfg[first], rest, value) if rest else value}


@pytest.mark.parametrize(
    ("key", "value", "supported"),
    [
        ("policy._target_", "diffusion_policy.policy.bet_lowdim_policy.BETLowdimPolicy", "DiffusionUnetLowdimPolicy"),
        ("policy.obs_as_global_cond", False, "True"),
        ("policy.obs_as_local_cond", True, "False"),
        ("policy.model.local_cond_dim", 20, "None"),
        ("policy.model.n_groups", 4, "8"),
        ("policy.noise_scheduler._target_", "diffusers.EulerScheduler", "DDIMScheduler"),
        ("policy.noise_scheduler.variance_type", "learned", "'fixed_small'"),
        ("policy.noise_scheduler.beta_schedule", "sigmoid", "'squaredcos_cap_v2'"),
        ("policy.noise_scheduler.prediction_type", "score", "'epsilon', 'sample', 'v_prediction'"),
        ("policy.noise_scheduler.timestep_spacing", "trailing", "'leading'"),
        ("policy.noise_scheduler.thresholding", True, "False"),
        ("policy.num_inference_steps", 3, "6 (DDPM visits every level)"),
        ("policy.eta", 0.5, "only"),
        ("policy.horizon", "sixteen", "a whole number"),
        ("policy.n_obs_steps", True, "a whole number"),
    ],
)
def test_values_without_a_counterpart(tmp_path: Path, key: str, value: Any, supported: str) -> None:
    peer = lowdim_unet()
    text = refusal(tmp_path, changed(peer.cfg, key, value), peer.state())
    assert f"cfg.{key} = {value!r} cannot be imported" in text
    assert supported in text.split("supported:")[1]


def test_linear_schedule_with_other_ends(tmp_path: Path) -> None:
    peer = lowdim_unet()
    cfg = changed(peer.cfg, "policy.noise_scheduler.beta_schedule", "linear")
    text = refusal(tmp_path, changed(cfg, "policy.noise_scheduler.beta_end", 0.03), peer.state())
    assert "cfg.policy.noise_scheduler.beta_end = 0.03 cannot be imported; supported: 0.02" in text


def test_transformer_without_the_step_as_a_condition(tmp_path: Path) -> None:
    peer = lowdim_transformer()
    text = refusal(tmp_path, changed(peer.cfg, "policy.model.time_as_cond", False), peer.state())
    assert "cfg.policy.model.time_as_cond = False cannot be imported; supported: True" in text


def test_open_interpolations_are_named(tmp_path: Path) -> None:
    peer = lowdim_unet()
    text = refusal(tmp_path, changed(peer.cfg, "policy.horizon", "${horizon}"), peer.state())
    assert "cfg.policy.horizon = '${horizon}' is open" in text


def test_missing_keys_are_named(tmp_path: Path) -> None:
    peer = lowdim_unet()
    del peer.cfg["policy"]["horizon"]
    assert "cfg.policy.horizon is missing" in refusal(tmp_path, peer.cfg, peer.state())


def test_horizon_that_the_network_cannot_halve(tmp_path: Path) -> None:
    peer = lowdim_unet()
    text = refusal(tmp_path, changed(peer.cfg, "policy.horizon", 7), peer.state())
    assert "action.horizon = 7 is not valid" in text


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: state.pop("model.mid_modules.0.blocks.0.block.0.bias"), "1 missing, 0 spare"),
        (lambda state: state.update({"model.extra": torch.ones(1)}), "0 missing, 1 spare"),
        (lambda state: state.update({"critic.weight": torch.ones(1)}), "1 weights have no place"),
        (lambda state: state.pop("normalizer.params_dict.obs.scale"), "normalizer.params_dict.obs.scale is missing"),
        (
            lambda state: state.update({"normalizer.params_dict.obs.scale": torch.ones(3)}),
            "normaliser of obs has",
        ),
        (
            lambda state: state.update({"normalizer.params_dict.action.scale": torch.tensor([1.0, float("nan")])}),
            "normaliser of action was never fitted",
        ),
        (
            lambda state: state["model.final_conv.1.bias"].fill_(float("inf")),
            "final_conv.1.bias is not finite",
        ),
        (lambda state: state.update({"model.mid_modules": 3}), "'model.mid_modules' is not a tensor"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: Any, text: str) -> None:
    peer = lowdim_unet()
    state = {name: weight.clone() for name, weight in peer.state().items()}
    change(state)
    assert text in refusal(tmp_path, peer.cfg, state)


def test_averaged_weights_that_are_not_there(tmp_path: Path) -> None:
    peer = lowdim_unet()
    path = write_real_stanford(tmp_path / "a.ckpt", peer.cfg, {"model": peer.state()})
    with pytest.raises(PeerCheckpointError, match="no ema weights; it has: model"):
        read_peer(path, "ema")
