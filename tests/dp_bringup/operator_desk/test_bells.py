import pytest
from dp_bringup.operator_desk.bells import COUNT, START, STOP, WARNING, Bells, Ringer

from dp_msgs.msg import EpisodeState as E


def rings(*states):
    """Number of rings at each state: (state, count-down left, warnings)."""
    bells = Bells()
    return [
        bells.hear(state, left, warnings) for state, left, *rest in states for warnings in [rest[0] if rest else []]
    ]


def test_a_ring_for_each_second_then_two_for_the_start_and_three_for_the_end():
    heard = rings(
        (E.IDLE, 0), (E.COUNTDOWN, 3.0), (E.COUNTDOWN, 2.6), (E.COUNTDOWN, 1.9), (E.COUNTDOWN, 0.4), (E.COUNTDOWN, 0.1),
        (E.RECORDING, 0), (E.RECORDING, 0), (E.CLOSING, 0), (E.RESET, 9.0), (E.RESET, 8.0), (E.IDLE, 0),
    )  # fmt: skip
    assert heard == [0, COUNT, 0, COUNT, COUNT, 0, START, 0, STOP, 0, 0, 0]


def test_what_goes_wrong_rings_once():
    first, same = ["/camera/front: 1 messages lost"], ["/camera/front: 2 messages lost"]
    heard = rings((E.RECORDING, 0), (E.RECORDING, 0, first), (E.RECORDING, 0, same), (E.RECORDING, 0), (E.FAILED, 0))
    assert heard == [START, WARNING, 0, 0, WARNING]


@pytest.mark.parametrize("before", [E.COUNTDOWN])
def test_a_start_that_comes_to_nothing_is_heard(before):
    assert rings((before, 2.0), (E.IDLE, 0.0)) == [COUNT, WARNING]
    assert rings((E.IDLE, 0, ["/camera: nothing received"])) == [0], "nothing is being recorded"


def test_rings_are_spread_so_that_they_can_be_counted():
    ringer = Ringer()
    ringer.ring(3)
    times = [t / 100 for t in range(100) if ringer.due(t / 100)]
    assert times == [0.0, 0.18, 0.36]
    ringer.ring(0)
    assert not ringer.due(5.0)
