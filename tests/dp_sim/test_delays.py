"""Delays in physics time: who waits how long, in which order, and the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from dp_core.configuration import ConfigurationError
from dp_sim.delays import NEVER_MS, CameraDelay, CameraTiming, DelayLine, per_camera


def test_a_delay_line_gives_things_back_in_order_when_they_are_due():
    line: DelayLine[str] = DelayLine()
    assert line.next_ms == NEVER_MS and list(line.take(100)) == []
    assert [line.put(30, "a"), line.put(20, "b"), line.put(40, "c")] == [30, 30, 40]
    assert line.next_ms == 30
    assert list(line.take(29)) == []
    assert list(line.take(35)) == [(30, "a"), (30, "b")]
    assert line.next_ms == 40


def test_a_camera_exposes_at_the_millisecond_nearest_to_its_rate():
    timing = CameraTiming(1000.0 / 30.0, CameraDelay(), (0, 0))
    exposures = []
    for _ in range(6):
        exposures.append(timing.next_ms)
        assert timing.expose() == exposures[-1], "without a delay a picture arrives as it is taken"
    assert exposures == [33, 67, 100, 133, 167, 200]


def test_delay_jitter_and_drops_of_a_seed():
    def arrivals(seed, **settings):
        timing = CameraTiming(100.0, CameraDelay(**settings), (seed, 0))
        return [timing.expose() for _ in range(2000)]

    assert arrivals(1, delay_s=0.04)[:3] == [140, 240, 340]
    some = arrivals(1, delay_s=0.04, jitter_s=0.01, drop=0.25)
    assert some == arrivals(1, delay_s=0.04, jitter_s=0.01, drop=0.25)
    assert some != arrivals(2, delay_s=0.04, jitter_s=0.01, drop=0.25)
    delays = np.array([t - 100 * (i + 1) for i, t in enumerate(some) if t is not None])
    # Uniform within 10 ms either way, sd 5.8 ms: the mean of 1500 lies within 0.6 ms (4 sd) of 40.
    assert delays.min() >= 30 and delays.max() <= 50 and abs(delays.mean() - 40.0) < 0.6
    assert abs(1.0 - len(delays) / 2000 - 0.25) < 0.04


def test_stamps_say_acquisition_or_arrival():
    assert CameraTiming(100.0, CameraDelay(0.04), (0, 0)).stamp_ms(100, 140) == 100
    assert CameraTiming(100.0, CameraDelay(0.04, stamps="arrival"), (0, 0)).stamp_ms(100, 140) == 140
    with pytest.raises(ConfigurationError, match=r"camera_stamps: 'now' is not valid; valid: acquisition, arrival"):
        CameraDelay(stamps="now")
    with pytest.raises(ConfigurationError, match=r"camera_drop: 1.5 is out of range; valid: 0 to 1"):
        CameraDelay(drop=1.5)


def test_a_number_for_each_camera():
    cameras = ("front", "wrist")
    assert per_camera("x", "", cameras) == {"front": 0.0, "wrist": 0.0}
    assert per_camera("x", "0.04", cameras) == {"front": 0.04, "wrist": 0.04}
    assert per_camera("x", " wrist = 0.02", cameras) == {"front": 0.0, "wrist": 0.02}
    with pytest.raises(ConfigurationError, match=r"x: camera: 'side' is not valid; valid: front, wrist"):
        per_camera("x", "side=0.1", cameras)
    with pytest.raises(ConfigurationError, match=r"x: 'front=soon' is not valid"):
        per_camera("x", "front=soon", cameras)
