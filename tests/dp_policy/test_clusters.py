from __future__ import annotations

import pytest
import torch
from dp_policy.clusters import ClusterError, kmeans, nearest_centre

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [5.0, 5.0]])


def sorted_rows(points: torch.Tensor) -> torch.Tensor:
    return torch.tensor(sorted(points.tolist()))


@pytest.mark.parametrize("seed", range(5))
def test_finds_separate_groups_of_unequal_size(seed: int) -> None:
    """Groups of 10, 20, 40, 80 and 160 points; k-means++ spreads its first centres, so no seed misses a group."""
    generator = torch.Generator().manual_seed(seed)
    groups = [corner + 0.03 * torch.randn(10 * 2**i, 2, generator=generator) for i, corner in enumerate(CORNERS)]
    means = torch.stack([group.mean(dim=0) for group in groups])
    centres = kmeans(torch.cat(groups), 5, 50, generator)
    torch.testing.assert_close(sorted_rows(centres), sorted_rows(means), atol=1e-5, rtol=0)


def test_one_round_by_hand() -> None:
    """Points 0, 1, 10, 11: whatever the first centres, the best two clusters are {0, 1} and {10, 11}."""
    points = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    for seed in range(10):
        centres = kmeans(points, 2, 10, torch.Generator().manual_seed(seed))
        assert sorted(centres.flatten().tolist()) == [0.5, 10.5]


def test_same_seed_same_centres() -> None:
    points = torch.rand(500, 2)
    once, again = (kmeans(points, 7, 20, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)


def test_nearest_centre_by_hand() -> None:
    points = torch.tensor([[[0.1, 0.1], [0.9, 0.2]], [[4.0, 4.0], [0.2, 0.8]]])
    assert nearest_centre(points, CORNERS).tolist() == [[0, 2], [4, 1]]


def test_too_few_different_points_are_named() -> None:
    with pytest.raises(ClusterError, match="8 clusters need as many different points; there are 3"):
        kmeans(torch.tensor([[0.0], [1.0], [2.0]]).repeat(10, 1), 8, 5, torch.Generator())
