from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_trainer.data_checks import check_training_data, episode_of
from dp_trainer.train import train
from dp_trainer.windows import TrainingData, TrainingDataError, load_training_data

EPISODES = np.arange(250)


@pytest.fixture(scope="module")
def data(blob_store: Path) -> TrainingData:
    return load_training_data(blob_store)


def test_an_action_that_never_changes_is_named(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    """Columns 3 to 8 (rot6d) never change either, but are left unscaled and so may."""
    with pytest.raises(TrainingDataError, match=r"action column 2 is 0 in all 5000 steps.*constant_action_columns"):
        check_training_data(data, state_config(constant_action_columns=[]), EPISODES)
    check_training_data(data, state_config(), EPISODES)


def test_only_the_training_episodes_count(data: TrainingData, state_config: Callable[..., PolicyConfig]) -> None:
    actions = data.actions.clone()
    actions[:4980, 9] = 0.08
    gripper = dataclasses.replace(data, actions=actions)
    check_training_data(gripper, state_config(), EPISODES)
    with pytest.raises(TrainingDataError, match=r"column 9 is 0\.08 in all 4980"):
        check_training_data(gripper, state_config(), EPISODES[:-1])


def test_training_refuses_before_it_writes_anything(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    with pytest.raises(TrainingDataError, match="action column 2"):
        train(blob_store, state_config(constant_action_columns=[]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(data: TrainingData, state_config: Callable[..., PolicyConfig], bad: float) -> None:
    state = data.proprioception.clone()
    state[47, 3] = bad
    broken = dataclasses.replace(data, proprioception=state)
    with pytest.raises(TrainingDataError, match=rf"proprioception .* at step 47 \(episode 2, column 3: {bad}\)"):
        check_training_data(broken, state_config(), EPISODES)
    valid = data.valid.copy()
    valid[47] = False  # never seen, so it does no harm
    check_training_data(dataclasses.replace(broken, valid=valid), state_config(), EPISODES)


def test_episode_of(data: TrainingData) -> None:
    assert episode_of(data, np.array([0, 19, 20, 4999])).tolist() == [0, 0, 1, 249]
    assert torch.as_tensor(data.episode_ends).tolist()[:2] == [20, 40]
