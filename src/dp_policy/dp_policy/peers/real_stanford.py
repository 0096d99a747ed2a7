"""Reader of real-stanford/diffusion_policy checkpoints (``.ckpt``).

The file holds ``cfg`` (the resolved Hydra configuration), ``state_dicts`` (model, ema_model, optimizer) and
``pickles`` (bytes, never opened). The policy's class is named in ``cfg.policy._target_``; its arguments beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dp_policy.peers.affine import Affine
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.fields import Fields
from dp_policy.peers.networks import transformer_weights, unet_weights
from dp_policy.peers.noise_schedule import read_schedule
from dp_policy.peers.peer_policy import PeerPolicy, build_config
from dp_policy.peers.real_stanford_encoder import (
    EncoderImport,
    ObservationShapes,
    read_image_maps,
    read_multi_image_encoder,
    read_robomimic_encoder,
    read_shapes,
)
from dp_policy.peers.restricted_pickle import StoredTensor, plain_settings
from dp_policy.peers.torch_archive import TorchArchive
from dp_policy.peers.weights import FrameFeatures, PeerWeights

SAMPLERS = {
    "diffusers.schedulers.scheduling_ddpm.DDPMScheduler": "ddpm",
    "diffusers.schedulers.scheduling_ddim.DDIMScheduler": "ddim",
}
UNET = "diffusion_policy.model.diffusion.conditional_unet1d.ConditionalUnet1D"
TRANSFORMER = "diffusion_policy.model.diffusion.transformer_for_diffusion.TransformerForDiffusion"
#: The last block of the published U-Nets has this many groups, whatever ``n_groups`` says.
GROUPS = 8
#: More optimiser steps than anyone takes: a figure beyond is none.
MOST_STEPS = 1 << 53
#: Push-T's observations by the names and sizes that the peer has, in our names.
PUSHT_STATES = {("obs", 20): ("keypoints", "agent_position"), ("agent_pos", 2): ("agent_position",)}


def read_real_stanford(path: Path, which: str | None = None) -> PeerPolicy:
    """Read a checkpoint.

    Args:
        path: the ``.ckpt`` file.
        which: ``ema`` or ``model``; None: the averaged weights if there are any.

    Raises:
        PeerCheckpointError: the file is damaged, asks for code, or holds what this project cannot express.
    """
    with TorchArchive(path) as archive:
        content = archive.content
        states = content.get("state_dicts") if isinstance(content, dict) else None
        if not isinstance(states, dict) or "cfg" not in content:
            raise PeerCheckpointError(f"{path.name} is no diffusion_policy checkpoint: it has no cfg and state_dicts")
        cfg = _settings(content["cfg"])
        which = which or ("ema" if "ema_model" in states else "model")
        key = {"ema": "ema_model", "model": "model"}[which]
        if key not in states:
            raise PeerCheckpointError(f"{path.name} has no {which} weights; it has: {', '.join(map(str, states))}")
        weights = PeerWeights(archive.load_all(states[key], key))
        provenance = {"weights": which, "steps": _optimiser_steps(archive, states.get("optimizer"))}
    policy = Fields(cfg["policy"], "cfg.policy")
    target = policy.require("_target_", tuple(READERS))
    task = str(cfg.get("task_name") or "")
    result = READERS[target](policy, weights, task)
    policy.finish()
    weights.pass_over(r"(.*\.)?_dummy_variable")
    weights.finish()
    return PeerPolicy(result.kind, result.config, result.weights, provenance, result.notes)


def _settings(cfg: Any) -> dict[str, Any]:
    """The parts of the configuration that say what the policy is."""
    top = getattr(cfg, "content", cfg)
    if not isinstance(top, dict) or "policy" not in top:
        raise PeerCheckpointError("cfg.policy is missing")
    wanted = ("policy", "task_name")
    return {key: plain_settings(top[key], f"cfg.{key}") for key in wanted if key in top}


def _optimiser_steps(archive: TorchArchive, optimiser: Any) -> int | None:
    state = optimiser.get("state") if isinstance(optimiser, dict) else None
    first = next(iter(state.values()), None) if isinstance(state, dict) else None
    step = first.get("step") if isinstance(first, dict) else None
    if isinstance(step, StoredTensor) and step.size in ((), (1,)):
        step = archive.load(step).item()
    return int(step) if isinstance(step, (int, float)) and 0 <= step < MOST_STEPS else None


def _read_lowdim(policy: Fields, weights: PeerWeights, task: str, network: str) -> PeerPolicy:
    action_dim, obs_dim = policy.number("action_dim"), policy.number("obs_dim")
    model = policy.section("model")
    model.require("_target_", (network,))
    model.pass_over("input_dim", "output_dim", "global_cond_dim", "cond_dim", "horizon", "n_obs_steps")
    shapes = ObservationShapes({}, {"obs": obs_dim}, action_dim, ("obs",))
    encoder = EncoderImport({}, {}, {"obs": obs_dim}, (), ("obs",))
    if network == UNET:
        policy.require("obs_as_global_cond", (True,), False)
        policy.require("obs_as_local_cond", (False,), False)
        model.require("local_cond_dim", (None,), None)
    else:
        policy.require("obs_as_cond", (True,), False)
    config = _Reading(policy, weights, task, shapes, encoder, model)
    result = config.unet() if network == UNET else config.transformer()
    model.finish()
    return result


def _read_image(
    policy: Fields, weights: PeerWeights, task: str, read: Callable[..., EncoderImport], network: str
) -> PeerPolicy:
    shapes = read_shapes(policy.section("shape_meta"))
    if not shapes.images:
        raise policy.refusal("shape_meta", list(shapes.names), "at least one rgb observation")
    encoder = read(policy.section("obs_encoder") if read is read_multi_image_encoder else policy, shapes, weights)
    policy.require("obs_as_global_cond" if network == UNET else "obs_as_cond", (True,), True)
    reading = _Reading(policy, weights, task, shapes, encoder, policy)
    return reading.unet() if network == UNET else reading.transformer()


class _Reading:
    """What low-dim and image policies have in common.

    Args:
        policy: ``cfg.policy``.
        weights: all of the file.
        task: ``cfg.task_name``.
        shapes: of observations and actions.
        encoder: of the observation.
        network: the mapping with the denoiser's arguments.
    """

    def __init__(
        self,
        policy: Fields,
        weights: PeerWeights,
        task: str,
        shapes: ObservationShapes,
        encoder: EncoderImport,
        network: Fields,
    ) -> None:
        self.policy, self.weights, self.task = policy, weights, task
        self.shapes, self.encoder, self.network = shapes, encoder, network
        self.history = policy.number("n_obs_steps")

    def unet(self) -> PeerPolicy:
        """A policy whose denoiser is the conditional U-Net."""
        network = self.network
        network.require("n_groups", (GROUPS,), GROUPS)
        section = {
            "kind": "unet1d",
            "sizes": list(network.numbers("down_dims")),
            "kernel": network.number("kernel_size", 3 if network is not self.policy else 5),
            "groups": GROUPS,
            "step_features": network.number("diffusion_step_embed_dim", 256),
        }
        with_scale = network.flag("cond_predict_scale", network is self.policy)
        weights = unet_weights(self.weights.under("model."), self._features(), with_scale)
        notes = () if with_scale else ("the FiLM blocks only add (cond_predict_scale false): their scale is set to 1",)
        if network is self.policy:
            return self._policy(section, weights, self.history - 1, False, notes)
        only_steps = self.policy.flag("pred_action_steps_only", False)
        past = self.history - self.policy.flag("oa_step_convention", False)
        return self._policy(section, weights, 0 if only_steps else past, only_steps, notes)

    def transformer(self) -> PeerPolicy:
        """A policy whose denoiser is the diffusion transformer."""
        network = self.network
        network.require("time_as_cond", (True,), True)
        network.pass_over("obs_as_cond")  # the network has it whenever the policy has it
        self.policy.require("pred_action_steps_only", (False,), False)
        section = {
            "layers": network.number("n_layer"),
            "heads": network.number("n_head"),
            "width": network.number("n_emb"),
            "condition_layers": network.number("n_cond_layers", 0, lowest=0),
            "embedding_dropout": network.take("p_drop_emb", 0.0),
            "attention_dropout": network.take("p_drop_attn", 0.0),
            "causal": network.flag("causal_attn", network is self.policy),
        }
        constants = ("mask", "memory_mask", "_dummy_variable")
        weights = {name: w for name, w in self.weights.under("model.").items() if name not in constants}
        weights = transformer_weights(weights, self._features())
        return self._policy({"kind": "transformer", "transformer": section}, weights, self.history - 1, False, ())

    def _features(self) -> FrameFeatures:
        return FrameFeatures(self.encoder.widths, (*self.encoder.cameras, *self.encoder.vectors), self.history)

    def _policy(
        self, denoiser: dict[str, Any], network: Mapping[str, Any], past: int, only_steps: bool, notes: tuple[str, ...]
    ) -> PeerPolicy:
        steps, horizon = self.policy.number("n_action_steps"), self.policy.number("horizon")
        schedule = self.policy.section("noise_scheduler")
        sampler = SAMPLERS[schedule.require("_target_", tuple(SAMPLERS))]
        diffusion = read_schedule(schedule, sampler, self.policy)
        schedule.finish()
        encoder, shapes = self.encoder, self.shapes
        dim = sum(shapes.vectors.values())
        state = self._pusht_state()
        height, width = shapes.image_size if shapes.images else (0, 0)
        images, image_weights = read_image_maps(self._maps(dict.fromkeys(encoder.cameras, 3)), encoder)
        kind = self.policy.take("_target_").rsplit(".", 1)[1]
        config = build_config(
            {
                "name": f"{self.task or 'imported'}_{kind}",
                "observation": {
                    "cameras": list(encoder.cameras),
                    "images": bool(encoder.cameras),
                    "image_height": height,
                    "image_width": width,
                    "history": self.history,
                    "state": list(state),
                    "proprioception_dim": dim,
                },
                "action": {
                    "dim": shapes.action_dim,
                    "horizon": steps if only_steps else horizon,
                    "steps": steps,
                    "past": past,
                },
                "encoder": encoder.section,
                "denoiser": denoiser,
                "diffusion": diffusion,
                "normaliser": {"unscaled_columns": [], "images": images},
            }
        )
        vectors = self._maps({name: shapes.vectors[name] for name in encoder.vectors})
        action = self._maps({"action": shapes.action_dim})["action"]
        weights = {
            **network,
            **encoder.weights,
            **image_weights,
            **Affine.joined(list(vectors.values())).weights("normaliser.proprioception"),
            **action.weights("normaliser.action"),
        }
        self.weights.pass_over(r"normalizer\.params_dict\..*\.input_stats\..*")
        return PeerPolicy(f"real-stanford {kind}", config, weights, {}, (*encoder.notes, *notes))

    def _maps(self, dims: Mapping[str, int]) -> dict[str, Affine]:
        place = "normalizer.params_dict."
        return {
            name: Affine.from_product(
                self.weights.take(f"{place}{name}.scale"), self.weights.take(f"{place}{name}.offset"), name, dim
            )
            for name, dim in dims.items()
        }

    def _pusht_state(self) -> tuple[str, ...]:
        vectors = tuple(self.shapes.vectors.items())
        if not self.task.startswith("pusht") or len(vectors) != 1:
            return ()
        return PUSHT_STATES.get(vectors[0], ())


def _lowdim(network: str) -> Callable[[Fields, PeerWeights, str], PeerPolicy]:
    return lambda policy, weights, task: _read_lowdim(policy, weights, task, network)


def _image(read: Callable[..., EncoderImport], network: str) -> Callable[[Fields, PeerWeights, str], PeerPolicy]:
    return lambda policy, weights, task: _read_image(policy, weights, task, read, network)


#: Policy classes that can be read.
READERS: dict[str, Callable[[Fields, PeerWeights, str], PeerPolicy]] = {
    f"diffusion_policy.policy.{module}.{name}": reader
    for module, name, reader in (
        ("diffusion_unet_lowdim_policy", "DiffusionUnetLowdimPolicy", _lowdim(UNET)),
        ("diffusion_transformer_lowdim_policy", "DiffusionTransformerLowdimPolicy", _lowdim(TRANSFORMER)),
        ("diffusion_unet_hybrid_image_policy", "DiffusionUnetHybridImagePolicy", _image(read_robomimic_encoder, UNET)),
        (
            "diffusion_transformer_hybrid_image_policy",
            "DiffusionTransformerHybridImagePolicy",
            _image(read_robomimic_encoder, TRANSFORMER),
        ),
        ("diffusion_unet_image_policy", "DiffusionUnetImagePolicy", _image(read_multi_image_encoder, UNET)),
    )
}
