"""A small two-sided visuomotor task: move to a blob seen by the camera, around either side of the middle line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_dataset.aligned import AlignedEpisode
from dp_dataset.store import EpisodeEntry, StoreWriter
from dp_policy.config import PolicyConfig

STEPS = 20
SIZE = 32


def draw_scene(goal_xy: np.ndarray, hand_xy: np.ndarray) -> np.ndarray:
    """(32, 32, 3) uint8: red blob at the goal, green at the hand; both positions in [0, 1]."""
    grid = (np.arange(SIZE) + 0.5) / SIZE
    image = np.full((SIZE, SIZE, 3), 90, np.uint8)
    for channel, place in ((0, goal_xy), (1, hand_xy)):
        near = (grid[None, :] - place[0]) ** 2 + (grid[:, None] - place[1]) ** 2 < 0.006
        image[near] = np.eye(3, dtype=np.uint8)[channel] * 255
    return image


def make_episode(rng: np.random.Generator) -> AlignedEpisode:
    """Straight motion to the goal with a bulge to a random side; positions in metres equal image fractions."""
    start, goal = np.array([0.5, 0.1]), rng.uniform([0.15, 0.55], [0.85, 0.9])
    phase = np.linspace(0, 1, STEPS + 1)
    side = rng.choice([-1.0, 1.0])
    path = start + phase[:, None] * (goal - start)
    path[:, 0] += 0.15 * side * np.sin(np.pi * phase)
    pose = np.zeros((STEPS + 1, 7))
    pose[:, :2], pose[:, 6] = path, 1.0
    vectors = encode_action(pose, np.linspace(0.08, 0.0, STEPS + 1)).astype(np.float32)
    images = np.stack([draw_scene(goal, hand) for hand in path[:-1]])
    return AlignedEpisode(
        images={"front": images},
        proprioception=vectors[:-1],
        action=vectors[1:],
        stamp_ns=np.arange(STEPS, dtype=np.int64) * 100_000_000,
        valid=np.ones(STEPS, bool),
    )


def write_store(path: Path, episodes: int, seed: int = 0) -> Path:
    """A training store of the task."""
    contract = load_contract("sim_franka")
    spec = dataclasses.replace(contract.observation, cameras=("front",), image_width=SIZE, image_height=SIZE)
    writer = StoreWriter(path, dataclasses.replace(contract, observation=spec))
    rng = np.random.default_rng(seed)
    for index in range(episodes):
        entry = EpisodeEntry(f"episode_{index}", "bag", "0" * 64, "success", "blob", STEPS, STEPS)
        writer.append(make_episode(rng), entry)
    writer.finish()
    return path


@pytest.fixture(scope="session")
def blob_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 250 episodes."""
    return write_store(tmp_path_factory.mktemp("stores") / "blob.zarr", 250)


@pytest.fixture(scope="session")
def blob_episode() -> Callable[[np.random.Generator], AlignedEpisode]:
    """Maker of single episodes."""
    return make_episode


@pytest.fixture(scope="session")
def state_config() -> Callable[..., PolicyConfig]:
    """Maker of a tiny policy without images for the blob store; takes values of the section ``training``."""

    def make(**training: object) -> PolicyConfig:
        return PolicyConfig.from_dict(
            {
                "name": "tiny_state",
                "observation": {"images": False, "history": 2},
                "action": {"horizon": 8, "steps": 4},
                "denoiser": {"sizes": [8, 16], "groups": 4, "step_features": 8, "activation": "silu"},
                "diffusion": {"inference_steps": 2},
                "training": {
                    "steps": 20,
                    "batch_size": 16,
                    "learning_rate": 2e-3,
                    "warmup_steps": 4,
                    "gradient_clip": 1.0,
                    "padded_step_weight": 0.3,
                    "constant_action_columns": [2],  # the task is flat
                    "validation_interval": 5,
                    "validation_windows": 16,
                    "checkpoint_interval": 5,
                    **training,
                },
            }
        )

    return make


@pytest.fixture(scope="session")
def write_blobs() -> Callable[..., Path]:
    """Writer of stores."""
    return write_store
