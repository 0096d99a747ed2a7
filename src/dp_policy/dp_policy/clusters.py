"""K-means clusters of actions."""

from __future__ import annotations

import torch
from torch import Tensor

#: Rows of a distance table that are held at once.
ROWS = 65536


class ClusterError(ValueError):
    """There are fewer different points than clusters asked for."""


def nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    """Number of the centre (K, A) nearest to each point (..., A); (...) int64."""
    flat = points.reshape(-1, points.shape[-1])
    parts = [torch.cdist(part, centres).argmin(dim=1) for part in flat.split(ROWS)]
    return torch.cat(parts).view(points.shape[:-1])


def kmeans(points: Tensor, clusters: int, iterations: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm from k-means++ centres (Arthur & Vassilvitskii 2007).

    A cluster that loses all its points is set to a random point, as in the code of behaviour transformers, which
    start from random points.

    Args:
        points: (N, A) float32.
        clusters: K.
        iterations: rounds at most; fewer if nothing moves any more.
        generator: of the first centres.

    Returns:
        (K, A) float32.

    Raises:
        ClusterError: there are fewer than K different points.
    """
    different = len(torch.unique(points, dim=0))
    if different < clusters:
        raise ClusterError(f"{clusters} clusters need as many different points; there are {different}")
    centres = _spread_centres(points, clusters, generator)
    for _ in range(iterations):
        member = nearest_centre(points, centres)
        counts = torch.bincount(member, minlength=clusters)
        sums = torch.zeros_like(centres).index_add_(0, member, points)
        moved = sums / counts.clamp_min(1).unsqueeze(1)
        dead = counts == 0
        moved[dead] = points[torch.randint(len(points), (int(dead.sum()),), generator=generator)]
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def _spread_centres(points: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """First centres, each drawn with odds in proportion to the squared distance from those before."""
    first = int(torch.randint(len(points), (1,), generator=generator))
    centres = points[first : first + 1]
    distance = (points - centres).square().sum(dim=1)
    while len(centres) < clusters:
        # A cumulative sum in float64: multinomial takes no more than 2^24 points and loses small odds in float32.
        odds = distance.double().cumsum(dim=0)
        place = torch.rand(1, generator=generator, dtype=torch.float64) * odds[-1]
        chosen = points[int(torch.searchsorted(odds, place, right=True).clamp_max(len(points) - 1))]
        centres = torch.cat([centres, chosen.unsqueeze(0)])
        distance = torch.minimum(distance, (points - chosen).square().sum(dim=1))
    return centres
