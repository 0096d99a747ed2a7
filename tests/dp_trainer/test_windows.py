from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_trainer.image_source import ChunkedImages
from dp_trainer.windows import (
    TrainingData,
    TrainingDataError,
    WindowSampler,
    load_training_data,
    resolve_config,
    split_episodes,
)


def numbered_data(invalid: tuple[int, ...] = ()) -> TrainingData:
    """Two episodes of 6 and 5 steps in which every number is the number of its step."""
    steps = torch.arange(11, dtype=torch.float32)
    valid = np.ones(11, bool)
    valid[list(invalid)] = False
    return TrainingData(
        images={"front": torch.arange(11, dtype=torch.uint8).view(11, 1, 1, 1).expand(11, 4, 4, 3)},
        proprioception=steps[:, None].expand(11, 10),
        actions=steps[:, None].expand(11, 10),
        valid=valid,
        episode_ends=np.array([6, 11]),
        statistics={},
        contract={},
        rate_hz=10.0,
        source="numbers",
    )


def config(history: int = 2, horizon: int = 4, padded: float = 0.25, past: int = 0) -> PolicyConfig:
    return PolicyConfig.from_dict(
        {
            "name": "test",
            "observation": {"cameras": ["front"], "image_height": 4, "image_width": 4, "history": history},
            "action": {"horizon": horizon, "steps": 2, "past": past},
            "training": {"padded_step_weight": padded},
        }
    )


def test_first_action_belongs_to_the_newest_frame() -> None:
    sampler = WindowSampler(numbered_data(), config(), np.array([0, 1]), 0)
    batch = sampler.batch(np.array([2]))
    assert batch.proprioception[0, :, 0].tolist() == [1, 2]
    assert batch.images["front"][0, :, 0, 0, 0].tolist() == [1, 2]
    assert batch.actions[0, :, 0].tolist() == [2, 3, 4, 5]
    assert batch.weights[0].tolist() == [1, 1, 1, 1]


def test_episodes_never_mix() -> None:
    """The second episode's first window repeats its first frame; the first's last repeats its last action."""
    sampler = WindowSampler(numbered_data(), config(), np.array([0, 1]), 0)
    batch = sampler.batch(np.array([6, 4]))
    assert batch.proprioception[:, :, 0].tolist() == [[6, 6], [3, 4]]
    assert batch.actions[1, :, 0].tolist() == [4, 5, 5, 5]
    assert batch.weights[1].tolist() == [1, 1, 0.25, 0.25]


def test_past_actions_at_both_ends() -> None:
    """Two past actions: step 6 begins an episode, so both are its first action repeated; step 10 ends one."""
    sampler = WindowSampler(numbered_data(), config(past=2), np.array([0, 1]), 0)
    batch = sampler.batch(np.array([6, 7, 8, 10]))
    assert batch.actions[:, :, 0].tolist() == [[6, 6, 6, 7], [6, 6, 7, 8], [6, 7, 8, 9], [8, 9, 10, 10]]
    assert batch.weights.tolist() == [[0.25, 0.25, 1, 1], [0.25, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0.25]]
    assert batch.proprioception[:, :, 0].tolist() == [[6, 6], [6, 7], [7, 8], [9, 10]]
    assert batch.images["front"][:, :, 0, 0, 0].tolist() == [[6, 6], [6, 7], [7, 8], [9, 10]]
    torch.testing.assert_close(sampler.actions(np.array([6, 10])), batch.actions[[0, 3]])


def test_chunk_longer_than_the_episode() -> None:
    sampler = WindowSampler(numbered_data(), config(horizon=8, past=1), np.array([1]), 0)
    batch = sampler.batch(np.array([9]))
    assert batch.actions[0, :, 0].tolist() == [8, 9, 10, 10, 10, 10, 10, 10]
    assert batch.weights[0].tolist() == [1, 1, 1, *[0.25] * 5]


def test_invalid_steps_are_never_seen_and_never_targets() -> None:
    sampler = WindowSampler(numbered_data(invalid=(3,)), config(), np.array([0]), 0)
    assert sampler.windows.tolist() == [0, 1, 2, 5]
    assert sampler.batch(np.array([1])).weights[0].tolist() == [1, 1, 0, 1]


def test_every_window_once_per_epoch_and_repeatable() -> None:
    data = numbered_data()
    sampler = WindowSampler(data, config(), np.array([0, 1]), seed=4)
    seen = np.concatenate([sampler.indices(step, 4) for step in range(11)])
    for epoch in range(4):
        assert sorted(seen[epoch * 11 : (epoch + 1) * 11]) == list(range(11))
    fresh = WindowSampler(data, config(), np.array([0, 1]), seed=4)
    np.testing.assert_array_equal(fresh.indices(7, 4), sampler.indices(7, 4))
    other = WindowSampler(data, config(), np.array([0, 1]), seed=5)
    assert not np.array_equal(np.concatenate([other.indices(step, 4) for step in range(11)]), seen)


def test_images_left_on_disk_give_the_same_batch(blob_store: Path) -> None:
    from dp_dataset.store import open_store

    data = load_training_data(blob_store)
    resolved = resolve_config(config().with_observation((), 0, 0), data)
    on_disk = dataclasses.replace(data, images={"front": ChunkedImages(open_store(blob_store).images["front"])})
    batches = [WindowSampler(d, resolved, np.array([1]), 0).batch(np.array([20, 25, 20])) for d in (data, on_disk)]
    torch.testing.assert_close(batches[0].images["front"], batches[1].images["front"])


def test_split_is_disjoint_and_seeded() -> None:
    training, held_out = split_episodes(50, 0.1, seed=1)
    assert len(held_out) == 5
    assert sorted([*training, *held_out]) == list(range(50))
    assert not np.array_equal(split_episodes(50, 0.1, seed=2)[1], held_out)
    assert len(split_episodes(1, 0.5, seed=0)[0]) == 1
    assert len(split_episodes(5, 0.0, seed=0)[1]) == 0


def test_config_is_filled_in_from_the_store(blob_store: Path) -> None:
    open_config = dataclasses.replace(config(), observation=dataclasses.replace(config().observation, cameras=()))
    open_config = open_config.with_observation((), 0, 0)
    resolved = resolve_config(open_config, load_training_data(blob_store))
    assert resolved.observation.cameras == ("front",)
    assert (resolved.observation.image_height, resolved.observation.image_width) == (32, 32)


def test_errors_name_both_sides(blob_store: Path, tmp_path: Path) -> None:
    data = load_training_data(blob_store)
    with pytest.raises(TrainingDataError, match=r"no camera 'side'; it has: front"):
        resolve_config(config().with_observation(("side",), 0, 0), data)
    with pytest.raises(TrainingDataError, match=r"image_height = 96 .* have 32"):
        resolve_config(config().with_observation((), 96, 32), data)
    with pytest.raises(TrainingDataError, match="no training store"):
        load_training_data(tmp_path / "none.zarr")
    with pytest.raises(TrainingDataError, match="no valid observation"):
        WindowSampler(numbered_data(invalid=tuple(range(6))), config(), np.array([0]), 0)
