from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import EncoderConfig, PolicyConfig
from dp_policy.encoders import CompactEncoder
from dp_policy.policy import ObservationError, VisuomotorPolicy
from dp_policy.resnet import ResNet


def test_resnet_is_resnet18() -> None:
    trunk = ResNet()
    assert sum(p.numel() for p in trunk.parameters()) == 11_176_512  # published size without the classifier
    assert trunk(torch.zeros(1, 3, 96, 64)).shape == (1, 512, 3, 2)


def test_compact_starts_as_its_stem() -> None:
    """Residual blocks start as the identity, so removing them changes nothing at first."""
    encoder = CompactEncoder(EncoderConfig(kind="compact"))
    images = torch.randn(2, 3, 32, 32)
    before = encoder(images)
    encoder.blocks = torch.nn.Sequential()
    torch.testing.assert_close(encoder(images), before)


def test_frames_are_encoded_alone(small_config: Callable[..., PolicyConfig]) -> None:
    """A window's features are its frames' features side by side, so that frames can be cached."""
    policy = VisuomotorPolicy(small_config(observation={"history": 2}))
    images = {"front": torch.randint(0, 255, (3, 2, 32, 32, 3), dtype=torch.uint8)}
    state = torch.randn(3, 2, 10)
    whole = policy.encode(images, state)
    newest = policy.encode_frame({"front": images["front"][:, 1]}, state[:, 1])
    torch.testing.assert_close(whole[:, newest.shape[1] :], newest)


@pytest.mark.parametrize(
    ("images", "state", "words"),
    [
        ({"wrist": (1, 1, 32, 32, 3)}, (1, 1, 10), "needs camera 'front'; given: wrist"),
        ({"front": (1, 1, 16, 32, 3)}, (1, 1, 10), "images of 'front'"),
        ({"front": (1, 1, 32, 32, 3)}, (1, 2, 10), "proprioception must be"),
    ],
)
def test_wrong_observations_are_refused(
    small_config: Callable[..., PolicyConfig], images: dict, state: tuple, words: str
) -> None:
    policy = VisuomotorPolicy(small_config())
    tensors = {name: torch.zeros(shape, dtype=torch.uint8) for name, shape in images.items()}
    with pytest.raises(ObservationError, match=words):
        policy.encode(tensors, torch.zeros(state))
