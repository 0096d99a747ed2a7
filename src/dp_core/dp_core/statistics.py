"""Intervals for the figures that reports print. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of a proportion.

    Args:
        successes: 0 to `trials`.
        trials: number of independent trials; 0 gives (0, 1).
        z: standard normal quantile; the default is the 95 % interval.

    Returns:
        Lower and upper bound in [0, 1].
    """
    if trials == 0:
        return 0.0, 1.0
    if not 0 <= successes <= trials:
        raise ValueError(f"successes: {successes} is not in 0..{trials}")
    p = successes / trials
    scale = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / scale
    half = z * math.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / scale
    # Rounding must not put the proportion itself outside: at none and at all of them a bound is exactly 0 or 1.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def bootstrap_mean_interval(values: ArrayLike, level: float = 0.95, resamples: int = 4000) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean; the same values always give the same interval.

    Args:
        values: (N,) independent values, N at least 1.
        level: share of resampled means inside the interval.
        resamples: how many means are drawn.

    Returns:
        Lower and upper bound.
    """
    sample = np.asarray(values, float)
    chosen = np.random.default_rng(0).integers(0, len(sample), (resamples, len(sample)))
    low, high = np.quantile(sample[chosen].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
