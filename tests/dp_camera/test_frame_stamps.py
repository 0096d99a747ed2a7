import itertools
import sys
import threading
import time

import pytest
from dp_camera.frame_stamps import ClockReading, FrameStamper, default_transport_latency_s

PERIOD_NS = 33_333_333
CLOCK = ("hardware_clock", 4_294_967_296_000)
TRANSPORT_S = 0.018


class Host:
    """Frames that take 18 ms, the monotonic clock and a ROS clock that can be set."""

    def __init__(self):
        self.mono_ns = 50_000_000_000
        self.ros_minus_mono_ns = 1_700_000_000_000_000_000
        self.stamper = FrameStamper(TRANSPORT_S, settle_frames=5)

    def frame(self, camera_minus_mono_ns=7_000_000_000, clock=CLOCK, repeat=False):
        """Stamp of the next frame, and the ROS time at which it was taken."""
        self.mono_ns += 0 if repeat else PERIOD_NS
        received_ns = self.mono_ns + 18_000_000
        now_ns = received_ns + 1_000
        reading = ClockReading(now_ns, now_ns + self.ros_minus_mono_ns + 500, now_ns + 1_000)
        camera_ns = self.mono_ns + camera_minus_mono_ns
        return self.stamper.stamp(camera_ns, clock, received_ns, reading), self.mono_ns + self.ros_minus_mono_ns


def test_stamps_are_the_time_of_the_light_not_of_the_receipt():
    host = Host()
    pairs = [host.frame() for _ in range(200)]
    assert [stamp for stamp, _ in pairs[:4]] == [None] * 4
    for stamp, taken_ns in pairs[4:]:
        assert abs(stamp.stamp_ns - taken_ns) < 20_000
        assert abs(stamp.received_ns - taken_ns - 18_000_000) < 20_000
        assert 0 < stamp.uncertainty_ns < 100_000


@pytest.mark.parametrize("set_by_ns", [-10_000_000_000, 10_000_000_000, 20_000_000])
def test_a_ros_clock_that_is_set_moves_the_stamps_at_once(set_by_ns):
    host = Host()
    for _ in range(60):
        host.frame()
    host.ros_minus_mono_ns += set_by_ns
    for _ in range(30):
        stamp, taken_ns = host.frame()
        assert abs(stamp.stamp_ns - taken_ns) < 20_000
    assert host.stamper.clock_jumps == 1 and host.stamper.fit.steps == 0


def test_a_repeated_frame_gets_no_stamp():
    host = Host()
    for _ in range(10):
        host.frame()
    assert host.frame(repeat=True)[0] is None
    assert host.stamper.refused == 1
    assert host.frame()[0] is not None


def test_a_camera_that_begins_anew_or_changes_its_clock_settles_anew():
    host = Host()
    for _ in range(10):
        host.frame()
    host.stamper.restart()
    after = [host.frame(camera_minus_mono_ns=-1_000_000_000) for _ in range(6)]
    assert [stamp is None for stamp, _ in after] == [True] * 4 + [False] * 2
    after = [host.frame(0, clock=("system_time", None)) for _ in range(6)]
    assert [stamp is None for stamp, _ in after] == [True] * 4 + [False] * 2
    stamp, taken_ns = after[-1]
    assert abs(stamp.stamp_ns - taken_ns) < 20_000


def test_the_latency_that_no_fit_can_see_has_a_default():
    # half of 33.3 ms, and 640 * 480 * 2 bytes at 300 MB/s
    assert default_transport_latency_s(640, 480, 30.0) == pytest.approx(0.016667 + 0.002048, abs=1e-6)


@pytest.fixture
def restless_threads():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_another_thread_may_read_the_fit_while_frames_come(restless_threads):
    """The diagnostics do so once a second; a fit in the middle of its work would end the node."""
    stamper = FrameStamper(TRANSPORT_S, settle_frames=2)
    closed = threading.Event()

    def frames():
        now_ns = 0
        while not closed.is_set():
            now_ns += 1_000_000_000  # each a part of the fit of its own
            stamper.stamp(now_ns, CLOCK, now_ns + 18_000_000, ClockReading(now_ns, now_ns, now_ns))

    thread = threading.Thread(target=frames)
    thread.start()
    try:
        while stamper.fit.span_s < 50.0:
            assert thread.is_alive()
        spans, deadline = {0.0}, time.monotonic() + 60.0
        for reading in itertools.count():
            spans.add(stamper.fit.span_s)
            if reading >= 20_000 and (max(spans) >= 59.0 or time.monotonic() > deadline):
                break
    finally:
        closed.set()
        thread.join()
    assert max(spans) == pytest.approx(59.0)
