from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dp_policy.checkpoint import LoadedPolicy, load_checkpoint, save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.engine import Engine, LatencyEstimate
from dp_policy.policy import ObservationError, VisuomotorPolicy


@pytest.fixture
def loaded(small_config: Callable[..., PolicyConfig], tmp_path: Path) -> LoadedPolicy:
    save_checkpoint(tmp_path / "a", VisuomotorPolicy(small_config()), {})
    return load_checkpoint(tmp_path / "a")


def test_infers_what_the_policy_plans(loaded: LoadedPolicy) -> None:
    engine = Engine(loaded, seed=5, runtime="reference")
    images = {"front": np.full((1, 32, 32, 3), 200, np.uint8)}
    state = np.ones((1, 10))
    result = engine.infer(images, state)
    features = loaded.policy.encode({"front": torch.from_numpy(images["front"])[None]}, torch.ones(1, 1, 10))
    expected = loaded.policy.plan(features, generator=torch.Generator().manual_seed(5))[0]
    np.testing.assert_allclose(result.actions, expected.numpy(), atol=1e-5)
    assert result.actions.dtype == np.float32
    assert result.timings.total_ms == pytest.approx(
        result.timings.encode_ms + result.timings.denoise_ms + result.timings.overhead_ms
    )
    assert not np.allclose(engine.infer(images, state).actions, result.actions)
    engine.reseed(5)
    np.testing.assert_array_equal(engine.infer(images, state).actions, result.actions)


def test_missing_camera_is_named(loaded: LoadedPolicy) -> None:
    with pytest.raises(ObservationError, match="'front'"):
        Engine(loaded).infer({}, np.ones((1, 10)))


def test_latency_estimate_is_robust_and_follows() -> None:
    estimate = LatencyEstimate(window=20, quantile=0.9)
    assert estimate.value_s == 0.0
    for _ in range(20):
        estimate.add(0.020)
    estimate.add(1.0)
    assert estimate.value_s == pytest.approx(0.020)
    for _ in range(20):
        estimate.add(0.030)
    assert estimate.value_s == pytest.approx(0.030)


def test_latency_is_measured_after_the_warm_up(loaded: LoadedPolicy) -> None:
    assert 0 < Engine(loaded).latency_s < 1.0
