from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_trainer.budget import steps_for_budget
from dp_trainer.train import train


def test_a_run_lasts_about_as_long_as_its_budget(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    """Wide bounds, for other work on the machine; a factor that was forgotten (validation, batches) is beyond them."""
    config = state_config(validation_interval=20, checkpoint_interval=20)
    for attempt in range(4):  # once while the other work does not begin or end between measuring and training
        steps = steps_for_budget(blob_store, config, 3.0)
        begin = time.perf_counter()
        result = train(blob_store, config, tmp_path / str(attempt), steps=steps)
        took_s = time.perf_counter() - begin
        assert len(result.losses) == steps
        if 1.0 < took_s < 15.0 and steps > 20:
            break
    assert 1.0 < took_s < 15.0 and steps > 20


def test_more_time_gives_more_steps_and_nothing_is_written(
    blob_store: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    for _ in range(4):
        short, long = (steps_for_budget(blob_store, state_config(), seconds) for seconds in (2.0, 40.0))
        if long > 4 * short:
            break
    assert long > 4 * short
    assert steps_for_budget(blob_store, state_config(), 1e-6) == 1


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_budgets_that_are_none(seconds: float, blob_store: Path, state_config: Callable[..., PolicyConfig]) -> None:
    with pytest.raises(PolicyConfigError, match="must be above 0"):
        steps_for_budget(blob_store, state_config(), seconds)
