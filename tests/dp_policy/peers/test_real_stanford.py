"""Checkpoints of real-stanford/diffusion_policy give the same actions here, to 1e-4 of the normalised range."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.checkpoint import load_checkpoint
from dp_policy.normaliser import VectorNormaliser
from dp_policy.peers.importing import import_peer, read_peer
from torch import Tensor

from .checkpoint_files import write_real_stanford
from .published_policies import (
    HISTORY,
    IMAGE,
    ImagePolicy,
    LowdimPolicy,
    hybrid_transformer,
    hybrid_unet,
    lowdim_transformer,
    lowdim_unet,
)
from .published_policies import multi_image_unet as image_unet

SEED = 11
TOLERANCE = 1e-4


def spoiled(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight + 1 if weight.is_floating_point() else weight for name, weight in state.items()}


def imported(folder: Path, peer: LowdimPolicy | ImagePolicy) -> Any:
    """Write the peer's file (other weights beside the averaged ones), import it, and load what was written."""
    states = {"model": spoiled(peer.state()), "ema_model": peer.state()}
    path = write_real_stanford(folder / "epoch=0100.ckpt", peer.cfg, states)
    import_peer(path, folder / "ours")
    return load_checkpoint(folder / "ours")


def assert_same(actions: Tensor, expected: Tensor, normaliser: VectorNormaliser) -> None:
    """Equal to the tolerance, and not so because everything is clipped."""
    assert actions.shape == expected.shape
    actions, expected = normaliser.normalise(actions), normaliser.normalise(expected)
    assert (actions - expected).abs().max() < TOLERANCE
    assert (expected.abs() < 0.99).float().mean() > 0.3


@pytest.mark.parametrize(
    ("build", "past", "state"),
    [
        (lowdim_unet, 1, ("keypoints", "agent_position")),
        (lambda: lowdim_unet(obs=7, action=3, with_scale=False, sampler="ddim"), 1, ()),
        (lambda: lowdim_unet(obs=5, from_newest=False), 2, ()),
        (lowdim_transformer, 1, ("keypoints", "agent_position")),
    ],
    ids=["unet", "bias only, DDIM", "actions after the newest frame", "transformer"],
)
def test_policies_on_numbers(
    tmp_path: Path, build: Callable[[], LowdimPolicy], past: int, state: tuple[str, ...]
) -> None:
    peer = build()
    ours = imported(tmp_path, peer)
    dim = peer.cfg["policy"]["obs_dim"]
    observation = torch.randn(3, HISTORY, dim, generator=torch.Generator().manual_seed(1)) * 20
    with torch.no_grad():
        expected = peer.predict(observation, SEED)
    features = ours.policy.encode({}, observation)
    actions = ours.policy.plan(features, generator=torch.Generator().manual_seed(SEED))
    assert_same(actions, expected, ours.policy.normaliser.action)
    assert ours.config.action.past == past
    assert ours.config.observation.state == state
    assert ours.provenance["steps"] == 1234
    assert ours.provenance["weights"] == "ema"
    assert ours.provenance["source"] == "epoch=0100.ckpt"


@pytest.mark.parametrize(
    "build",
    [
        lambda: hybrid_unet({"agent_pos": 2, "image": 0}),
        lambda: hybrid_unet({"side": 0, "z": 2, "front": 0, "a": 1}),
        lambda: hybrid_transformer({"agent_pos": 2, "image": 0}),
        lambda: image_unet(False),
        lambda: image_unet(True),
    ],
    ids=["hybrid", "hybrid, two cameras", "hybrid transformer", "image", "image, shared network"],
)
def test_policies_on_images(tmp_path: Path, build: Callable[[], ImagePolicy]) -> None:
    peer = build()
    ours = imported(tmp_path, peer)
    generator = torch.Generator().manual_seed(2)
    shapes = peer.cfg["policy"]["shape_meta"]["obs"]
    images = {
        camera: torch.randint(0, 256, (2, HISTORY, *IMAGE, 3), generator=generator, dtype=torch.uint8)
        for camera in peer.cameras
    }
    vectors = {
        name: torch.randn(2, HISTORY, one["shape"][0], generator=generator) * 20
        for name, one in shapes.items()
        if name not in images
    }
    theirs = {camera: pixels.permute(0, 1, 4, 2, 3) / 255 for camera, pixels in images.items()}
    with torch.no_grad():
        expected = peer.predict({**vectors, **theirs}, SEED)
    order = list(vectors) if peer.hybrid else sorted(vectors)
    features = ours.policy.encode(images, torch.cat([vectors[name] for name in order], dim=-1))
    actions = ours.policy.plan(features, generator=torch.Generator().manual_seed(SEED))
    assert_same(actions, expected, ours.policy.normaliser.action)
    assert (ours.config.observation.image_height, ours.config.observation.image_width) == IMAGE


def test_last_weights_are_read_when_asked_for_and_when_there_are_no_others(tmp_path: Path) -> None:
    peer = lowdim_unet()
    both = write_real_stanford(tmp_path / "both.ckpt", peer.cfg, {"model": peer.state(), "ema_model": peer.state()})
    last = write_real_stanford(tmp_path / "last.ckpt", peer.cfg, {"model": peer.state()})
    assert read_peer(both).provenance["weights"] == "ema"
    assert read_peer(both, "model").provenance["weights"] == "model"
    assert read_peer(last).provenance["weights"] == "model"
