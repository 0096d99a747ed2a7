from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from dp_benchmark.errors import BenchmarkError
from dp_benchmark.two_way import TwoWayScale, roll_out_policy, run_two_way, train_two_way, two_way_config
from dp_benchmark.two_way_task import (
    DETOUR,
    PILLAR_RADIUS,
    SWERVE,
    classify,
    demonstrate,
    distance_to_segments,
    roll_out,
    training_data,
)


def test_distance_to_segments_by_hand() -> None:
    """Past the middle, ending before it, starting beyond it, and standing still."""
    start = np.array([[-1.0, 0.3], [0.0, -2.0], [3.0, 4.0], [0.0, 0.5]])
    end = np.array([[1.0, 0.3], [0.0, -0.4], [6.0, 8.0], [0.0, 0.5]])
    np.testing.assert_allclose(distance_to_segments(start, end), [0.3, 0.4, 5.0, 0.5])


def test_demonstrations_go_both_ways_and_never_hit() -> None:
    observations, actions = demonstrate(40, np.random.default_rng(0))
    outcomes = [
        classify(np.concatenate([seen, wanted[-1:]])) for seen, wanted in zip(observations, actions, strict=True)
    ]
    assert (outcomes.count("left"), outcomes.count("right")) == (20, 20)
    np.testing.assert_allclose(observations[:, 1:], actions[:, :-1], atol=0.02)


def test_the_mean_of_the_demonstrations_leads_into_the_pillar() -> None:
    observations, actions = demonstrate(200, np.random.default_rng(0))
    mean = np.concatenate([observations.mean(axis=0), actions.mean(axis=0)[-1:]])
    assert classify(mean) == "collision"


def way_round(position: np.ndarray, side: float) -> np.ndarray:
    """The demonstrated way as a plan of one action: (R, 1, 2) positions to (R, 1, 2) wanted ones."""
    forward = position[..., 1] + 0.6 / 36
    sideways = side * DETOUR * (0.5 + 0.5 * np.cos(np.pi * np.clip(forward / SWERVE, -1, 1)))
    return np.stack([sideways, forward], axis=-1)


@pytest.mark.parametrize(
    ("plan", "outcome"),
    [
        (lambda seen: way_round(seen[:, -1:], -1.0), "left"),
        (lambda seen: way_round(seen[:, -1:], 1.0), "right"),
        (lambda seen: way_round(seen[:, -1:], 0.0), "collision"),
        (lambda seen: seen[:, -1:], "unfinished"),
    ],
)
def test_outcomes_of_known_policies(plan, outcome: str) -> None:
    rollouts = roll_out(plan, 2, 10, np.random.default_rng(0))
    assert rollouts.share(outcome) == 1.0
    if outcome == "collision":
        last = rollouts.paths[:, -1]
        assert (np.linalg.norm(last, axis=-1) < PILLAR_RADIUS + 0.04).all()


def test_regression_drives_into_the_pillar_and_diffusion_goes_both_ways_round() -> None:
    data = training_data(*demonstrate(100, np.random.default_rng(0)))
    rollouts = {
        method: roll_out_policy(train_two_way(two_way_config(method), data, 130, 0), 60, 0)
        for method in ("regression", "diffusion")
    }
    assert rollouts["regression"].share("collision") > 0.7
    assert rollouts["diffusion"].share("collision") < 0.25
    assert min(rollouts["diffusion"].share("left"), rollouts["diffusion"].share("right")) > 0.2


def test_a_run_writes_figure_and_rows(tmp_path: Path) -> None:
    told = []
    scale = TwoWayScale(demonstrations=10, steps=2, rollouts=3)
    rows = run_two_way(tmp_path / "out", 1, ["lstm_gmm", "bet"], lambda *state: told.append(state), scale)
    assert [row["method"] for row in rows] == ["lstm_gmm", "bet"]
    assert all(
        sum(row[key] for key in ("left", "right", "collision", "unfinished")) == pytest.approx(1) for row in rows
    )
    assert json.loads((tmp_path / "out/two_way.json").read_text()) == {"seed": 1, "rows": rows}
    assert (tmp_path / "out/two_way.png").read_bytes()[:4] == b"\x89PNG"
    assert told[-1][0] == "train bet"
    assert told[-1][1] == told[-1][2]


def test_unknown_methods_are_named() -> None:
    with pytest.raises(BenchmarkError, match=r"method 'gan' is not known; valid: diffusion, flow"):
        two_way_config("gan")
