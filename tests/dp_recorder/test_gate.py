import dataclasses

import pytest
from dp_recorder.gate import gate_problems, stream_problem
from dp_recorder.live_health import StreamHealth
from dp_recorder.recorded_streams import RecordedStream

S = 1_000_000_000
NOW = 100 * S
CAMERA = RecordedStream("camera/front", "sensor_msgs/msg/Image", True, 30.0, 0.15)
OPTIONAL = RecordedStream("policy/chunk", "dp_msgs/msg/ActionChunk")
WELL = StreamHealth(
    received=45, span_s=1.47, rate_hz=30.0, max_gap_s=0.033, jitter_s=0.001, delay_s=0.04,
    newest_stamp_ns=NOW - 50_000_000, newest_received_ns=NOW - 10_000_000,
)  # fmt: skip


def problem(simulated=False, patience_s=0.0, **changes):
    health = dataclasses.replace(WELL, **changes)
    return stream_problem(CAMERA, health, NOW, simulated=simulated, patience_s=patience_s)


def test_a_stream_that_is_well_passes():
    assert problem() == "" and problem(simulated=True) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rate_hz": 26.9}, "26.9 Hz, at least 27.0 Hz are needed (90 % of the contract's 30)"),
        ({"rate_hz": 60.0}, "60.0 Hz, far above the contract's 30 Hz: two publishers, or a wrong rate"),
        ({"span_s": 0.5}, "only 0.5 s of it received so far, 0.8 s are needed"),
        ({"newest_stamp_ns": NOW - 200_000_000}, "its newest message is 0.20 s old, allowed 0.15 s"),
        ({"newest_stamp_ns": NOW + S // 20}, "its newest stamp lies 0.050 s in the future"),
        ({"delay_s": 0.3}, "stamps are 0.300 s old when received, allowed 0.150 s"),
        ({"delay_s": -0.03}, "stamps lie 0.030 s in the future"),
        ({"delay_s": 1.7e9}, "stamps are 1.7e+09 s behind our clock: not ROS time"),
        ({"frozen": True}, "its stamps stand still while messages come"),
        ({"newest_stamp_ns": 0}, "its stamps are not set (0)"),
        ({"newest_stamp_ns": None}, "nothing received"),
    ],
)
def test_each_fault_has_a_readable_reason(changes, reason):
    assert reason in problem(**changes)


@pytest.mark.parametrize("rate_hz", [27.0, 44.9])
def test_rates_within_the_band_pass(rate_hz):
    assert problem(rate_hz=rate_hz) == ""


def test_between_two_messages_a_patient_look_sees_no_silence():
    assert problem(newest_stamp_ns=NOW - 170_000_000, patience_s=1 / 30) == ""
    assert "old" in problem(newest_stamp_ns=NOW - 190_000_000, patience_s=1 / 30)


def test_in_simulation_delays_say_nothing_about_clocks():
    assert problem(simulated=True, delay_s=0.4) == "" and problem(simulated=True, delay_s=-0.03) == ""
    assert problem(simulated=True, newest_stamp_ns=NOW + S // 2) == "", "/clock is taken a moment apart"
    assert "in the future" in problem(simulated=True, newest_stamp_ns=NOW + 2 * S)
    assert "old" in problem(simulated=True, newest_stamp_ns=NOW - S)


def test_in_simulation_a_busy_machine_is_forgiven_more():
    assert problem(simulated=True, rate_hz=18.1) == ""
    assert "17.9 Hz, at least 18.0 Hz are needed (60 % of the contract's 30)" in problem(simulated=True, rate_hz=17.9)


def test_only_required_streams_count_and_silent_ones_are_told_by_others():
    slow = dataclasses.replace(WELL, rate_hz=3.0)
    streams, health = [CAMERA, OPTIONAL], [slow, StreamHealth()]
    assert list(gate_problems(streams, health, [], NOW, simulated=False)) == [CAMERA]
    assert gate_problems(streams, health, [CAMERA], NOW, simulated=False) == {}
