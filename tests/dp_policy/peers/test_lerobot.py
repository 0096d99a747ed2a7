"""Folders of LeRobot's DiffusionPolicy give the same actions here, to 1e-4 of the normalised range."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.checkpoint import load_checkpoint
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.importing import import_peer, read_peer

from .published_lerobot import HISTORY, lerobot_policy, write_2024, write_buffers, write_processors

SEED = 12
TOLERANCE = 1e-4
PUSHT = {"observation.image": (3, 96, 96), "observation.state": (2,)}
KEYPOINTS = {"observation.environment_state": (16,), "observation.state": (2,)}
#: The state lies between the cameras, and the environment's state comes last: unlike the order of the features.
ROBOT = {
    "observation.images.top": (3, 64, 72),
    "observation.state": (5,),
    "observation.images.wrist": (3, 64, 72),
    "observation.environment_state": (4,),
}


@pytest.mark.parametrize(
    ("write", "shapes", "options", "state"),
    [
        (write_2024, PUSHT, {"crop": (84, 84)}, ("agent_position",)),
        (write_buffers, KEYPOINTS, {}, ("agent_position", "vertices")),
        (write_processors, KEYPOINTS, {"sampler": "ddim"}, ("agent_position", "vertices")),
        (write_buffers, ROBOT, {"separate": True, "with_scale": False, "crop": (50, 66)}, ()),
        (write_processors, ROBOT, {"norm": "batch", "action": 3}, ()),
    ],
    ids=["2024, Push-T image", "buffers", "processors, DDIM", "an encoder per camera", "shared, BatchNorm"],
)
def test_folders_of_every_generation(
    tmp_path: Path,
    write: Callable[..., Path],
    shapes: dict[str, tuple[int, ...]],
    options: dict[str, Any],
    state: tuple[str, ...],
) -> None:
    peer = lerobot_policy(shapes, **options)
    import_peer(write(peer, tmp_path / "theirs"), tmp_path / "ours")
    ours = load_checkpoint(tmp_path / "ours")
    generator = torch.Generator().manual_seed(3)
    images, theirs = {}, {}
    for name, shape in shapes.items():
        if len(shape) == 3:
            pixels = torch.randint(0, 256, (2, HISTORY, *shape[1:], 3), generator=generator, dtype=torch.uint8)
            images[name.rsplit(".", 1)[1]] = pixels
            theirs[name] = pixels.permute(0, 1, 4, 2, 3) / 255
        else:
            theirs[name] = torch.randn(2, HISTORY, *shape, generator=generator)
    with torch.no_grad():
        expected = peer.predict(theirs, SEED)
    vectors = [theirs[name] for name in ("observation.state", "observation.environment_state") if name in shapes]
    features = ours.policy.encode(images, torch.cat(vectors, dim=-1))
    actions = ours.policy.plan(features, generator=torch.Generator().manual_seed(SEED))
    normaliser = ours.policy.normaliser.action
    assert (normaliser.normalise(actions) - normaliser.normalise(expected)).abs().max() < TOLERANCE
    assert (normaliser.normalise(expected).abs() < 0.99).float().mean() > 0.3
    assert ours.config.observation.state == state
    assert ours.config.action.past == HISTORY - 1
    assert ours.provenance["kind"] == "LeRobot DiffusionPolicy"


def test_a_column_that_never_changed_becomes_minus_one_and_is_not_blown_up(tmp_path: Path) -> None:
    peer = lerobot_policy(KEYPOINTS)
    peer.statistics["observation.state"]["max"][1] = peer.statistics["observation.state"]["min"][1]
    constant = peer.statistics["observation.state"]["min"][1].item()
    for write in (write_buffers, write_processors):
        imported = read_peer(write(peer, tmp_path / write.__name__))
        columns = imported.policy.normaliser.proprioception.normalise(torch.full((18,), constant))
        assert columns[1].item() == pytest.approx(-1.0, abs=1e-5)
        nearby = imported.policy.normaliser.proprioception.normalise(torch.full((18,), constant + 0.01))
        assert nearby[1].item() == pytest.approx(-0.99, abs=1e-5)
        assert "columns [1] of observation.state never changed" in imported.peer.notes[0]


def test_features_without_statistics_or_without_a_mode_stay_as_they_are(tmp_path: Path) -> None:
    peer = lerobot_policy(KEYPOINTS)
    del peer.statistics["observation.environment_state"]
    imported = read_peer(write_processors(peer, tmp_path / "theirs"))
    values = torch.arange(18.0)
    torch.testing.assert_close(imported.policy.normaliser.proprioception.normalise(values)[2:], values[2:])


def test_compiled_network_is_read_like_another(tmp_path: Path) -> None:
    peer = lerobot_policy(KEYPOINTS)
    plain = read_peer(write_buffers(peer, tmp_path / "plain"))
    original = peer.weights()
    peer.weights = lambda: {  # type: ignore[method-assign]
        name.replace("diffusion.unet.", "diffusion.unet._orig_mod."): weight for name, weight in original.items()
    }
    compiled = read_peer(write_buffers(peer, tmp_path / "compiled"))
    assert all(torch.equal(a, b) for a, b in zip(plain.policy.parameters(), compiled.policy.parameters(), strict=True))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"type": "act"}, ("config.json.type = 'act'", "'diffusion'")),
        ({"vision_backbone": "resnet50"}, ("vision_backbone = 'resnet50'", "'resnet18', 'resnet34'")),
        ({"n_groups": 4}, ("n_groups = 4", "supported: 8")),
        ({"clip_sample_range": 2.0}, ("clip_sample_range = 2.0", "1.0")),
        ({"num_inference_steps": 3}, ("num_inference_steps = 3", "DDIM")),
        ({"noise_scheduler_type": "EDM"}, ("noise_scheduler_type = 'EDM'", "'DDPM', 'DDIM'")),
        ({"horizon": 6, "down_dims": [16, 32, 64]}, ("action.horizon = 6", "multiple of 4")),
        ({"use_relative_actions": True}, ("use_relative_actions = True", "supported: only")),
        ({"down_dims": [16, 48]}, ("down_modules.1", "expected (96")),
    ],
)
def test_what_cannot_be_expressed_is_refused(tmp_path: Path, changes: dict[str, Any], parts: tuple[str, ...]) -> None:
    folder = write_buffers(lerobot_policy(KEYPOINTS), tmp_path / "theirs")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(PeerCheckpointError) as refused:
        read_peer(folder)
    for part in parts:
        assert part in str(refused.value)


def test_processor_steps_that_change_numbers_are_refused(tmp_path: Path) -> None:
    folder = write_processors(lerobot_policy(KEYPOINTS), tmp_path / "theirs", registry_name="tokenizer_processor")
    with pytest.raises(PeerCheckpointError, match="registry_name = 'tokenizer_processor' cannot be imported"):
        read_peer(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "policy_postprocessor.json"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    folder = write_processors(lerobot_policy(KEYPOINTS), tmp_path / "theirs")
    (folder / name).write_bytes(b"{ not what it should be")
    with pytest.raises(PeerCheckpointError, match=f"{name} is damaged"):
        read_peer(folder)
    (folder / name).unlink()
    with pytest.raises(PeerCheckpointError, match=f"has no {name}"):
        read_peer(folder)


def test_statistics_that_were_never_set_are_refused(tmp_path: Path) -> None:
    peer = lerobot_policy(KEYPOINTS)
    peer.statistics["action"]["max"][:] = float("inf")
    with pytest.raises(PeerCheckpointError, match="normaliser of action was never fitted"):
        read_peer(write_buffers(peer, tmp_path / "theirs"))


def test_there_are_no_averaged_weights(tmp_path: Path) -> None:
    folder = write_buffers(lerobot_policy(KEYPOINTS), tmp_path / "theirs")
    with pytest.raises(PeerCheckpointError, match="no ema weights"):
        read_peer(folder, "ema")
