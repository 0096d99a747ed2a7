"""Synthetic clocks whose true relation is known, against the fit."""

import numpy as np
import pytest
from dp_camera.clock_map import ClockMap
from hypothesis import given, settings
from hypothesis import strategies as st

WRAP_NS = (1 << 32) * 1_000
PERIOD_NS = 33_333_333
LEAST_NS = 8_000_000  # the shortest delay of all tests; no fit can see it


class Camera:
    """A camera whose clock runs `ppm` slower than the host's, seen through a delay."""

    def __init__(self, ppm=0.0, offset_ns=5_000_000_000, jitter_ns=300_000, seed=0, wrap_ns=None):
        self.ppm, self.offset_ns, self.jitter_ns, self.wrap_ns = ppm, offset_ns, jitter_ns, wrap_ns
        self.random = np.random.default_rng(seed)
        self.true_ns = 1_000_000_000_000

    def frame(self, extra_ns=0, steps=1):
        """True host time of the next frame, its camera time, and its receipt."""
        self.true_ns += steps * PERIOD_NS
        camera_ns = int(self.true_ns / (1.0 + 1e-6 * self.ppm)) + self.offset_ns
        if self.wrap_ns:
            camera_ns %= self.wrap_ns
        delay_ns = LEAST_NS + self.random.exponential(self.jitter_ns) if self.jitter_ns else LEAST_NS
        return self.true_ns, camera_ns, self.true_ns + round(delay_ns + extra_ns)


def errors(clock_map, camera, frames, extra=lambda i: 0):
    """Mapped minus true time less the shortest delay, ns, of the frames that are mapped."""
    found = []
    for i in range(frames):
        true_ns, camera_ns, received_ns = camera.frame(extra(i))
        mapped_ns = clock_map.update(camera_ns, received_ns)
        if mapped_ns is not None:
            found.append(mapped_ns - true_ns - LEAST_NS)
    return np.array(found)


def test_exact_clocks_are_mapped_exactly():
    clock_map = ClockMap(settle_frames=3)
    found = errors(clock_map, Camera(jitter_ns=0), 300)
    assert len(found) == 298, "the first two only settle the fit"
    assert np.abs(found).max() <= 1
    assert abs(clock_map.fit.drift_ppm) < 0.1


@pytest.mark.parametrize("ppm", [-50.0, 20.0, 50.0])
def test_offset_and_drift_are_followed_through_jitter_and_stalls(ppm):
    """30 frames of a bin with an exponential delay of mean 0.3 ms: the fastest is 10 us above the least, on average."""
    clock_map = ClockMap()
    camera = Camera(ppm=ppm, seed=3)
    stall = np.random.default_rng(4)
    found = errors(clock_map, camera, 3000, lambda i: stall.uniform(0, 80e6) if stall.random() < 0.05 else 0)
    assert np.abs(found[:900]).max() < 600_000, "50 ppm within the first seconds, before it can be told from jitter"
    assert np.abs(found[900:]).max() < 60_000
    assert clock_map.fit.drift_ppm == pytest.approx(ppm, abs=1.0)
    assert clock_map.fit.uncertainty_ns < 100_000
    assert (clock_map.fit.resets, clock_map.fit.steps) == (0, 0)


def test_the_uncertainty_covers_the_error():
    for seed in range(4):
        clock_map, camera = ClockMap(), Camera(ppm=-30.0, jitter_ns=2_000_000, seed=seed)
        inside = []
        for _ in range(2000):
            true_ns, camera_ns, received_ns = camera.frame()
            mapped_ns = clock_map.update(camera_ns, received_ns)
            if mapped_ns is not None:
                inside.append(abs(mapped_ns - true_ns - LEAST_NS) <= clock_map.fit.uncertainty_ns)
        assert np.mean(inside) > 0.95


def test_the_late_first_frames_do_not_count_as_on_time():
    """In realsense-ros the delay of the first frame goes into all stamps. Here it is 150 ms for three frames."""
    found = errors(ClockMap(), Camera(ppm=20.0), 120, lambda i: 150_000_000 if i < 3 else 0)
    assert np.abs(found).max() < 1_000_000


def test_nothing_is_mapped_before_the_fit_has_settled():
    clock_map, camera = ClockMap(settle_frames=15), Camera()
    mapped = [clock_map.update(*camera.frame()[1:]) for _ in range(20)]
    assert mapped[:14] == [None] * 14 and None not in mapped[14:]
    assert ClockMap().fit.uncertainty_ns < 0 and not ClockMap().fit.settled


def test_a_counter_of_32_bits_wraps_without_notice():
    camera = Camera(ppm=10.0, wrap_ns=WRAP_NS)
    camera.offset_ns = WRAP_NS - camera.true_ns % WRAP_NS - 20_000_000_000  # 20 s before the wrap
    clock_map = ClockMap(wrap_ns=WRAP_NS)
    found = errors(clock_map, camera, 1800)
    assert np.abs(found).max() < 400_000 and len(found) == 1800 - 14
    assert clock_map.fit.resets == 0


def test_a_long_pause_across_a_wrap_is_bridged_by_the_hosts_clock():
    camera = Camera(wrap_ns=WRAP_NS)
    clock_map = ClockMap(wrap_ns=WRAP_NS)
    errors(clock_map, camera, 900)
    camera.true_ns += 3 * WRAP_NS // 2  # more than an hour and a half without a frame
    found = errors(clock_map, camera, 30)
    assert np.abs(found).max() < 5_000_000 and clock_map.fit.resets == 0


@pytest.mark.parametrize("shift_ns", [-4_000_000_000_000, -3_000_000_000, 700_000_000])
def test_a_clock_that_begins_anew_settles_anew(shift_ns):
    clock_map, camera = ClockMap(), Camera(ppm=40.0, offset_ns=5_000_000_000_000)
    errors(clock_map, camera, 1500)
    drift_ppm = clock_map.fit.drift_ppm
    camera.offset_ns += shift_ns
    found = errors(clock_map, camera, 200)
    assert clock_map.fit.resets == 1
    assert len(found) == 200 - 2 - 14 and np.abs(found).max() < 300_000
    assert clock_map.fit.drift_ppm == pytest.approx(drift_ppm, abs=15), "the crystal is still the same"


def test_a_camera_that_is_started_anew_is_told():
    clock_map, camera = ClockMap(), Camera()
    errors(clock_map, camera, 100)
    clock_map.restart()
    camera.offset_ns += 100_000_000
    assert np.abs(errors(clock_map, camera, 100)).max() < 500_000
    assert clock_map.fit.resets == 0


def test_a_step_forward_of_the_camera_is_followed_at_once():
    clock_map, camera = ClockMap(), Camera(ppm=20.0)
    errors(clock_map, camera, 900)
    camera.offset_ns += 40_000_000
    found = errors(clock_map, camera, 300)
    assert clock_map.fit.steps == 1
    assert np.abs(found).max() < 3_000_000, "the first frame after it carries its own jitter"
    assert np.abs(found[60:]).max() < 300_000


@pytest.mark.parametrize("ahead_ms", [20, 40, 1_000, 10**7, -40, -(10**7)])
def test_a_single_bad_stamp_of_the_camera_changes_nothing(ahead_ms):
    clock_map, camera = ClockMap(), Camera(ppm=20.0)
    errors(clock_map, camera, 900)
    _, camera_ns, received_ns = camera.frame()
    if ahead_ms > 0:
        assert clock_map.update(camera_ns + 1_000_000 * ahead_ms, received_ns) is None
    else:
        clock_map.update(camera_ns + 1_000_000 * ahead_ms, received_ns)
    found = errors(clock_map, camera, 300)
    assert len(found) == 300 and np.abs(found).max() < 100_000
    fit = clock_map.fit
    assert (fit.steps, fit.resets, fit.outliers) == (0, 0, 1)


def test_a_least_delay_that_only_every_other_frame_shows_is_believed():
    clock_map, camera = ClockMap(), Camera(jitter_ns=0)
    errors(clock_map, camera, 30, extra=lambda i: 10_000_000)
    found = errors(clock_map, camera, 60, extra=lambda i: 10_000_000 * (i % 2))
    assert np.abs(found[10:]).max() < 100_000


def test_a_step_back_that_is_too_small_for_a_reset_is_followed_within_seconds():
    clock_map, camera = ClockMap(), Camera()
    errors(clock_map, camera, 900)
    camera.offset_ns -= 30_000_000  # less than a period, so its time still goes forward
    found = errors(clock_map, camera, 30 * 15)
    assert clock_map.fit.steps == 1
    assert np.abs(found[-60:]).max() < 300_000


def test_a_process_that_stood_still_takes_old_frames_for_old():
    clock_map, camera = ClockMap(), Camera(ppm=20.0)
    errors(clock_map, camera, 600)
    frames = [camera.frame() for _ in range(8)]
    woke_ns = frames[-1][2] + 4_000_000_000
    found = [clock_map.update(c, woke_ns + i) - t - LEAST_NS for i, (t, c, _) in enumerate(frames)]
    assert np.abs(found).max() < 500_000
    camera.true_ns = woke_ns
    assert np.abs(errors(clock_map, camera, 200)).max() < 500_000
    assert (clock_map.fit.resets, clock_map.fit.steps) == (0, 0)


@settings(max_examples=25, deadline=None)
@given(
    ppm=st.floats(-100, 100),
    offset_ns=st.integers(-(10**15), 10**15),
    jitter_ns=st.integers(0, 3_000_000),
    lost=st.lists(st.integers(1, 40), min_size=20, max_size=150),
    seed=st.integers(0, 100),
)
def test_mapped_times_never_go_back_and_stay_close(ppm, offset_ns, jitter_ns, lost, seed):
    camera = Camera(ppm, offset_ns, jitter_ns, seed)
    clock_map = ClockMap()
    last_ns = None
    for steps in lost:
        true_ns, camera_ns, received_ns = camera.frame(steps=steps)
        mapped_ns = clock_map.update(camera_ns, received_ns)
        if mapped_ns is None:
            continue
        assert mapped_ns <= received_ns, "nothing is received before it was taken"
        assert mapped_ns - true_ns > -100e-6 * (true_ns - 10**12) - 1_000_000
        assert last_ns is None or mapped_ns > last_ns
        last_ns = mapped_ns
