"""Quantiles of a stream of numbers in constant memory."""

import numpy as np
from numpy.typing import NDArray

_CAPACITY = 65536


class RunningQuantiles:
    """Keeps every number up to 65536 of them, then every second, fourth, ... of those that come; the extremes always.

    Attributes:
        count: How many numbers were added.
        minimum: The least of them; 0 before the first.
        maximum: The greatest of them; 0 before the first.
    """

    def __init__(self) -> None:
        self._kept: NDArray[np.float64] = np.empty(_CAPACITY)
        self._size = 0
        self._stride = 1
        self.count = 0
        self.minimum = 0.0
        self.maximum = 0.0

    def add(self, value: float) -> None:
        """Take one number."""
        if self.count == 0:
            self.minimum = self.maximum = value
        elif value < self.minimum:
            self.minimum = value
        elif value > self.maximum:
            self.maximum = value
        if self.count % self._stride == 0:
            if self._size == _CAPACITY:
                self._size = _CAPACITY // 2
                self._kept[: self._size] = self._kept[::2].copy()
                self._stride *= 2
                if self.count % self._stride:
                    self.count += 1
                    return
            self._kept[self._size] = value
            self._size += 1
        self.count += 1

    def quantile(self, share: float) -> float:
        """The number below which a share in [0, 1] of all lies; 0 if there is none."""
        return float(np.quantile(self._kept[: self._size], share)) if self._size else 0.0
