"""The teleoperation node as a process of its own, over real DDS."""

import time
from pathlib import Path

import pytest
from dp_ros.messages import ns_to_stamp, stamp_to_ns
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState


@pytest.fixture(scope="module")
def node(make_hand):
    return make_hand()


@pytest.fixture
def hand(node):
    node.settle()
    return node


def test_deflection_becomes_a_twist_with_the_stamp_of_the_sample(hand):
    hand.steady(0.3, (1.0, 0, 0, 0, 0, -1.0))
    twist = hand.twists[-1]
    assert (twist.twist.linear.x, twist.twist.angular.z) == (0.25, -1.0) and twist.header.frame_id == "fr3_link0"
    deadline = time.monotonic() + 20.0  # the state of the same sample is another message, which may come after it
    while twist.header.stamp not in [state.header.stamp for state in hand.states if state.engaged]:
        assert time.monotonic() < deadline, "without a clutch button it counts as held"
        hand.executor.spin_once(0.01)
    bad = Joy(axes=[1.0, 0.0], buttons=[0, 0])
    bad.header.stamp.sec = 7
    hand.joys.publish(bad)
    rest = hand.steady(0.3, (0.0,) * 6)
    assert all(twist.header.stamp.sec != 7 for twist in hand.twists), "a sample without six axes made a twist"
    assert rest.linear.x == 0.0, "and the good samples after it must go on"


def test_it_shares_no_memory_that_a_killed_process_could_have_locked(hand):
    assert "/dev/shm/fastrtps_" not in Path(f"/proc/{hand.process.pid}/maps").read_text()


def test_a_button_held_when_teleoperation_begins_is_no_press(hand):
    hand.push(lambda: hand.grips, "the press", buttons=(1, 0), mode=CommandState.STOPPED)
    hand.hold(0.3, button=1, mode=CommandState.STOPPED)
    hand.grips.clear()
    hand.hold(0.4, button=1)
    assert not hand.grips, "the gripper would drop what it holds"
    hand.states.clear()
    hand.wait(lambda: span_s(hand.states) > 0.2, "samples in which it is let go", hand.show)
    hand.push(lambda: hand.grips, "the press", buttons=(1, 0))
    hand.hold(0.2, button=1)
    assert [grip.width for grip in hand.grips] == [0.0]


def span_s(states):
    return 1e-9 * (stamp_to_ns(states[-1].header.stamp) - stamp_to_ns(states[0].header.stamp)) if states else 0.0


def test_a_thousand_equal_readings_a_second_are_not_passed_on(hand):
    hand.hold(0.2)
    hand.twists.clear()

    def taken():
        return [twist.header.stamp.nanosec // 1_000_000 for twist in hand.twists if twist.header.stamp.sec == 9]

    deadline = time.monotonic() + 20.0
    for millisecond in range(200):
        joy = Joy(axes=[0.5 if millisecond < 101 else 0.0] + [0.0] * 5, buttons=[0, 0])
        joy.header.stamp = ns_to_stamp(9_000_000_000 + 1_000_000 * millisecond)
        hand.joys.publish(joy)
        time.sleep(0.001)
        hand.executor.spin_once(0)
        # No faster than the node takes them: its subscription keeps ten, and what is lost there is not left out by it.
        while millisecond - 5 * len(taken()) > 8 and time.monotonic() < deadline:
            hand.executor.spin_once(0.001)
    deadline = time.monotonic() + 20.0
    while len(taken()) < 40 and time.monotonic() < deadline:
        hand.executor.spin_once(0.05)
    stamps = taken()
    assert 30 <= len(stamps) <= 42, "one each 5 ms"
    assert any(101 <= stamp < 105 for stamp in stamps), "the release of the cap must not be left out"
