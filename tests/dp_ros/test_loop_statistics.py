"""Percentiles of a loop's window against numpy on the plain list of its times."""

import numpy as np
import pytest
from dp_ros.loop_diagnostics import LoopReporter
from dp_ros.loop_statistics import LoopStatistics

NOMINAL = 4_000_000


def record_all(statistics, began):
    for i, t in enumerate(began):
        statistics.record(int(t), int((i + 1) * NOMINAL))


@pytest.mark.parametrize("cycles", [2, 60, 100, 101, 350])
def test_percentiles_are_those_of_the_last_window(cycles):
    rng = np.random.default_rng(cycles)
    began = (np.arange(cycles) + 1) * NOMINAL + rng.integers(0, 900_000, cycles)
    statistics = LoopStatistics(NOMINAL, window=100)
    record_all(statistics, began)
    found = statistics.snapshot()
    periods = np.diff(began)[-100:] / 1e3
    lateness = (began - (np.arange(cycles) + 1) * NOMINAL)[1:][-100:] / 1e3
    assert found.cycles == cycles and found.periods == len(periods)
    np.testing.assert_allclose(found.period_us, np.percentile(periods, [50, 99, 99.9]))
    np.testing.assert_allclose(found.jitter_us, np.percentile(np.abs(periods - 4000), [50, 99, 99.9]))
    np.testing.assert_allclose(found.lateness_us, np.percentile(lateness, [50, 99, 99.9]))
    assert found.period_max_us == pytest.approx(periods.max())
    assert found.jitter_max_us == pytest.approx(np.abs(periods - 4000).max())


def test_a_loop_that_has_not_run_reports_zeros():
    statistics = LoopStatistics(NOMINAL)
    assert statistics.snapshot().period_us == (0.0, 0.0, 0.0)
    statistics.record(NOMINAL, NOMINAL)
    assert statistics.snapshot().periods == 0 and statistics.snapshot().cycles == 1


def test_recording_allocates_nothing_that_stays():
    import tracemalloc

    def growth():
        statistics = LoopStatistics(NOMINAL, window=50)
        statistics.record(0, 0)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for i in range(1, 2000):
            statistics.record(i * NOMINAL, i * NOMINAL)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return grown

    # Threads of other tests may allocate meanwhile; what recording itself keeps is there each time.
    assert min(growth() for _ in range(5)) < 500


def test_the_report_warns_once_about_cycles_skipped_since_the_last():
    statistics = LoopStatistics(NOMINAL)
    reporter = LoopReporter("control: loop", ["SCHED_FIFO 40 refused"])
    for i in range(1, 4):
        statistics.record(i * NOMINAL, i * NOMINAL)
    assert reporter.status(statistics.snapshot()).level == b"\x00"
    statistics.record(9 * NOMINAL, 9 * NOMINAL, skipped=5)
    warned = reporter.status(statistics.snapshot())
    values = {entry.key: entry.value for entry in warned.values}
    assert warned.level == b"\x01" and "5 cycles" in warned.message
    assert values["overruns"] == "1" and values["skipped"] == "5" and values["period_us_max"] == "24000"
    assert values["real_time_refused"] == "SCHED_FIFO 40 refused"
    assert reporter.status(statistics.snapshot()).level == b"\x00"
