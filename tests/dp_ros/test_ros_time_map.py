"""The mapping of monotonic to ROS time: steady under late readings and drift, at once at a jump."""

import numpy as np
import pytest
from dp_ros.ros_time_map import RosTimeMap

MS = 1_000_000
START = 1_700_000_000_000_000_000


def test_it_needs_an_observation():
    with pytest.raises(RuntimeError, match="observe"):
        RosTimeMap().ros_ns(0)


def test_stamps_stay_evenly_spaced_while_the_readings_scatter():
    rng = np.random.default_rng(0)
    time_map, stamps = RosTimeMap(), []
    for i in range(1000):
        due = i * 4 * MS
        began = due + int(rng.integers(0, 3 * MS))  # a thread that wakes up late
        reading = int(rng.integers(0, 2 * MS))  # and is interrupted while it reads the clocks
        time_map.observe(began, START + began + int(rng.integers(0, reading + 1)), began + reading)
        stamps.append(time_map.ros_ns(due))
    assert np.abs(np.diff(stamps) - 4 * MS).max() <= 4_000  # a thousandth
    assert abs(stamps[-1] - (START + 999 * 4 * MS)) < MS
    assert time_map.jumps == 0


def test_drift_is_followed():
    time_map = RosTimeMap()
    for i in range(20_000):
        t = i * 4 * MS
        time_map.observe(t, START + t + t // 10_000, t + 2_000)  # 100 ppm: 8 ms over the 80 s
    t = 20_000 * 4 * MS
    assert abs(time_map.ros_ns(t) - (START + t + t // 10_000)) < 100_000
    assert time_map.jumps == 0


@pytest.mark.parametrize("jump_ns", [-3_600_000 * MS, -20 * MS, 20 * MS, 3_600_000 * MS])
def test_a_clock_that_was_set_shows_at_once(jump_ns):
    time_map = RosTimeMap()
    for i in range(10):
        time_map.observe(i * MS, START + i * MS, i * MS + 1000)
    time_map.observe(10 * MS, START + 10 * MS + jump_ns, 10 * MS + 1000)
    assert time_map.jumps == 1
    assert abs(time_map.ros_ns(10 * MS) - (START + 10 * MS + jump_ns)) < 2_000


def test_a_reading_that_took_long_is_no_jump():
    time_map = RosTimeMap()
    time_map.observe(0, START, 0)
    time_map.observe(MS, START + MS, 31 * MS)
    assert time_map.jumps == 0 and time_map.ros_ns(2 * MS) == START + 2 * MS
