import pytest
from dp_recorder.stream_statistics import StreamStatistics

MS = 1_000_000


def feed(statistics, stamps_ms, sequences=None, size=100):
    for index, stamp in enumerate(stamps_ms):
        statistics.add(stamp * MS, sequences[index] if sequences else index + 1, size)
    return statistics.summary()


def test_a_regular_stream():
    summary = feed(StreamStatistics(100.0), range(0, 1000, 10))
    assert (summary.received, summary.published, summary.lost) == (100, 100, 0)
    assert summary.rate_hz == pytest.approx(100.0)
    assert summary.max_gap_s == pytest.approx(0.01)
    assert (summary.missing_stamps, summary.out_of_order, summary.bytes) == (0, 0, 10_000)
    assert (summary.first_stamp_ns, summary.last_stamp_ns) == (0, 990 * MS)


def test_nothing_received():
    summary = StreamStatistics(10.0).summary()
    assert (summary.received, summary.published, summary.rate_hz) == (0, 0, 0.0)
    assert summary.first_stamp_ns is None and summary.last_stamp_ns is None


def test_lost_messages_show_in_the_publishers_counter():
    summary = feed(StreamStatistics(None), [0, 10, 30, 40], [5, 6, 8, 9])
    assert (summary.received, summary.published, summary.lost) == (4, 5, 1)
    assert summary.missing_stamps == 0, "no rate to judge the stamps by"


def test_a_message_lost_at_the_start_shows_against_the_counter_before():
    assert feed(StreamStatistics(None, sequence_before=10), [0, 10], [12, 13]).lost == 1
    assert feed(StreamStatistics(None, sequence_before=10), [0, 10], [11, 12]).lost == 0


def test_a_message_lost_at_the_end_shows_by_another_account():
    statistics = StreamStatistics(None)
    feed(statistics, [0, 10], [1, 2])
    statistics.published_at_least(2)
    assert statistics.summary().lost == 0
    statistics.published_at_least(4)
    assert (statistics.summary().published, statistics.summary().lost) == (4, 2)


def test_all_lost_shows_when_the_counter_before_is_known():
    statistics = StreamStatistics(None, sequence_before=7)
    statistics.published_at_least(9)
    assert statistics.summary().lost == 2


def test_a_restarted_publisher_is_no_loss():
    summary = feed(StreamStatistics(None), [0, 10, 20, 30, 40], [100, 101, 1, 2, 4])
    assert (summary.published, summary.lost) == (6, 1)


@pytest.mark.parametrize("ambiguous", [True, False])
def test_without_a_usable_counter_published_is_unknown(ambiguous):
    statistics = StreamStatistics(None)
    feed(statistics, [0, 10], [1, 5] if ambiguous else [0, 0])
    if ambiguous:
        statistics.publisher_ambiguous()
    assert statistics.summary().published is None and statistics.summary().lost == 0


@pytest.mark.parametrize(("stamps", "missing"), [([0, 10, 24, 30], 0), ([0, 10, 30, 40], 1), ([0, 10, 60], 4)])
def test_missing_samples_show_in_the_stamps(stamps, missing):
    assert feed(StreamStatistics(100.0), stamps).missing_stamps == missing


def test_stamps_that_do_not_advance_are_counted():
    summary = feed(StreamStatistics(100.0), [0, 10, 10, 5, 20])
    assert summary.out_of_order == 2 and summary.max_gap_s == pytest.approx(0.01)


def test_dropped():
    statistics = StreamStatistics()
    statistics.add_dropped(3)
    assert statistics.summary().dropped == 3


def test_jitter_and_delay_by_the_stamps():
    statistics = StreamStatistics(100.0)
    stamps_ms = [10 * index + (3 if index % 10 == 5 else 0) for index in range(100)]
    for index, stamp in enumerate(stamps_ms):
        statistics.add(stamp * MS, index + 1, 10, stamp * MS + 4 * MS)
    summary = statistics.summary()
    # Two of ten intervals are off by 3 ms; buckets are good to a sixteenth.
    assert summary.jitter_s == pytest.approx(0.003, rel=1 / 16)
    assert summary.delay_s == pytest.approx(0.004, rel=1 / 16)


def test_without_rate_or_receipt_there_is_neither():
    statistics = StreamStatistics(None)
    feed(statistics, [0, 10, 500])
    assert (statistics.summary().jitter_s, statistics.summary().delay_s) == (0.0, 0.0)
