"""The life of a camera, with a source that is told what to do, behind the interface of the real one."""

import threading
import time

import numpy as np
import pytest
from dp_camera.camera_health import CameraHealth
from dp_camera.camera_run import CameraRun
from dp_camera.camera_source import (
    BadFrameError,
    CameraDescription,
    CameraFrame,
    CameraLostError,
    CameraModel,
    CameraSettingError,
)
from dp_camera.frame_stamps import ClockReading, FrameStamper

from dp_camera import camera_run

MODEL = CameraModel(8, 4, (8.0, 8.0, 4.0, 2.0), "plumb_bob", (0.0,) * 5)
DESCRIPTION = CameraDescription("101", "D435", "5.16", "3.2", MODEL, notes=("a note",))


class Script:
    """A source that plays a list: frames by number, None for nothing, errors to raise; then it ends the run."""

    def __init__(self, starts, waits, closed):
        self.starts, self.waits, self.closed = list(starts), list(waits), closed
        self.stops = 0

    def start(self):
        step = self.starts.pop(0) if self.starts else self._end(CameraLostError("gone"))
        if isinstance(step, Exception):
            raise step
        return step

    def wait(self, timeout_s):
        step = self.waits.pop(0) if self.waits else self._end(None)
        if isinstance(step, Exception):
            raise step
        if step is None:
            return None
        now_ns = time.monotonic_ns()
        return CameraFrame(np.zeros((4, 8, 3), np.uint8), step, now_ns, "hardware_clock", None, now_ns)

    def temperatures_celsius(self):
        return {"asic": 40.0}

    def stop(self):
        self.stops += 1

    def _end(self, last):
        self.closed.set()
        return last


def play(starts, waits, monkeypatch, **options):
    monkeypatch.setattr(camera_run, "FIRST_RETRY_S", 0.001)
    closed = threading.Event()
    source = Script(starts, waits, closed)
    published, described, lines = [], [], []

    def read_clock():
        now_ns = time.monotonic_ns()
        return ClockReading(now_ns, now_ns + 10**18, now_ns)

    run = CameraRun(
        name="front",
        source=source,
        stamper=FrameStamper(0.01, settle_frames=3),
        health=CameraHealth(30.0, 0.1),
        on_start=described.append,
        on_frame=lambda frame, stamp: published.append((frame.frame_number, stamp)),
        read_clock=read_clock,
        report=lambda text, error: lines.append((text, error)),
        **{"lost_after_s": 60.0, **options},  # a machine that stands still for a moment is no silent camera
    )
    run.run(closed)
    return source, run, published, described, lines


def test_frames_are_published_once_the_clocks_are_known(monkeypatch):
    source, run, published, described, lines = play([DESCRIPTION], [1, 2, 3, 4, None, 5], monkeypatch)
    assert [number for number, _ in published] == [3, 4, 5]
    for _, stamp in published:
        assert stamp.received_ns - stamp.stamp_ns >= 9_999_000, "10 ms of transport, to the rounding"
    assert described == [DESCRIPTION] and source.stops == 1 and run.temperatures == {"asic": 40.0}
    assert lines[0] == ("front: 101 (D435, firmware 5.16, USB 3.2) started", False) and lines[1] == (
        "front: a note",
        True,
    )


def test_a_camera_that_is_not_there_is_looked_for_again_and_told_once(monkeypatch):
    lost = [CameraLostError("no RealSense with serial number 101; connected: none")] * 4
    _, _, published, _, lines = play([*lost, DESCRIPTION], [1, 2, 3], monkeypatch)
    assert [number for number, _ in published] == [3]
    errors = [text for text, error in lines if error and "no RealSense" in text]
    assert len(errors) == 1 and errors[0].endswith("trying again")


def test_after_a_loss_the_clocks_are_compared_anew(monkeypatch):
    waits = [1, 2, 3, CameraLostError("camera 101 was unplugged"), 1, 2, 3, 4]
    source, run, published, described, _ = play([DESCRIPTION, DESCRIPTION], waits, monkeypatch)
    assert [number for number, _ in published] == [3, 3, 4]
    assert len(described) == 2 and source.stops == 2
    assert run.health.gaps.lost == 0 and run.health.gaps.resets == 0


def test_a_bad_frame_is_refused_and_life_goes_on(monkeypatch):
    _, run, published, _, lines = play([DESCRIPTION], [1, 2, BadFrameError("of (2, 2, 3)"), 3, 6], monkeypatch)
    assert [number for number, _ in published] == [3, 6]
    assert any("refused" in text for text, _ in lines)
    values = run.health.report(time.monotonic_ns(), run.stamper.fit, {}).values
    assert (values["bad_frames"], values["lost"], values["settling_frames"]) == ("1", "2", "2")


def test_bad_frames_do_not_flood_the_log(monkeypatch):
    _, run, _, _, lines = play([DESCRIPTION], [BadFrameError("of (2, 2, 3)") for _ in range(50)], monkeypatch)
    assert len([text for text, _ in lines if "refused" in text]) == 1
    assert run.health.report(time.monotonic_ns(), run.stamper.fit, {}).values["bad_frames"] == "50"


def test_a_camera_that_falls_silent_is_started_anew(monkeypatch):
    """`lost_after_s` of zero: the first wait without a frame is one too many."""
    _, _, _, described, lines = play([DESCRIPTION, DESCRIPTION], [1, None, 2], monkeypatch, lost_after_s=0.0)
    assert len(described) == 2
    assert any("no frame for 0 s" in text for text, error in lines if error)


def test_a_camera_that_comes_back_on_a_slower_port_is_waited_for(monkeypatch):
    starts = [DESCRIPTION, CameraSettingError("width, height, rate_hz: no stream of 848x480 at 60 Hz"), DESCRIPTION]
    waits = [1, 2, 3, CameraLostError("camera 101 was unplugged"), 1, 2, 3]
    _, _, published, described, lines = play(starts, waits, monkeypatch)
    assert [number for number, _ in published] == [3, 3] and len(described) == 2
    assert [text for text, error in lines if error and "no stream" in text and text.endswith("trying again")]


def test_what_the_camera_cannot_do_ends_the_run(monkeypatch):
    with pytest.raises(CameraSettingError, match="exposure_us"):
        play([CameraSettingError("exposure_us: 1 is out of range")], [], monkeypatch)
