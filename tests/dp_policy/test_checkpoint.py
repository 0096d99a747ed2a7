from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from dp_policy.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import VisuomotorPolicy


@pytest.fixture
def policy(small_config: Callable[..., PolicyConfig]) -> VisuomotorPolicy:
    policy = VisuomotorPolicy(small_config())
    values = torch.arange(10.0)
    policy.normaliser.fit(
        {key: {"min": values, "max": values + 2, "mean": values, "std": values} for key in ("proprioception", "action")}
    )
    return policy


def test_round_trip_gives_the_same_chunks(policy: VisuomotorPolicy, tmp_path: Path) -> None:
    policy_id = save_checkpoint(tmp_path / "a", policy, {"name": "cell"}, {"steps": 3})
    loaded = load_checkpoint(tmp_path / "a")
    assert (loaded.policy_id, loaded.contract, loaded.provenance) == (policy_id, {"name": "cell"}, {"steps": 3})
    assert loaded.config == policy.config
    images, state = {"front": torch.randint(0, 255, (1, 1, 32, 32, 3), dtype=torch.uint8)}, torch.randn(1, 1, 10)
    chunks = [
        p.plan(p.encode(images, state), generator=torch.Generator().manual_seed(1)) for p in (policy, loaded.policy)
    ]
    torch.testing.assert_close(chunks[0], chunks[1])
    assert sorted(item.name for item in (tmp_path / "a").iterdir()) == ["checkpoint.json", "model.safetensors"]
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def test_policy_id_changes_with_weights_and_contract(policy: VisuomotorPolicy, tmp_path: Path) -> None:
    first = save_checkpoint(tmp_path / "a", policy, {"name": "cell"})
    assert save_checkpoint(tmp_path / "a", policy, {"name": "cell"}) == first
    assert save_checkpoint(tmp_path / "b", policy, {"name": "other"}) != first
    with torch.no_grad():
        next(policy.parameters()).view(-1)[0] += 1e-3
    assert save_checkpoint(tmp_path / "a", policy, {"name": "cell"}) != first


def test_a_failed_write_leaves_the_old_one(policy: VisuomotorPolicy, tmp_path: Path) -> None:
    policy_id = save_checkpoint(tmp_path / "a", policy, {})
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "a", policy, {"not json": object()})
    assert load_checkpoint(tmp_path / "a").policy_id == policy_id
    assert [item.name for item in tmp_path.iterdir()] == ["a"]


def _edit(folder: Path, **changes: object) -> None:
    path = folder / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


#: Keys of version 1, whose checkpoints have no others.
VERSION_1 = {
    "observation": "cameras image_height image_width history proprioception_dim",
    "action": "dim horizon steps",
    "encoder": "kind shared crop_ratio random_shift keypoints features width blocks space_to_depth",
    "denoiser": "kind sizes kernel groups step_features activation conv_backend",
    "diffusion": "train_steps schedule prediction sampler inference_steps spacing clip_sample candidates",
    "normaliser": "proprioception action unscaled_columns images",
}


def test_version_1_is_read(policy: VisuomotorPolicy, tmp_path: Path) -> None:
    policy_id = save_checkpoint(tmp_path / "a", policy, {})
    whole = policy.config.to_dict()
    config = {name: {key: whole[name][key] for key in keys.split()} for name, keys in VERSION_1.items()}
    _edit(tmp_path / "a", version=1, config={"name": "test", **config, "training": {"steps": 7}})
    loaded = load_checkpoint(tmp_path / "a")
    assert (loaded.policy_id, loaded.config.training.steps) == (policy_id, 7)
    assert dataclasses.replace(loaded.config, training=policy.config.training) == policy.config
    torch.testing.assert_close(loaded.policy.state_dict(), policy.state_dict(), rtol=0, atol=0)
    names = set(policy.state_dict())  # as version 1 called its weights
    assert {
        "head.denoiser.final_conv.1.weight",
        "encoder.networks.front.stem.weight",
        "normaliser.action.scale",
    } < names


def test_clear_errors(policy: VisuomotorPolicy, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        load_checkpoint(tmp_path / "none")
    folder = tmp_path / "a"
    save_checkpoint(folder, policy, {})
    _edit(folder, version=3)
    with pytest.raises(CheckpointError, match="version 3; this software reads versions up to 2"):
        load_checkpoint(folder)
    _edit(folder, version=2, format="lerobot")
    with pytest.raises(CheckpointError, match=r"not a checkpoint of this project.*lerobot"):
        load_checkpoint(folder)
    save_checkpoint(folder, policy, {})
    config = policy.config.to_dict()
    config["denoiser"]["sizes"] = [32, 64]
    _edit(folder, config=config)
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_checkpoint(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model.safetensors is missing"):
        load_checkpoint(folder)
