import pytest
from dp_recorder.live_health import LiveHealth, measure
from dp_recorder.message_queue import QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from hypothesis import given, settings
from hypothesis import strategies as st

MS = 1_000_000
S = 1000 * MS


def entries(stamps_ms, delay_ms=5):
    return [(round(stamp * MS), round((stamp + delay_ms) * MS)) for stamp in stamps_ms]


def test_a_regular_stream():
    health = measure(entries(range(0, 3000, 10)), 100.0, 3 * S, 2.0)
    # Receipts at 5, 15, ... ms; those of the last 2 s begin at 1005 ms.
    assert health.received == 200 and health.span_s == pytest.approx(1.99)
    assert health.rate_hz == pytest.approx(100.0)
    assert (health.jitter_s, health.delay_s) == (0.0, 0.005)
    assert health.max_gap_s == pytest.approx(0.01) and not health.frozen
    assert health.age_s(3 * S) == pytest.approx(0.01)


def test_a_lost_frame_lowers_the_rate_and_shows_as_a_gap():
    stamps = [t for t in range(0, 2000, 100) if t != 1000]
    health = measure(entries(stamps), 10.0, 2 * S, 2.0)
    assert health.rate_hz == pytest.approx(18 / 1.9)
    assert health.max_gap_s == pytest.approx(0.2) and health.jitter_s == pytest.approx(0.1)


def test_jitter_is_the_99th_percentile():
    stamps, t = [], 0
    for index in range(101):
        stamps.append(t)
        t += 10 + (7 if index == 50 else 3 if index in (20, 60) else 0)
    # 100 intervals: one off by 7 ms, two by 3 ms; 99 of 100 are off by 3 ms at most.
    assert measure(entries(stamps), 100.0, 2 * S, 2.0).jitter_s == pytest.approx(0.003)


def test_stamps_that_stand_still_are_frozen():
    frozen = [(S, S + index * 10 * MS) for index in range(50)]
    health = measure(frozen, 100.0, S + 500 * MS, 2.0)
    assert health.frozen and health.rate_hz == 0.0
    thawed = [*frozen, (S + 500 * MS, S + 501 * MS)]
    assert not measure(thawed, 100.0, S + 510 * MS, 2.0).frozen


def test_repeated_and_backward_stamps_make_no_rate():
    doubled = [t for t in range(0, 1000, 10) for _ in range(2)]
    health = measure(entries(doubled), 100.0, S, 2.0)
    assert health.received == 200 and health.rate_hz == pytest.approx(100.0) and health.jitter_s == 0.0


def test_nothing_and_long_ago():
    assert measure([], 10.0, S, 2.0).age_s(S) is None
    health = measure(entries([0]), 10.0, 9 * S, 2.0)
    assert health.received == 0 and health.age_s(9 * S) == 9.0


def test_slow_streams_are_seen_over_five_periods():
    health = measure(entries(range(0, 20_000, 2000)), 0.5, 20 * S, 2.0)
    assert health.rate_hz == pytest.approx(0.5) and health.received == 5


def test_memory_is_bounded_and_streams_are_kept_apart():
    streams = [RecordedStream("a", "t", True, 10.0, 0.3), RecordedStream("b", "t")]
    health = LiveHealth(streams)
    batch = [QueuedMessage(index % 2, b"", t * MS, t * MS, 0) for index, t in enumerate(range(100_000))]
    assert health.put(batch) == 0
    first, second = health.look(100 * S)
    assert first.received == 80, "three times the contract's rate is kept for the window, and a little more"
    assert second.received == 200 and second.jitter_s == 0.0


@settings(deadline=None)
@given(st.lists(st.integers(1, 400), min_size=2, max_size=40), st.integers(0, 50))
def test_rate_gap_and_delay_agree_with_their_definitions(intervals_ms, delay_ms):
    stamps = [sum(intervals_ms[:index]) for index in range(len(intervals_ms) + 1)]
    health = measure(entries(stamps, delay_ms), 5.0, 100 * S, 200.0)
    assert health.rate_hz == pytest.approx(1000 * len(intervals_ms) / sum(intervals_ms))
    assert health.max_gap_s == pytest.approx(max(intervals_ms) / 1000)
    assert health.delay_s == pytest.approx(delay_ms / 1000)
