"""The published way to run: the same chunks as the policy, and the sampler of diffusers as it comes."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler
from dp_policy.checkpoint import LoadedPolicy
from dp_policy.policy import build_policy
from dp_policy.reference import PublishedDdim, reference_policy
from dp_policy.sampling_config import DiffusionConfig
from dp_policy.unet1d import ConditionalUnet1d
from torch import nn

UNET = {"sizes": [16, 32], "step_features": 16}
RESNET = {"kind": "resnet18", "keypoints": 4, "features": 8, "crop_ratio": 0.9}
TWO_FRAMES = {"history": 2}


def loaded_policy(config, seed=0):
    torch.manual_seed(seed)
    policy = build_policy(config)
    for parameter in policy.parameters():  # no bias, scale or zero start that hides a mistake
        if parameter.dim() == 1 or not parameter.abs().sum():
            parameter.data += 0.2 * torch.randn(parameter.shape)
    policy.normaliser.action.scale.fill_(0.5)
    policy.normaliser.action.offset.fill_(0.1)
    policy.eval().requires_grad_(False)
    return LoadedPolicy(policy, config, {}, "test", {}, Path())


def chunk_of(policy, config, seed, batch=1, previous=None):
    generator = torch.Generator().manual_seed(seed)
    seen = config.observation
    shape = (batch, seen.history, seen.image_height, seen.image_width, 3)
    images = {name: torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8) for name in seen.cameras}
    vectors = torch.randn((batch, seen.history, seen.proprioception_dim), generator=generator)
    with torch.inference_mode():
        return policy.plan(policy.encode(images, vectors), previous, 0, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "changes",
    [
        {"diffusion": {"inference_steps": 16, "prediction": "sample"}},  # trailing at 16: not diffusers' own levels
        {"diffusion": {"inference_steps": 8, "spacing": "leading"}, "denoiser": {"activation": "silu"}},
        {"diffusion": {"inference_steps": 4, "prediction": "v"}, "encoder": RESNET, "observation": TWO_FRAMES},
        {"method": "flow", "flow": {"inference_steps": 4}, "observation": TWO_FRAMES},
        {"method": "two_step"},
        {"action": {"prefix": 4}},
        {"denoiser": {"kind": "transformer", "transformer": {"layers": 1, "width": 16}}},
    ],
    ids=["trailing", "leading", "resnet", "flow", "two_step", "prefix", "transformer"],
)
def test_same_noise_gives_the_chunk_of_the_policy(small_config, changes):
    sections = {name: values for name, values in changes.items() if name != "method"}
    config = dataclasses.replace(small_config(**sections), method=changes.get("method", "diffusion"))
    loaded = loaded_policy(config)
    reference = reference_policy(loaded)
    for seed in range(2):
        ours, published = (chunk_of(one.policy, config, seed) for one in (loaded, reference))
        assert (ours - published).abs().max() < 1e-5
        assert ours.std() > 0.05


def test_it_also_chooses_among_candidates(small_config):
    config = small_config(diffusion={"candidates": 4, "prediction": "sample"})
    loaded = loaded_policy(config)
    plan = torch.zeros(2, 8, 10)
    chunks = [chunk_of(one.policy, config, 1, 2, plan) for one in (loaded, reference_policy(loaded))]
    assert (chunks[0] - chunks[1]).abs().max() < 1e-5


def test_nothing_of_ours_is_left_in_it(small_config):
    loaded = loaded_policy(small_config())
    policy = reference_policy(loaded).policy
    convolutions = [one for one in policy.head.modules() if isinstance(one, nn.Conv1d)]
    assert {type(one) for one in convolutions} == {nn.Conv1d}
    assert len(convolutions) == 8 * 2 + 3 + 1 + 2  # blocks, their 1x1 where channels change, one stride, the last two
    assert not any(isinstance(one, ConditionalUnet1d) for one in policy.modules())
    assert all(weight.is_contiguous() for weight in policy.parameters())
    assert list(policy.state_dict()) == list(loaded.policy.state_dict())
    assert loaded.policy.head.denoiser is not policy.head.denoiser  # and ours is still there


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 16), ("leading", 3), ("trailing", 4), ("trailing", 25)])
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_the_loop_is_that_of_diffusers_where_both_visit_the_same_levels(spacing, steps, prediction):
    stock = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2", timestep_spacing=spacing, prediction_type=prediction)
    stock.set_timesteps(steps)
    name = prediction.removesuffix("_prediction")
    ours = PublishedDdim(DiffusionConfig(inference_steps=steps, spacing=spacing, prediction=name))
    assert ours.timesteps.tolist() == stock.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    chunk = torch.randn((1, 16, 10), generator=generator)
    expected = chunk.clone()
    for index, level in enumerate(stock.timesteps):
        predicted = torch.randn(chunk.shape, generator=generator)
        chunk = ours.step(predicted, index, chunk, None)
        expected = stock.step(predicted, level, expected).prev_sample
        assert torch.equal(chunk, expected)


def test_where_diffusers_would_leave_the_levels_the_next_visited_one_follows():
    """Trailing, 16 of 100: gaps of 6 and 7, where diffusers' step is 6; equation 12 of arXiv 2010.02502 by hand."""
    sampler = PublishedDdim(DiffusionConfig(inference_steps=16, clip_sample=False))
    levels = sampler.timesteps.tolist()
    assert levels == [99, 93, 87, 80, 74, 68, 61, 55, 49, 43, 37, 30, 24, 18, 11, 5]

    def kept(level):
        def cosine(time):
            return math.cos((time + 0.008) / 1.008 * math.pi / 2) ** 2

        shares = [max(cosine((t + 1) / 100) / cosine(t / 100), 0.001) for t in range(level + 1)]
        return math.prod(shares)

    chunk, noise = torch.full((1, 1, 1), 0.3), torch.full((1, 1, 1), -0.7)
    for index in (2, 13):  # both of the longer gap
        abar, after = kept(levels[index]), kept(levels[index + 1])
        clean = (0.3 + 0.7 * math.sqrt(1 - abar)) / math.sqrt(abar)
        expected = math.sqrt(after) * clean - math.sqrt(1 - after) * 0.7
        assert float(sampler.step(noise, index, chunk, None)) == pytest.approx(expected, abs=1e-5)
