"""Statistics of a periodic loop over a sliding window, for its diagnostics.

The loop calls :meth:`LoopStatistics.record` once in each cycle: two writes into arrays made beforehand. Whoever reports
calls :meth:`LoopStatistics.snapshot`, from any thread, which works on copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Default window: 20 s at 250 Hz, so that five periods lie above the 99.9th percentile.
WINDOW = 5000
_PERCENTILES = (50.0, 99.0, 99.9)


@dataclass(frozen=True)
class LoopSnapshot:
    """State of a loop; times in microseconds over the window, zero before the second cycle.

    Attributes:
        nominal_us: the period that was asked for.
        cycles: since the loop started.
        periods: number of periods in the window.
        period_us: p50, p99 and p99.9 of the time from the start of one cycle to that of the next.
        jitter_us: the same of ``|period - nominal|``; a period after skipped ones counts with all that is missing.
        lateness_us: the same of the time by which a cycle began after it was due.
        period_max_us: the longest period.
        jitter_max_us: the largest ``|period - nominal|``.
        overruns: cycles that began so late that others were skipped, since the loop started.
        skipped: the cycles that were skipped, since the loop started.
    """

    nominal_us: float
    cycles: int
    periods: int
    period_us: tuple[float, float, float]
    jitter_us: tuple[float, float, float]
    lateness_us: tuple[float, float, float]
    period_max_us: float
    jitter_max_us: float
    overruns: int
    skipped: int

    def values(self) -> dict[str, str]:
        """What diagnostics show, by key."""
        shown = {
            "nominal_us": f"{self.nominal_us:.0f}",
            "cycles": str(self.cycles),
            "overruns": str(self.overruns),
            "skipped": str(self.skipped),
        }
        for name, figures in (("period", self.period_us), ("jitter", self.jitter_us), ("lateness", self.lateness_us)):
            for rank, figure in zip(("p50", "p99", "p99.9"), figures, strict=True):
                shown[f"{name}_us_{rank}"] = f"{figure:.0f}"
        shown["period_us_max"] = f"{self.period_max_us:.0f}"
        shown["jitter_us_max"] = f"{self.jitter_max_us:.0f}"
        return shown


class LoopStatistics:
    """Sliding window of a loop's periods. One thread records, any may take a snapshot.

    Args:
        nominal_ns: the period that the loop should keep.
        window: number of periods looked at.
    """

    def __init__(self, nominal_ns: int, window: int = WINDOW) -> None:
        if nominal_ns <= 0 or window < 1:
            raise ValueError(f"nominal_ns {nominal_ns} and window {window} must be positive")
        self._nominal_ns = nominal_ns
        self._periods_ns = np.zeros(window, dtype=np.int64)
        self._lateness_ns = np.zeros(window, dtype=np.int64)
        self._last_ns = 0
        self._cycles = 0
        self.overruns = 0
        self.skipped = 0

    def record(self, began_ns: int, due_ns: int, skipped: int = 0) -> None:
        """Note a cycle.

        Args:
            began_ns: when it began, monotonic.
            due_ns: when it should have begun.
            skipped: cycles left out just before it, because the loop was late.
        """
        if self._cycles:
            place = (self._cycles - 1) % len(self._periods_ns)
            self._periods_ns[place] = began_ns - self._last_ns
            self._lateness_ns[place] = began_ns - due_ns
        self._last_ns = began_ns
        self._cycles += 1
        if skipped:
            self.overruns += 1
            self.skipped += skipped

    def snapshot(self) -> LoopSnapshot:
        """The window as it is now."""
        cycles = self._cycles
        count = min(max(cycles - 1, 0), len(self._periods_ns))
        nominal_us = 1e-3 * self._nominal_ns
        periods_us = 1e-3 * self._periods_ns[:count]
        jitter_us = np.abs(periods_us - nominal_us)
        return LoopSnapshot(
            nominal_us=nominal_us,
            cycles=cycles,
            periods=count,
            period_us=_ranks(periods_us),
            jitter_us=_ranks(jitter_us),
            lateness_us=_ranks(1e-3 * self._lateness_ns[:count]),
            period_max_us=float(periods_us.max(initial=0.0)),
            jitter_max_us=float(jitter_us.max(initial=0.0)),
            overruns=self.overruns,
            skipped=self.skipped,
        )


def _ranks(values: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    if not len(values):
        return 0.0, 0.0, 0.0
    median, high, highest = np.percentile(values, _PERCENTILES)
    return float(median), float(high), float(highest)
