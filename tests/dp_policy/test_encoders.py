from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import EncoderConfig, PolicyConfig, PolicyConfigError
from dp_policy.encoders import CompactEncoder, build_image_network
from dp_policy.policy import Batch, ObservationError, VisuomotorPolicy


def test_compact_starts_as_its_stem() -> None:
    """Residual blocks start as the identity, so removing them changes nothing at first."""
    encoder = CompactEncoder(EncoderConfig(kind="compact"))
    images = torch.randn(2, 3, 32, 32)
    before = encoder(images)
    encoder.blocks = torch.nn.Sequential()
    torch.testing.assert_close(encoder(images), before)


def test_compact_needs_whole_blocks(small_config: Callable[..., PolicyConfig]) -> None:
    with pytest.raises(PolicyConfigError, match="images of 32x30 pixels do not divide into the blocks of 4x4"):
        VisuomotorPolicy(small_config(observation={"image_width": 30}))


def test_frames_are_encoded_alone(small_config: Callable[..., PolicyConfig]) -> None:
    """A window's features are its frames' features side by side, so that frames can be cached."""
    policy = VisuomotorPolicy(small_config(observation={"history": 2}))
    images = {"front": torch.randint(0, 255, (3, 2, 32, 32, 3), dtype=torch.uint8)}
    state = torch.randn(3, 2, 10)
    whole = policy.encode(images, state)
    newest = policy.encode_frame({"front": images["front"][:, 1]}, state[:, 1])
    torch.testing.assert_close(whole[:, newest.shape[1] :], newest)


@pytest.mark.parametrize(
    ("encoder", "per_camera"),
    [
        ({"kind": "compact", "width": 8, "keypoints": 4, "features": 0}, 2 * 4 + 8),
        ({"kind": "compact", "width": 8, "features": 0, "pooling": "mean"}, 8),
        ({"kind": "resnet18", "keypoints": 5, "features": 0}, 2 * 5),
        ({"kind": "resnet18", "features": 0, "pooling": "mean"}, 512),
        ({"kind": "resnet18", "features": 7, "pooling": "mean"}, 7),
    ],
)
def test_features_per_frame(small_config: Callable[..., PolicyConfig], encoder: dict, per_camera: int) -> None:
    config = small_config(observation={"cameras": ["front", "wrist"], "proprioception_dim": 3}, encoder=encoder)
    policy = VisuomotorPolicy(config)
    frames = {name: torch.zeros(2, 32, 32, 3, dtype=torch.uint8) for name in ("front", "wrist")}
    features = policy.encode_frame(frames, torch.zeros(2, 3))
    assert features.shape == (2, policy.encoder.frame_features) == (2, 2 * per_camera + 3)


def test_resnet_encoder_by_hand() -> None:
    """Trunk, then maps, points, linear layer and activation; against LeRobot's order of x and y."""
    torch.manual_seed(0)
    encoder = build_image_network(
        EncoderConfig(kind="resnet18", keypoints=3, features=5, output_activation="relu"), (64, 96)
    )
    images = torch.randn(2, 3, 64, 96)
    maps = encoder.trunk(images)
    heat = torch.softmax(encoder.keypoints.maps(maps).flatten(2), dim=-1)
    x = torch.tensor([-1.0, 0.0, 1.0]).repeat(2)
    y = torch.tensor([-1.0, 1.0]).repeat_interleave(3)
    points = torch.stack(((heat * x).sum(-1), (heat * y).sum(-1)), dim=-1).flatten(1)
    expected = (points @ encoder.project.weight.T + encoder.project.bias).clamp_min(0)
    torch.testing.assert_close(encoder(images), expected, atol=1e-5, rtol=1e-5)
    assert 0 < int((expected == 0).sum()) < expected.numel()


@pytest.mark.parametrize("shared", [True, False])
def test_cameras_share_weights_or_do_not(small_config: Callable[..., PolicyConfig], shared: bool) -> None:
    config = small_config(observation={"cameras": ["front", "wrist"]}, encoder={"shared": shared})
    policy = VisuomotorPolicy(config)
    picture = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    features = policy.encode_frame({"front": picture, "wrist": picture}, torch.zeros(1, 10))
    front, wrist = features[:, :8], features[:, 8:16]
    assert torch.equal(front, wrist) == shared
    assert set(policy.encoder.networks) == ({"shared"} if shared else {"front", "wrist"})


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_numbers_only(small_config: Callable[..., PolicyConfig], precision: torch.dtype) -> None:
    """Without cameras the features are the normalised numbers, and the head passes them in its own precision."""
    observation = {"cameras": [], "images": False, "proprioception_dim": 4, "history": 2}
    policy = VisuomotorPolicy(small_config(observation=observation)).set_precision(precision)
    policy.normaliser.proprioception.offset.fill_(1.0)
    state = torch.randn(3, 2, 4)
    features = policy.encode({}, state)
    torch.testing.assert_close(features, (state - 1.0).flatten(1))
    assert policy.encoder.frame_features == 4
    assert policy.head.dtype == precision
    batch = Batch({}, state, torch.randn(3, 16, 10), torch.ones(3, 16))
    loss = policy.loss(batch, 2, torch.Generator().manual_seed(0))
    loss.backward()
    assert bool(torch.isfinite(loss))
    assert policy.plan(features, generator=torch.Generator().manual_seed(0)).shape == (3, 16, 10)


def test_a_blind_policy_ignores_the_encoder(small_config: Callable[..., PolicyConfig]) -> None:
    config = small_config(observation={"cameras": [], "images": False}, encoder={"shared": True, "crop": [84, 84]})
    assert not list(VisuomotorPolicy(config).encoder.parameters())


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
