"""A tiny Push-T policy with random weights, and a small replay buffer made by a scripted pusher."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from dp_benchmark.demonstrations import find_demonstrations
from dp_benchmark.errors import BenchmarkError
from dp_dataset.pusht import block_keypoints
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy

ROOT = Path(__file__).resolve().parents[2]


def pusht_config(**changes) -> PolicyConfig:
    """A network of a few thousand weights that sees agent and key points; sections may be changed key by key."""
    sections = {
        "observation": {
            "images": False,
            "history": 2,
            "state": ["keypoints", "agent_position"],
            "proprioception_dim": 20,
        },
        "action": {"dim": 2, "horizon": 8, "steps": 4, "past": 0},
        "denoiser": {"sizes": [8, 16], "step_features": 8},
        "normaliser": {"unscaled_columns": []},
        "training": {
            "steps": 4,
            "batch_size": 8,
            "warmup_steps": 1,
            "validation_interval": 0,
            "validation_fraction": 0.0,
            "padded_step_weight": 1.0,
        },
    }
    method = changes.get("method", "diffusion")
    if method in ("diffusion", "flow"):
        sections[method] = {"inference_steps": 2}
    for name, value in changes.items():
        sections[name] = {**sections.get(name, {}), **value} if isinstance(value, dict) else value
    return PolicyConfig.from_dict({"name": "tiny", **sections})


def save_tiny(folder: Path, **changes) -> Path:
    """A checkpoint with random weights whose actions lie all over the table."""
    config = pusht_config(**changes)
    if config.observation.cameras:
        config = config.with_observation(config.observation.cameras, 96, 96)
    torch.manual_seed(1)
    policy = build_policy(config)
    size = config.observation.proprioception_dim
    policy.normaliser.fit(
        {
            name: {"min": [60.0] * n, "max": [450.0] * n, "mean": [255.0] * n, "std": [100.0] * n}
            for name, n in (("proprioception", size), ("action", config.action.dim))
        }
    )
    save_checkpoint(folder, policy, {}, {})
    return folder


def write_replay_buffer(path: Path, episodes: int = 4, steps: int = 30) -> Path:
    """A Push-T replay buffer without images: the agent circles, the block drifts."""
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, steps)[:, None]
    states, actions = [], []
    for _ in range(episodes):
        start, end = rng.uniform(100, 400, (2, 5))
        state = start + t * (end - start)
        state[:, 4] = t[:, 0] * rng.uniform(1, 6)
        states.append(state)
        actions.append(state[:, :2] + rng.uniform(-20, 20, (steps, 2)))
    state = np.concatenate(states)
    arrays = {"state": state, "keypoint": block_keypoints(state[:, 2:]), "action": np.concatenate(actions)}
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    for name, values in arrays.items():
        group.create_array(f"data/{name}", data=values.astype(np.float32))
    group.create_array("meta/episode_ends", data=np.arange(1, episodes + 1) * steps)
    return path


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("policies") / "tiny")


@pytest.fixture(scope="session")
def replay_buffer(tmp_path_factory) -> Path:
    return write_replay_buffer(tmp_path_factory.mktemp("data") / "pusht.zarr")


@pytest.fixture(scope="session")
def demonstrations() -> Path:
    """The human demonstrations, or a skip that says what is missing."""
    try:
        return find_demonstrations()
    except BenchmarkError as error:
        pytest.skip(str(error))


@pytest.fixture(name="save_tiny", scope="session")
def save_tiny_fixture():
    return save_tiny


@pytest.fixture(name="pusht_config", scope="session")
def pusht_config_fixture():
    return pusht_config
