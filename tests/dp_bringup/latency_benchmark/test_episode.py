"""Episodes of an untrained policy: repeatable, with the latency that was asked for."""

import numpy as np
import pytest
import torch
from dp_bringup.latency_benchmark.campaign import Job, play
from dp_bringup.latency_benchmark.conditions import Condition
from dp_bringup.latency_benchmark.episode import VirtualLatency, mean_square_jerk
from dp_bringup.latency_benchmark.world import LatencyWorld
from dp_core.contract import load_contract
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy
from dp_sim.cameras import RenderingUnavailableError, choose_backend

CONTRACT = load_contract("sim_franka")


@pytest.fixture(scope="module", autouse=True)
def rendering():
    try:
        choose_backend()
    except RenderingUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Untrained; its actions lie near the middle of the table."""
    config = PolicyConfig.from_dict(
        {
            "name": "test",
            "observation": {"cameras": ["front", "wrist"], "image_height": 64, "image_width": 64, "history": 2},
            "action": {"prefix": 6},
            "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
            "denoiser": {"sizes": [16, 32], "step_features": 16},
            "diffusion": {"inference_steps": 2},
        }
    )
    policy = build_policy(config)
    action = policy.normaliser.action
    action.offset.copy_(torch.tensor([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.06]))
    action.scale.fill_(0.02)
    folder = tmp_path_factory.mktemp("policy") / "checkpoint"
    save_checkpoint(folder, policy, CONTRACT.to_dict())
    return folder


@pytest.fixture
def short():
    """Episodes of a second: the time limit of the cell's task is changed."""
    from dp_bringup.latency_benchmark import campaign

    world = campaign._world("reach_around", "sim_franka")
    world.cell.task.time_limit_s = 1.4


def outcome(checkpoint, method, seed=1, added_ms=100, jitter_ms=50):
    condition = Condition("reach_around", method, added_ms, jitter_ms)
    return play(Job(condition, seed, str(checkpoint), "sim_franka", base_ms=40))


@pytest.mark.parametrize("method", ["none", "wait", "splice", "weighted", "ensemble", "ours"])
def test_an_episode_runs_to_its_end_and_is_measured(method, checkpoint, short):
    played = outcome(checkpoint, method, jitter_ms=0)
    assert not played.success and played.reason == "time limit of 1.4 s passed"
    assert played.duration_s == pytest.approx(1.21, abs=0.02)  # the policy begins 0.2 s after the reset
    assert played.chunks >= 2 and len(played.seams_m) == len(played.seams_rad) >= played.chunks - 2
    assert all(0.139 < age < 0.241 for age in played.chunk_ages_s)  # an observation may have waited for a period
    assert played.commanded_jerk > 0.0 and played.measured_jerk > 0.0


@pytest.mark.parametrize("method", ["splice", "ours"])
def test_a_seed_gives_the_same_episode_whatever_was_played_before(method, checkpoint, short):
    first = outcome(checkpoint, method, seed=1)
    other = outcome(checkpoint, method, seed=2)
    assert outcome(checkpoint, method, seed=1) == first
    assert other != first and len(set(first.chunk_ages_s)) > 1


def test_latency_is_that_of_the_seed_and_within_its_jitter():
    draws = [VirtualLatency(0.2, 0.05, seed=7).draw_ns() for _ in range(2)]
    assert draws[0] == draws[1]
    latency = VirtualLatency(0.2, 0.05, seed=7)
    spread = np.array([latency.draw_ns() for _ in range(2000)]) * 1e-9
    assert (
        0.15 <= spread.min() < 0.152 and 0.248 < spread.max() <= 0.25 and spread.mean() == pytest.approx(0.2, abs=2e-3)
    )
    assert VirtualLatency(0.04, 0.0, seed=1).draw_ns() == 40_000_000
    assert min(VirtualLatency(0.01, 0.05, seed).draw_ns() for seed in range(50)) == 0


def test_a_picture_rendered_later_is_that_of_its_instant():
    world = LatencyWorld("reach_around", CONTRACT)
    world.reset(3)
    shutter, pose = world.shutter(), world.measured()[0]
    at_once = world.picture("wrist", shutter)
    pose[0] += 0.05
    for _ in range(20):
        world.drive(pose, None)
    assert np.array_equal(world.picture("wrist", shutter), at_once)
    assert not np.array_equal(world.picture("wrist", world.shutter()), at_once)
    world.close()


def test_jerk_of_a_cubic_is_its_third_derivative():
    t = 0.01 * np.arange(50)
    assert mean_square_jerk(list(np.stack([t**3, 2 * t**3, t], axis=1)), 0.01) == pytest.approx(6.0**2 + 12.0**2)
    assert mean_square_jerk([np.zeros(3)] * 3, 0.01) == 0.0
