"""Every way to run an image network gives what the plain network gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import VisuomotorPolicy
from dp_policy.runtime.candidate import Candidate, encoder_candidates, with_parts
from dp_policy.runtime.trial import make_trial
from dp_policy.runtime.unavailable import RuntimeUnavailableError

CANDIDATES = encoder_candidates()
RESNET = {"kind": "resnet18", "keypoints": 8, "features": 16}
#: Networks and images: sizes that divide, and others whose every stage is odd somewhere.
NETWORKS: dict[str, tuple[dict, dict]] = {
    "resnet18": (RESNET, {"image_height": 96, "image_width": 64}),
    "resnet18, odd sizes": (RESNET, {"image_height": 77, "image_width": 109}),
    "resnet34, crop, one network for both": (
        {**RESNET, "kind": "resnet34", "crop": [50, 61], "shared": True},
        {"image_height": 60, "image_width": 70, "cameras": ["front", "wrist"]},
    ),
    "frozen batch norm, mean": (
        {**RESNET, "norm": "frozen_batch", "pooling": "mean"},
        {"image_height": 64, "image_width": 64},
    ),
    "compact, resized": ({"kind": "compact", "resize": [32, 48]}, {"image_height": 64, "image_width": 96}),
}


def build_policy(config: Callable[..., PolicyConfig], network: str, images: str = "signed") -> VisuomotorPolicy:
    torch.manual_seed(2)
    encoder, observation = NETWORKS[network]
    policy = VisuomotorPolicy(config(encoder=encoder, observation=observation, normaliser={"images": images}))
    for name, value in policy.encoder.named_parameters():
        if "bn" in name or "downsample.1" in name:  # fresh norms are all 1 and 0
            torch.nn.init.normal_(value, mean=float(name.endswith("weight")), std=0.2)
        elif "blocks" in name:
            torch.nn.init.normal_(value, std=0.05)
    for name, value in policy.encoder.named_buffers():
        if name.endswith("running_var"):
            value.uniform_(0.5, 2.0)
    return policy.eval().requires_grad_(False).set_precision(torch.float32)


def with_encoder(candidate: Candidate, policy: VisuomotorPolicy) -> VisuomotorPolicy:
    try:
        return with_parts(policy, encoder=candidate.build(policy))
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("images", ["signed", "imagenet"])
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
@torch.inference_mode()
def test_features_agree(
    candidate: Candidate, network: str, images: str, small_config: Callable[..., PolicyConfig]
) -> None:
    policy = build_policy(small_config, network, images)
    fast, trial = with_encoder(candidate, policy), make_trial(policy)
    other = make_trial(policy, seed=5)
    for camera in policy.config.observation.cameras:
        frames = torch.cat((trial.images[camera], other.images[camera]))[:, 0]
        expected, result = (each.encode_images(camera, frames) for each in (policy, fast))
        assert result.dtype == torch.float32 and result.shape == expected.shape
        spread = float((expected[0] - expected[1]).abs().max())
        assert spread > 0.02  # the two images are told apart
        torch.testing.assert_close(result, expected, atol=max(0.1 * spread, 0.01), rtol=0.0)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
@torch.inference_mode()
def test_numbers_beside_the_images_stay_exact(candidate: Candidate, small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config, "resnet18")
    fast = with_encoder(candidate, policy)
    images, state = make_trial(policy).images["front"][:, 0], torch.full((1, 10), 0.123456)
    expected, result = (each.encode_frame({"front": images}, state) for each in (policy, fast))
    torch.testing.assert_close(result[:, -10:], expected[:, -10:], atol=0.0, rtol=0.0)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
@torch.inference_mode()
def test_equal_frames_have_equal_features(candidate: Candidate, small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config, "resnet18, odd sizes")
    fast = with_encoder(candidate, policy)
    one, other = (make_trial(policy, seed).images["front"][:, 0] for seed in (1, 2))
    first = fast.encode_images("front", one)
    fast.encode_images("front", other)
    torch.testing.assert_close(fast.encode_images("front", one), first, atol=0.0, rtol=0.0)


def test_compiled_kernels_refuse_other_networks_by_name(small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config, "compact, resized")
    candidate = next(item for item in CANDIDATES if item.name == "native-bf16")
    try:
        candidate.build(build_policy(small_config, "resnet18"))
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    with pytest.raises(RuntimeUnavailableError, match="made for ResNets, this is CompactEncoder"):
        candidate.build(policy)
