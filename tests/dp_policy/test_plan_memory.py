from __future__ import annotations

import numpy as np
import pytest
from dp_core.actions import decode_action, encode_action
from dp_policy.plan_memory import PlanMemory

PERIOD_NS = 100_000_000


def test_gives_what_is_left_from_a_time_on() -> None:
    memory = PlanMemory(PERIOD_NS)
    assert memory.remaining(0) is None
    actions = np.arange(8, dtype=np.float32).reshape(4, 2)
    memory.remember(5 * PERIOD_NS, actions)
    np.testing.assert_array_equal(memory.remaining(5 * PERIOD_NS), actions)
    np.testing.assert_array_equal(memory.remaining(7 * PERIOD_NS + 3_000_000), actions[2:])
    assert memory.remaining(9 * PERIOD_NS) is None
    assert memory.remaining(4 * PERIOD_NS) is None
    memory.clear()
    assert memory.remaining(5 * PERIOD_NS) is None


def test_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="period_ns"):
        PlanMemory(0)


def test_between_two_actions_the_plan_is_where_the_arm_will_be_and_not_at_the_nearest_action() -> None:
    """Cameras at 30 Hz, actions at 10 Hz: an arm at 0.3 m/s is 10 mm farther after 33 ms."""
    memory = PlanMemory(PERIOD_NS)
    times = 0.1 * np.arange(8)
    poses = np.zeros((8, 7))
    poses[:, 0], poses[:, 1] = 0.3 * times, times**2
    poses[:, 5], poses[:, 6] = np.sin(times / 2), np.cos(times / 2)  # 1 rad/s about z
    memory.remember(0, encode_action(poses, np.arange(8.0)).astype(np.float32))
    for passed_ns, left in ((33_333_333, 7), (166_666_667, 6), (633_333_333, 1)):
        remaining = memory.remaining(passed_ns)
        assert remaining is not None and len(remaining) == left and remaining.dtype == np.float32
        expected_s = 1e-9 * passed_ns + 0.1 * np.arange(left)
        found, widths = decode_action(remaining)
        np.testing.assert_allclose(found[:, 0], 0.3 * expected_s, atol=1e-6)
        # 1 mm: the ends of the path are straight.
        np.testing.assert_allclose(found[:, 1], expected_s**2, atol=1.5e-3)
        np.testing.assert_allclose(2 * np.arctan2(found[:, 5], found[:, 6]), expected_s, atol=1e-3)
        np.testing.assert_array_equal(widths, np.floor(10 * expected_s + 1e-6))  # the gripper is never averaged
    assert memory.remaining(733_333_333) is None
    memory.remember(0, np.zeros((1, 10), np.float32))
    assert memory.remaining(50_000_000) is None
