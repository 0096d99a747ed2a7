"""How what a process holds grows, by figures that a few outliers and a periodic load do not move. Pure.

Memory by a slope; threads and open files by how their range has moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dp_bringup.soak.process_samples import ProcessSample

#: Samples are put together over this time, about an episode, so that what episodes take and give back is not growth.
BLOCK_S = 15.0
_SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class ProcessGrowth:
    """One process over a run. Memory is resident memory in MiB; "growth" is that of the second half of the run.

    Attributes:
        process: its name.
        first_mib: at the beginning of the second half.
        last_mib: at the end.
        growth_mib: slope times the duration of the second half.
        growth_mib_per_h: slope.
        anonymous_mib: anonymous part at the end.
        pss_mib: proportional share at the end; None when it was never measured.
        threads: number at the beginning of the second half and at the end.
        files: the same for open files.
        threads_growth: by how much both the fewest and the most threads went up from the third quarter to the fourth.
        files_growth: the same for open files.
        cpu_cores: mean use of the processor over the whole run.
    """

    process: str
    first_mib: float
    last_mib: float
    growth_mib: float
    growth_mib_per_h: float
    anonymous_mib: float
    pss_mib: float | None
    threads: tuple[int, int]
    files: tuple[int, int]
    threads_growth: int
    files_growth: int
    cpu_cores: float


def robust_slope(times: ArrayLike, values: ArrayLike) -> float:
    """Theil-Sen slope: the median of the slopes between all pairs of points; 0 with fewer than two.

    Source: Sen, Estimates of the regression coefficient based on Kendall's tau, JASA 63, 1968.
    """
    t, v = np.asarray(times, float), np.asarray(values, float)
    first, second = np.triu_indices(len(t), k=1)
    apart = t[second] - t[first]
    if not np.any(apart):
        return 0.0
    return float(np.median((v[second] - v[first])[apart != 0] / apart[apart != 0]))


def range_growth(counts: Sequence[int]) -> int:
    """By how much the range of a count went up from the first half to the second; negative where it went down.

    What is opened and closed again, such as the bag of each episode, widens the range; what is never given back raises
    both its ends.
    """
    middle = len(counts) // 2
    before, after = counts[:middle] or counts, counts[middle:]
    up = (min(after) - min(before), max(after) - max(before))
    return min(up) if min(up) > 0 else min(0, max(up))


def process_growth(samples: Iterable[ProcessSample]) -> list[ProcessGrowth]:
    """The growth of each process, in the order in which they were first seen.

    A process that began or ended in the second half is judged by the part of it that it lived through.
    """
    by_process: dict[str, list[ProcessSample]] = {}
    for sample in samples:
        by_process.setdefault(f"{sample.process} {sample.pid}", []).append(sample)
    if not by_process:
        return []
    last_s = max(own[-1].t_s for own in by_process.values())
    return [_growth(own, 0.5 * last_s) for own in by_process.values()]


def _growth(own: list[ProcessSample], half_s: float) -> ProcessGrowth:
    later = [sample for sample in own if sample.t_s >= half_s] or own[-1:]
    times, memory = _blocks(later)
    slope = robust_slope(times, memory)
    shares = [sample.pss_mib for sample in own if sample.pss_mib is not None]
    lived_s = own[-1].t_s - own[0].t_s
    return ProcessGrowth(
        process=own[0].process,
        first_mib=float(memory[0]),
        last_mib=float(memory[-1]),
        growth_mib=slope * (later[-1].t_s - later[0].t_s),
        growth_mib_per_h=slope * _SECONDS_PER_HOUR,
        anonymous_mib=later[-1].anonymous_mib,
        pss_mib=shares[-1] if shares else None,
        threads=(later[0].threads, later[-1].threads),
        files=(later[0].files, later[-1].files),
        threads_growth=range_growth([sample.threads for sample in later]),
        files_growth=range_growth([sample.files for sample in later]),
        cpu_cores=(own[-1].cpu_s - own[0].cpu_s) / lived_s if lived_s else 0.0,
    )


def _blocks(samples: list[ProcessSample]) -> tuple[np.ndarray, np.ndarray]:
    """Median time and memory of equal parts of about :data:`BLOCK_S`."""
    times = np.array([sample.t_s for sample in samples])
    memory = np.array([sample.rss_mib for sample in samples])
    span_s = times[-1] - times[0]
    count = max(1, round(span_s / BLOCK_S))
    numbers = np.minimum((times - times[0]) * count // max(span_s, 1e-9), count - 1)
    blocks = [numbers == number for number in np.unique(numbers)]
    return np.array([np.median(times[b]) for b in blocks]), np.array([np.median(memory[b]) for b in blocks])
