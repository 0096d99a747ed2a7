"""Per-dimension statistics of a dataset, for normalisation and for a look at what it covers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class DimensionStatistics:
    """Statistics of each of D dimensions over the valid rows; ``(D,) float64`` each, units of the data."""

    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists under ``min``, ``max``, ``mean`` and ``std``."""
        return {
            "min": self.minimum.tolist(),
            "max": self.maximum.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
        }

    @classmethod
    def from_dict(cls, content: dict[str, list[float]]) -> "DimensionStatistics":
        """Inverse of ``to_dict``."""
        return cls(*(np.asarray(content[key], np.float64) for key in ("min", "max", "mean", "std")))


def compute_statistics(values: NDArray[np.floating], valid: NDArray[np.bool_]) -> DimensionStatistics:
    """Statistics over the valid rows.

    Args:
        values: ``(N, D)`` floats.
        valid: ``(N,) bool``, at least one of them true.

    Raises:
        ValueError: If no row is valid.
    """
    rows = np.asarray(values, np.float64)[valid]
    if not len(rows):
        raise ValueError("statistics need at least one valid row")
    return DimensionStatistics(rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0), rows.std(axis=0))
