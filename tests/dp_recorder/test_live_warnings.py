import dataclasses

import pytest
from dp_recorder.live_health import StreamHealth
from dp_recorder.live_warnings import DiskState, LiveWarnings
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamStatistics

S = 1_000_000_000
NOW = 100 * S
POSE = RecordedStream("robot/ee_pose", "geometry_msgs/msg/PoseStamped", True, 100.0, 0.1)
CHUNK = RecordedStream("policy/chunk", "dp_msgs/msg/ActionChunk")
WELL = StreamHealth(
    received=200, span_s=1.99, rate_hz=100.0, delay_s=0.002, newest_stamp_ns=NOW, newest_received_ns=NOW
)
NOTHING = StreamStatistics().summary()


def warnings(simulated=False):
    watch = LiveWarnings([POSE, CHUNK], simulated=simulated)
    watch.begin([WELL, StreamHealth()])
    return watch


def at(t_ns):
    return dataclasses.replace(WELL, newest_stamp_ns=t_ns)


def test_all_is_well():
    assert warnings().stream_problems([WELL, StreamHealth()], [NOTHING, NOTHING], NOW) == ["", ""]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"jitter_s": 0.021}, "jitter of 21 ms, allowed 20 ms"),
        ({"delay_s": 0.06}, "its clock drifts: stamps were 2 ms old when received, now 60 ms"),
        ({"frozen": True}, "stand still"),
        ({"rate_hz": 50.0}, "50.0 Hz, at least 90.0 Hz"),
        ({"newest_stamp_ns": NOW - S // 2}, "0.50 s old, allowed 0.1 s"),
    ],
)
def test_a_stream_that_goes_wrong_is_told(changes, text):
    state = dataclasses.replace(WELL, **changes)
    first, second = warnings().stream_problems([state, StreamHealth()], None, NOW)
    assert text in first and second == ""


def test_in_simulation_no_clock_drifts():
    state = dataclasses.replace(WELL, delay_s=0.06)
    assert warnings(simulated=True).stream_problems([state, StreamHealth()], None, NOW) == ["", ""]


def test_a_loss_is_told_for_a_while_and_again_when_it_grows():
    watch, lost = warnings(), dataclasses.replace(NOTHING, lost=2, published=50)
    times = (NOW, NOW + 4 * S, NOW + 6 * S)
    told = [watch.stream_problems([at(t), StreamHealth()], [lost, NOTHING], t)[0] for t in times]
    assert told == ["2 of 50 published messages lost"] * 2 + [""]
    more = dataclasses.replace(lost, lost=3, published=60)
    later = NOW + 7 * S
    assert watch.stream_problems([at(later), StreamHealth()], [more, NOTHING], later)[0].startswith("3 of 60")
    watch.begin([WELL, StreamHealth()])
    assert watch.stream_problems([WELL, StreamHealth()], [NOTHING, NOTHING], NOW)[0] == "", "of the episode before"


def test_dropped_messages_and_gaps_are_told_apart():
    gap = dataclasses.replace(NOTHING, missing_stamps=4, max_gap_s=0.05)
    assert warnings().stream_problems([WELL, StreamHealth()], [gap, gap], NOW) == [
        "4 samples missing by the stamps, longest gap 0.05 s",
        "",
    ]
    dropped = dataclasses.replace(NOTHING, dropped=7)
    first, second = warnings().stream_problems([WELL, StreamHealth()], [NOTHING, dropped], NOW)
    assert first == "" and second == "7 messages dropped: this episode is spoilt"


def test_the_disk():
    gib = 2**30
    assert DiskState(100 * gib, gib, 25e6, 0.0, 0.4).warnings() == []
    assert DiskState(100 * gib, gib).minutes_left is None
    # 10 GiB above the least at 17,895,697 bytes/s are 600 s.
    filling = DiskState(11 * gib, gib, 10 * gib / 600, 0.0, 0.0)
    assert filling.minutes_left == pytest.approx(10.0)
    assert filling.warnings() == ["the disk is full in 10 min at the present rate"]
    assert DiskState(int(1.5 * gib), gib).warnings() == ["only 1.5 GiB free on the disk"]
    assert DiskState(100 * gib, gib, 1.0, 0.3, 2.0).warnings() == [
        "the disk is too slow: the queue before it is 30 % full"
    ]
    assert DiskState(100 * gib, gib, 1.0, 0.0, 1.2).warnings() == ["the disk is slow: data takes 1.2 s to reach it"]
