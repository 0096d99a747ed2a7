"""The few statistics that the reports print."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


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
    return max(0.0, centre - half), min(1.0, centre + half)


def percentiles(values: Sequence[float], which: Sequence[float] = (50, 90, 99)) -> dict[str, float]:
    """`{"p50": ..., "p90": ..., "p99": ...}`, empty for no values."""
    if len(values) == 0:
        return {}
    found = np.percentile(np.asarray(values, float), which)
    return {f"p{w:g}": float(v) for w, v in zip(which, found, strict=True)}
