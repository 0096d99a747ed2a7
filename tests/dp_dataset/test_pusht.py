"""Points of the Push-T block against gym-pusht, and against what people saw while they pushed it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dp_benchmark.demonstrations import find_demonstrations
from dp_benchmark.errors import BenchmarkError
from dp_dataset.pusht import block_keypoints, block_vertices
from dp_dataset.replay_buffer import ReplayBuffer, read_pusht

POSES = np.array([[256.0, 256.0, np.pi / 4], [100.5, 300.25, -2.0], [400.0, 80.0, 0.0]])


@pytest.fixture(scope="module")
def demonstrations() -> Path:
    try:
        return find_demonstrations()
    except BenchmarkError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def recorded(demonstrations: Path) -> ReplayBuffer:
    return read_pusht(demonstrations, with_images=False)


def test_quarter_turn_by_hand() -> None:
    """Turned by 90 degrees, (x, y) becomes (-y, x): the bar's second corner (60, 0) lies below the body."""
    vertices = block_vertices([10.0, 20.0, np.pi / 2])
    np.testing.assert_allclose(vertices[1], [10.0, 80.0], atol=1e-9)
    np.testing.assert_allclose(vertices[6], [10.0 - 120.0, 20.0 + 15.0], atol=1e-9)


def test_vertices_are_those_of_gym_pusht() -> None:
    pusht = pytest.importorskip("gym_pusht.envs.pusht")
    pymunk = pytest.importorskip("pymunk")
    for pose in POSES:
        body, shapes = pusht.PushTEnv.add_tee(pymunk.Space(), (0, 0), 0.0)
        body.angle, body.position = pose[2], tuple(pose[:2])
        np.testing.assert_allclose(block_vertices(pose), pusht.PushTEnv.get_keypoints(shapes), atol=1e-9)


def test_many_poses_at_once() -> None:
    stacked = block_keypoints(np.stack([POSES, POSES[::-1]]))
    assert stacked.shape == (2, 3, 9, 2)
    np.testing.assert_allclose(stacked[1, 0], block_keypoints(POSES[2]))


def test_the_demonstrations_are_what_was_published(recorded: ReplayBuffer) -> None:
    assert recorded.action.shape == (25_650, 2)
    assert len(recorded.episode_ends) == 206
    assert {name: array.shape[1] for name, array in recorded.vectors.items()} == {
        "agent_position": 2,
        "keypoints": 18,
        "vertices": 16,
        "block_pose": 4,
    }
    for array in (recorded.action, recorded.vectors["agent_position"]):
        assert array.min() > 0
        assert array.max() < 512


def test_keypoints_follow_from_the_pose(recorded: ReplayBuffer) -> None:
    """The policy gets them from the pose when it runs; they must be those that it was trained on."""
    x, y, cos, sin = recorded.vectors["block_pose"].T.astype(np.float64)
    points = block_keypoints(np.stack((x, y, np.arctan2(sin, cos)), axis=1))
    stored = recorded.vectors["keypoints"].reshape(-1, 9, 2)
    error = np.linalg.norm(points - stored, axis=-1).max(axis=1)
    assert (error < 0.1).mean() > 0.997
    # the rest are first steps: a block that was put onto the agent springs away between the two readings
    starts = np.concatenate(([0], recorded.episode_ends[:-1]))
    step = np.arange(len(error)) - np.repeat(starts, np.diff(np.append(starts, len(error))))
    assert error[step >= 5].max() < 0.13


def test_vertices_are_those_of_the_pose(recorded: ReplayBuffer) -> None:
    """Sides of the drawn block: 120 and 30 pixels, whatever the pose."""
    corners = recorded.vectors["vertices"].reshape(-1, 8, 2)
    np.testing.assert_allclose(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1), 120.0, atol=1e-2)
    np.testing.assert_allclose(np.linalg.norm(corners[:, 5] - corners[:, 4], axis=1), 30.0, atol=1e-2)
