from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dp_policy.config import PolicyConfig
from dp_trainer.figures import FigureError
from dp_trainer.train import train
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_what_a_run_reports(blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]) -> None:
    train(blob_store, state_config(validation_interval=8), tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(20))
    assert all({"loss", "gradient_norm", "learning_rate"} <= row.keys() for row in rows)
    assert rows[0]["learning_rate"] == pytest.approx(0.5e-3) and rows[4]["learning_rate"] == pytest.approx(2e-3)
    scored = [row["step"] for row in rows if "validation_action_error" in row]
    assert scored == [7, 15, 19]
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert {"loss", "gradient_norm", "learning_rate", "samples_per_s", "waiting_share"} <= set(board.Tags()["scalars"])
    points = {event.step: event.value for event in board.Scalars("loss")}
    assert set(points) == {0, 10, *scored}
    assert points[10] == pytest.approx(rows[10]["loss"])
    assert [event.step for event in board.Scalars("validation_loss")] == scored
    assert all(0 <= event.value <= 1 for event in board.Scalars("waiting_share"))


def test_wandb_that_is_not_installed_is_one_clear_error(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # as an import finds it where it is not installed
    with pytest.raises(FigureError, match=r"training\.wandb = 'pushing' needs the package wandb: pip install"):
        train(blob_store, state_config(wandb="pushing"), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_offline(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(blob_store, state_config(wandb="pushing"), tmp_path, steps=12)
    run_id = (tmp_path / "wandb_run_id.txt").read_text()
    assert list((tmp_path / "wandb").glob(f"offline-run-*-{run_id}"))
    train(blob_store, state_config(wandb="pushing"), tmp_path, steps=15, resume=True)
    assert (tmp_path / "wandb_run_id.txt").read_text() == run_id
