"""The mean rotation against scipy, and the ensemble by hand."""

import numpy as np
import pytest
from dp_core.chunk_ensemble import ChunkEnsemble, mean_pose, mean_rotation, pose_at
from dp_core.chunk_schedule import Chunk
from scipy.spatial.transform import Rotation

SECOND = 10**9


def make_chunk(first_ns, x, widths=0.08, n=4, observed_ns=None):
    stamps = first_ns + np.arange(n, dtype=np.int64) * SECOND
    poses = np.tile([0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0], (n, 1))
    poses[:, 0] = x
    return Chunk(0, observed_ns or first_ns, stamps, poses, np.broadcast_to(widths, n).astype(float), n)


@pytest.mark.parametrize("seed", range(8))
def test_mean_rotation_is_that_of_scipy_whatever_the_signs(seed):
    rng = np.random.default_rng(seed)
    rotations = Rotation.random(random_state=seed) * Rotation.from_rotvec(rng.normal(scale=0.7, size=(5, 3)))
    weights = rng.uniform(0.1, 1.0, 5)
    flipped = rotations.as_quat() * rng.choice([-1.0, 1.0], (5, 1))
    mean = mean_rotation(flipped, weights)
    assert (Rotation.from_quat(mean) * rotations.mean(weights).inv()).magnitude() < 1e-7
    assert mean @ flipped[0] >= 0.0


def test_of_two_rotations_that_differ_by_more_than_pi_in_numbers_the_mean_lies_between():
    """Gripper down: rotation vectors just below and above pi, whose mean element by element is no rotation at all."""
    quats = Rotation.from_rotvec([[np.pi - 0.1, 0.0, 0.0], [-np.pi + 0.1, 0.0, 0.0]]).as_quat()
    mean = Rotation.from_quat(mean_rotation(quats, [1.0, 1.0]))
    assert (mean * Rotation.from_rotvec([np.pi, 0.0, 0.0]).inv()).magnitude() == pytest.approx(0.0, abs=1e-9)


def test_mean_pose_weighs_positions():
    poses = np.array([[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 1.0, 0.0, 0.0, 0.0, -1.0]])
    np.testing.assert_allclose(mean_pose(poses, [3.0, 1.0]), [0.25, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(
    ("quats", "weights"),
    [(np.eye(4), [1.0, 1.0]), (np.eye(4), [1.0, 1.0, 1.0, -1.0]), (np.eye(4), np.zeros(4)), (np.zeros((0, 4)), [])],
)
def test_senseless_weights_are_refused(quats, weights):
    with pytest.raises(ValueError, match="weights"):
        mean_rotation(quats, weights)


def test_the_oldest_weighs_most_and_the_newest_moves_the_gripper():
    ensemble = ChunkEnsemble(decay=np.log(3.0))
    ensemble.add(make_chunk(0, x=0.0, widths=0.08), 0)
    ensemble.add(make_chunk(SECOND, x=1.0, widths=[0.08, 0.0, 0.08, 0.08]), SECOND)
    pose, width = ensemble.at(2 * SECOND)
    assert pose[0] == pytest.approx(0.25)  # weights 3 : 1
    assert width == 0.0
    assert ensemble.at(4 * SECOND)[0][0] == 1.0  # only the newer one reaches so far
    assert ensemble.at(5 * SECOND) is None and ensemble.at(-1) is None


def test_chunks_that_have_ended_are_forgotten():
    ensemble = ChunkEnsemble()
    ensemble.add(make_chunk(0, x=0.0), 0)
    ensemble.add(make_chunk(4 * SECOND, x=1.0), 4 * SECOND)
    assert len(ensemble) == 1


def test_between_actions_a_chunk_is_straight_and_outside_it_stands():
    chunk = make_chunk(0, x=[0.0, 1.0, 3.0, 4.0])
    assert [pose_at(chunk, round(t * SECOND))[0] for t in (-1.0, 0.5, 1.5, 3.0, 9.0)] == [0.0, 0.5, 2.0, 4.0, 4.0]
    assert pose_at(make_chunk(0, x=2.0, n=1), SECOND)[0] == 2.0
