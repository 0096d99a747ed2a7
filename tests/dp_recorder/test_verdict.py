import dataclasses

import pytest
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamStatistics
from dp_recorder.verdict import judge

REQUIRED = RecordedStream("robot/ee_pose", "geometry_msgs/msg/PoseStamped", True, 100.0, 0.1)
OPTIONAL = RecordedStream("policy/chunk", "dp_msgs/msg/ActionChunk")


def summary(**changes):
    statistics = StreamStatistics(100.0)
    for index in range(100):
        statistics.add(index * 10_000_000, index + 1, 10)
    return dataclasses.replace(statistics.summary(), **changes)


NOTHING = StreamStatistics().summary()


def test_good_has_no_reasons():
    verdict = judge([REQUIRED, OPTIONAL], [summary(), NOTHING], None)
    assert (verdict.level, verdict.reasons) == ("good", ())


@pytest.mark.parametrize(
    ("changes", "level", "reason"),
    [
        ({"dropped": 1}, "bad", "1 messages dropped"),
        ({"received": 0}, "bad", "nothing received"),
        ({"lost": 2, "published": 102}, "suspect", "2 of 102 published messages lost"),
        ({"out_of_order": 1}, "suspect", "1 stamps not after"),
        ({"max_gap_s": 0.2}, "suspect", "gap of 0.200 s between stamps, allowed 0.100 s"),
        ({"jitter_s": 0.021}, "suspect", "jitter of 21 ms (99th percentile), allowed 20 ms"),
        ({"delay_s": 0.11}, "suspect", "stamps are 0.110 s old when received, allowed 0.100 s"),
        ({"delay_s": -0.03}, "suspect", "stamps lie 0.030 s in the future"),
        ({"delay_s": -7200.0}, "suspect", "stamps are 7.2e+03 s ahead of our clock: not ROS time"),
    ],
)
def test_each_fault_is_judged_and_named(changes, level, reason):
    verdict = judge([REQUIRED], [summary(**changes)], None)
    assert verdict.level == level
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("robot/ee_pose: ") and reason in verdict.reasons[0]


def test_a_write_failure_comes_first():
    verdict = judge([REQUIRED], [summary(lost=1, published=101)], "no space left")
    assert verdict.level == "bad" and verdict.reasons[0] == "no space left" and len(verdict.reasons) == 2


def test_optional_streams_may_pause_but_not_lose():
    assert judge([OPTIONAL], [summary(max_gap_s=5.0)], None).level == "good"
    assert judge([OPTIONAL], [summary(lost=1, published=101)], None).level == "suspect"


def test_slow_streams_may_be_less_even():
    camera = dataclasses.replace(REQUIRED, rate_hz=10.0)
    assert judge([camera], [summary(jitter_s=0.049)], None).level == "good", "half a period is 50 ms"
    assert judge([camera], [summary(jitter_s=0.051)], None).level == "suspect"


def test_in_simulation_delays_say_nothing():
    assert judge([REQUIRED], [summary(delay_s=0.5)], None, simulated=True).level == "good"


def test_an_episode_without_a_label_is_doubtful():
    assert judge([REQUIRED], [summary()], None, outcome="success").level == "good"
    verdict = judge([REQUIRED], [summary()], None, outcome="unlabelled")
    assert (verdict.level, len(verdict.reasons)) == ("suspect", 1) and "no label" in verdict.reasons[0]


def test_the_worst_comes_first():
    # Twice the gap allowed; 30 of 100 out of order; 2 of 102 lost.
    doubtful = summary(max_gap_s=0.2, out_of_order=30, lost=2, published=102)
    reasons = judge([REQUIRED], [doubtful], None, outcome="unlabelled").reasons
    expected = ["30 stamps not after", "gap of 0.200 s", "2 of 102 published", "it has no label"]
    assert [text in reason for text, reason in zip(expected, reasons, strict=True)] == [True] * 4


@pytest.mark.parametrize(
    ("span_s", "reason"),
    [
        ((0.0, 1.09), None),
        ((-0.1, 0.99), None),
        ((0.0, 30.0), "robot/ee_pose: nothing in the last 29.01 s"),
        ((-2.0, 1.0), "robot/ee_pose: nothing in the first 2.00 s"),
    ],
)
def test_a_stream_that_ends_early_or_begins_late_is_doubtful(span_s, reason):
    span_ns = (round(span_s[0] * 1e9), round(span_s[1] * 1e9))
    verdict = judge([REQUIRED, OPTIONAL], [summary(), summary()], None, span_ns=span_ns)
    assert verdict.reasons == (() if reason is None else (reason,))
    assert judge([REQUIRED], [summary(delay_s=-7200.0)], None, span_ns=span_ns).level == "suspect"


@pytest.mark.parametrize(
    ("period_ms", "count", "reasons"),
    [
        (10, 300, ()),
        (11, 300, ()),
        (15, 300, ("robot/ee_pose: 66.7 Hz, the contract asks for 100 Hz",)),
        (5, 600, ("robot/ee_pose: 200.0 Hz, the contract asks for 100 Hz",)),
        (15, 100, ()),
    ],
)
def test_an_even_stream_of_another_rate_is_doubtful(period_ms, count, reasons):
    statistics = StreamStatistics(100.0)
    for index in range(count):
        statistics.add(index * period_ms * 1_000_000, index + 1, 10)
    assert judge([REQUIRED], [statistics.summary()], None).reasons == reasons
    relaxed = judge([REQUIRED], [statistics.summary()], None, simulated=True).reasons
    assert relaxed == (() if period_ms == 15 else reasons)
