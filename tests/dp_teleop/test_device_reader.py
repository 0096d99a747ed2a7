"""The thread that reads a device: opens it again after a loss, and ends."""

import threading

import numpy as np
from dp_teleop.device_reader import DeviceReader
from dp_teleop.devices import DeviceLostError, DeviceSilentError
from dp_teleop.sample import SpaceMouseSample


class Plug:
    """A socket of the wall: devices that deliver some samples and are then pulled out."""

    def __init__(self, *lengths):
        self.lengths, self.closed = list(lengths), 0
        self.name = "test device"
        self.news = threading.Condition()
        self.taken, self.reasons, self.opened = 0, [], 0

    def open(self):
        self.opened += 1
        if self.opened == 2:
            raise DeviceLostError("nothing there")
        if self.opened == 3:
            return None  # not wanted now
        self.left = self.lengths.pop(0) if self.lengths else 10**9
        return self

    def read(self, _timeout_s):
        self.left -= 1
        if self.left < 0:
            raise DeviceLostError("pulled out")
        return SpaceMouseSample(0, np.zeros(6), ())

    def close(self):
        self.closed += 1

    def take(self, device, _sample):
        assert device is self
        with self.news:
            self.taken += 1
            self.news.notify()

    def lose(self, reason):
        self.reasons.append(reason)


def test_it_finds_the_device_again_and_ends():
    plug = Plug(3, 2)
    reader = DeviceReader(plug.open, plug.take, plug.lose)
    thread = threading.Thread(target=reader.run)
    thread.start()
    with plug.news:
        assert plug.news.wait_for(lambda: plug.taken > 10, timeout=20)
    reader.close()
    thread.join(10)
    assert not thread.is_alive()
    assert plug.reasons == ["pulled out", "nothing there", "pulled out"]
    assert plug.opened == 5 and plug.closed == 3, "each device that was opened is closed"


class Radio(Plug):
    """Silent at first, and again after two samples."""

    def read(self, _timeout_s):
        self.left -= 1
        if self.left % 5 >= 2:
            raise DeviceSilentError("out of reach")
        return SpaceMouseSample(0, np.zeros(6), ())


def test_a_device_that_is_silent_stays_open_and_counts_as_lost():
    plug = Radio()
    reader = DeviceReader(plug.open, plug.take, plug.lose)
    thread = threading.Thread(target=reader.run)
    thread.start()
    with plug.news:
        assert plug.news.wait_for(lambda: plug.taken > 10, timeout=20)
    reader.close()
    thread.join(10)
    assert set(plug.reasons) == {"out of reach"} and plug.opened == plug.closed == 1
