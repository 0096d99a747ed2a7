"""The life of one camera: start, frames, loss, return. One thread runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dp_camera.camera_health import CameraHealth
from dp_camera.camera_source import (
    BadFrameError,
    CameraDescription,
    CameraFrame,
    CameraLostError,
    CameraSettingError,
    CameraSource,
)
from dp_camera.frame_stamps import ClockReading, FrameStamp, FrameStamper

#: Time between attempts to find the camera, s: the first and the longest.
FIRST_RETRY_S, LONGEST_RETRY_S = 0.1, 1.0
#: A camera takes this long, at most, from its start to its first frame.
_FIRST_FRAME_S = 5.0
#: What may be wrong with every frame is logged this often at most, s; the diagnostics count it.
_TELL_AGAIN_S = 5.0


@dataclass
class CameraRun:
    """One camera.

    Attributes:
        name: in the contract.
        source: where its frames come from.
        stamper: gives them their stamps.
        health: is told of everything.
        on_start: called with each description; the camera's size may differ after a return.
        on_frame: publishes a frame.
        read_clock: reads the ROS clock.
        report: logs a line; the flag says whether it is an error.
        wait_s: how long to wait for a frame before looking whether the camera is still there, s.
        lost_after_s: a camera that is silent for this long is started anew, s.
    """

    name: str
    source: CameraSource
    stamper: FrameStamper
    health: CameraHealth
    on_start: Callable[[CameraDescription], None]
    on_frame: Callable[[CameraFrame, FrameStamp], None]
    read_clock: Callable[[], ClockReading]
    report: Callable[[str, bool], None]
    wait_s: float = 0.1
    lost_after_s: float = 2.0
    temperatures: dict[str, float] = field(default_factory=dict)

    def run(self, closed: threading.Event) -> None:
        """Until `closed` is set.

        Raises:
            CameraSettingError: the camera cannot do what the contract asks, and never could. One that could before
                has come back otherwise, on a USB 2 port for example: that is a loss, and no reason to end the others.
        """
        retry_s, told, started = FIRST_RETRY_S, "", False
        while not closed.is_set():
            try:
                description = self.source.start()
            except (CameraLostError, CameraSettingError) as error:
                if isinstance(error, CameraSettingError) and not started:
                    raise
                self.health.lost(str(error))
                if str(error) != told:
                    self.report(f"{self.name}: {error}; trying again", True)
                    told = str(error)
                closed.wait(retry_s)
                retry_s = min(2.0 * retry_s, LONGEST_RETRY_S)
                continue
            retry_s, told, started = FIRST_RETRY_S, "", True
            self._started(description)
            try:
                self._serve(closed)
            except CameraLostError as error:
                self.health.lost(str(error))
                self.report(f"{self.name}: {error}; nothing is published until it is back", True)
            finally:
                self.source.stop()
            closed.wait(retry_s)

    def _started(self, description: CameraDescription) -> None:
        self.stamper.restart()
        self.health.started(time.monotonic_ns(), description.notes)
        self.on_start(description)
        facts = f"{description.product}, firmware {description.firmware}, USB {description.connection or 'none'}"
        self.report(f"{self.name}: {description.serial_number} ({facts}) started", False)
        for note in description.notes:
            self.report(f"{self.name}: {note}", True)

    def _serve(self, closed: threading.Event) -> None:
        """Frames, until the camera is lost."""
        patience_s = _FIRST_FRAME_S
        asked_s = refusal_told_s = float("-inf")
        while not closed.is_set():
            if time.monotonic() - asked_s > 1.0:
                self.temperatures = self.source.temperatures_celsius()
                asked_s = time.monotonic()
            try:
                frame = self.source.wait(self.wait_s)
            except BadFrameError as error:
                self.health.bad_frame()
                if time.monotonic() - refusal_told_s > _TELL_AGAIN_S:
                    refusal_told_s = time.monotonic()
                    self.report(f"{self.name}: {error}: refused", True)
                continue
            if frame is not None:
                patience_s = self.lost_after_s
                self._take(frame)
            elif self.health.silent_s(time.monotonic_ns()) > patience_s:
                raise CameraLostError(f"no frame for {patience_s:g} s")

    def _take(self, frame: CameraFrame) -> None:
        self.health.arrived(frame.frame_number, frame.clock_domain, frame.received_ns)
        clock = (frame.clock_domain, frame.wrap_ns)
        refused = self.stamper.refused
        stamp = self.stamper.stamp(frame.camera_ns, clock, frame.received_ns, self.read_clock())
        if stamp is None:
            self.health.withheld(settling=self.stamper.refused == refused)
            return
        self.on_frame(frame, stamp)
        self.health.published(stamp.stamp_ns, stamp.received_ns)
