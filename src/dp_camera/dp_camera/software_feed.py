"""Test pictures at a camera's rate, for desks without a camera."""

from __future__ import annotations

import threading
import time

import numpy as np

from dp_camera.software_camera import SoftwareCamera, SoftwareContext

#: By how much the clock of the software camera is wrong, so that there is something to follow.
DRIFT = 20e-6
_COUNTER_US = 1 << 32


class SoftwareFeed:
    """Plugs in a software camera and lets it send a moving test picture.

    Args:
        context: to plug it into.
        serial_number: of the camera.
        width: pixels.
        height: pixels.
        rate_hz: Hz.
        depth: with a depth stream.
    """

    def __init__(
        self, context: SoftwareContext, serial_number: str, width: int, height: int, rate_hz: float, depth: bool = False
    ) -> None:
        self.camera = SoftwareCamera(serial_number, width, height, round(rate_hz), depth)
        self._period_s = 1.0 / rate_hz
        self._closed = threading.Event()
        context.plug_in(self.camera)
        self._thread = threading.Thread(target=self._run, name=f"software camera {serial_number}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send no more."""
        self._closed.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        begun_s = time.monotonic()
        ramp = np.arange(self.camera.width, dtype=np.uint16)[None, :] + np.arange(self.camera.height)[:, None]
        picture = np.stack([ramp, ramp // 2, ramp // 4], axis=2).astype(np.uint8)
        depth = np.full(ramp.shape, 800, dtype=np.uint16) if self.camera.depth is not None else None
        number = 0
        while not self._closed.wait(max(0.0, begun_s + number * self._period_s - time.monotonic())):
            # A camera takes its frames when they are due, however late they are fetched; what is overdue is lost.
            number = max(number, int((time.monotonic() - begun_s) / self._period_s))
            camera_us = round(1e6 * number * self._period_s / (1.0 + DRIFT)) % _COUNTER_US
            self.camera.send(np.roll(picture, number, axis=1), number, camera_us * 1_000, depth)
            number += 1
