"""The few statistics that the reports print."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from dp_core.statistics import wilson_interval


def percentiles(values: Sequence[float], which: Sequence[float] = (50, 90, 99)) -> dict[str, float]:
    """`{"p50": ..., "p90": ..., "p99": ...}`, empty for no values."""
    if len(values) == 0:
        return {}
    found = np.percentile(np.asarray(values, float), which)
    return {f"p{w:g}": float(v) for w, v in zip(which, found, strict=True)}


__all__ = ["percentiles", "wilson_interval"]
