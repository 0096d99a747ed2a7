"""Thread that opens a device, reads it, and opens it again after a loss."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dp_teleop.devices import DeviceLostError, DeviceSilentError, SpaceMouseDevice
from dp_teleop.sample import SpaceMouseSample

READ_S = 0.01
RETRY_S = 0.1


class DeviceReader:
    """Reads a device at 100 Hz at least, and faster where it has more to say.

    Args:
        open_device: opens it, or returns None where that is not wanted now; raises DeviceLostError.
        take: gets the device and each of its samples; called by the thread.
        lose: gets the reason when the device is gone or not to be had; called by the thread, again and again
            meanwhile.
    """

    def __init__(
        self,
        open_device: Callable[[], SpaceMouseDevice | None],
        take: Callable[[SpaceMouseDevice, SpaceMouseSample], None],
        lose: Callable[[str], None],
    ) -> None:
        self._open, self._take, self._lose = open_device, take, lose
        self._closed = threading.Event()

    def run(self) -> None:
        """Body of the thread; ends after :meth:`close`."""
        while not self._closed.is_set():
            try:
                device = self._open()
            except DeviceLostError as error:
                self._lose(str(error))
                device = None
            if device is None:
                self._closed.wait(RETRY_S)
            else:
                self._read(device)

    def _read(self, device: SpaceMouseDevice) -> None:
        try:
            while not self._closed.is_set():
                try:
                    sample = device.read(READ_S)
                except DeviceSilentError as error:
                    self._lose(str(error))
                else:
                    self._take(device, sample)
        except DeviceLostError as error:
            self._lose(str(error))
            self._closed.wait(RETRY_S)
        finally:
            device.close()

    def close(self) -> None:
        """Let the thread end; it does within the time of one reading or of one attempt to open the device."""
        self._closed.set()
