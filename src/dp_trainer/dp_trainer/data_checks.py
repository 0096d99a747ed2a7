"""What training data must be before any step is spent on it."""

from __future__ import annotations

import numpy as np
import torch
from dp_policy.config import PolicyConfig
from dp_policy.normaliser import CONSTANT_TOLERANCE

from dp_trainer.windows import TrainingData, TrainingDataError


def check_training_data(data: TrainingData, config: PolicyConfig, episodes: np.ndarray) -> None:
    """Refuse numbers that are not finite, and action columns that never change.

    A policy cannot learn to move what never moves in its data; mostly the column was not recorded. Columns that are
    left unscaled (rot6d: a tool that always points down is a legitimate task) and those listed in
    ``training.constant_action_columns`` may be constant.

    Args:
        data: the store.
        config: of the policy.
        episodes: numbers of the training episodes.

    Raises:
        TrainingDataError: naming array, step, column and value.
    """
    for name, values in (("proprioception", data.proprioception), ("action", data.actions)):
        bad = ~torch.isfinite(values).all(dim=1).numpy() & data.valid
        if bad.any():
            step = int(np.argmax(bad))
            column = int(np.argmax(~torch.isfinite(values[step]).numpy()))
            raise TrainingDataError(
                f"{data.source}: {name} is not finite at step {step} "
                f"(episode {episode_of(data, step)}, column {column}: {float(values[step, column])})"
            )
    _check_constant_columns(data, config, episodes)


def _check_constant_columns(data: TrainingData, config: PolicyConfig, episodes: np.ndarray) -> None:
    used = np.isin(episode_of(data, np.arange(len(data.valid))), episodes) & data.valid
    if used.sum() < 2:
        return
    actions = data.actions[torch.from_numpy(used)]
    extent = actions.amax(dim=0) - actions.amin(dim=0)
    constant = (extent < CONSTANT_TOLERANCE).nonzero().flatten().tolist()
    allowed = {*config.normaliser.unscaled_columns, *config.training.constant_action_columns}
    for column in constant:
        if column not in allowed:
            raise TrainingDataError(
                f"{data.source}: action column {column} is {float(actions[0, column]):g} in all {len(actions)} steps "
                f"of the training episodes, so nothing can be learnt about it; if that is meant, list it in "
                f"training.constant_action_columns"
            )


def episode_of(data: TrainingData, steps: np.ndarray | int) -> np.ndarray:
    """Numbers of the episodes that some steps belong to."""
    return np.searchsorted(data.episode_ends, steps, side="right")
