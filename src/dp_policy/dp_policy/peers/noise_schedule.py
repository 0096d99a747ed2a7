"""The noise schedule of a peer (an object of diffusers) as the section ``diffusion``."""

from __future__ import annotations

from typing import Any

from dp_policy.peers.fields import Fields

#: What diffusers takes where a configuration says nothing.
BETA_START, BETA_END = 0.0001, 0.02
MOST_LEVELS = 10_000
#: What the network predicts, by diffusers' names.
PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v_prediction": "v"}


def read_schedule(fields: Fields, sampler: str, owner: Fields) -> dict[str, Any]:
    """The section ``diffusion`` of a policy that draws chunks as the peer does.

    Args:
        fields: arguments of a DDPMScheduler or DDIMScheduler, without its name.
        sampler: ``ddpm`` or ``ddim``.
        owner: the mapping with ``num_inference_steps``; none: as many as noise levels.

    Raises:
        PeerCheckpointError: a value has no counterpart here.
    """
    levels = fields.number("num_train_timesteps", 1000)
    if not 1 <= levels <= MOST_LEVELS:
        raise fields.refusal("num_train_timesteps", levels, f"1 to {MOST_LEVELS}")
    schedule = fields.require("beta_schedule", ("squaredcos_cap_v2", "linear", "scaled_linear"), "linear")
    for key, default in (("beta_start", BETA_START), ("beta_end", BETA_END)):
        if schedule == "squaredcos_cap_v2":
            fields.pass_over(key)
        else:
            fields.require(key, (default,), default)
    wanted = owner.take("num_inference_steps", None)
    inference_steps = levels if wanted is None else owner.number("num_inference_steps")
    section = {
        "train_steps": levels,
        "schedule": schedule,
        "prediction": PREDICTIONS[fields.require("prediction_type", tuple(PREDICTIONS), "epsilon")],
        "clip_sample": fields.flag("clip_sample", True),
        "sampler": sampler,
        # of the others diffusers' DDIM steps to levels that it does not visit, ours to those that it does
        "spacing": fields.require("timestep_spacing", ("leading",), "leading"),
        "inference_steps": inference_steps,
    }
    fields.require("clip_sample_range", (1.0,), 1.0)
    fields.require("steps_offset", (0,), 0)
    fields.require("thresholding", (False,), False)
    fields.require("trained_betas", (None,), None)
    fields.require("rescale_betas_zero_snr", (False,), False)
    fields.pass_over("dynamic_thresholding_ratio", "sample_max_value")
    if sampler == "ddim":
        fields.require("set_alpha_to_one", (True,), True)
        fields.pass_over("variance_type")  # read only with eta above 0
    else:
        fields.require("variance_type", ("fixed_small",), "fixed_small")
        if inference_steps != levels:
            supported = f"{levels} (DDPM visits every level), or DDIM with any number"
            raise owner.refusal("num_inference_steps", inference_steps, supported)
    return section
