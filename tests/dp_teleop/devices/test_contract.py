"""What every driver must do, whatever it reads: one contract, all implementations."""

import os
import struct

import numpy as np
import pytest
from dp_teleop.devices import (
    DeviceLostError,
    GamepadDevice,
    HidDevice,
    KeyboardDevice,
    SpacenavdDevice,
)

KINDS = ("spacenavd 1", "spacenavd 0", "hid", "hid radio", "keyboard", "gamepad")


class Bench:
    """A driver of one kind, and what a person does with its device.

    Attributes:
        device: the driver.
        lean: deflect the device forward, fully or by what a key does.
        press: press button 0.
        take_away: unplug it, or end what it is read from.
        now_ns: the clock that the driver stamps with; a list of one.
    """


@pytest.fixture(params=KINDS)
def bench(request):
    bench = Bench()
    bench.now_ns = [1]
    make = globals()[f"_{request.param.split()[0]}"]
    make(bench, request)
    yield bench
    bench.device.close()


def _spacenavd(bench, request):
    daemon = request.getfixturevalue("start_daemon")(version=int(request.param[-1]), name="SpaceMouse Pro")
    bench.device = SpacenavdDevice(lambda: bench.now_ns[0], daemon.path)
    bench.lean = lambda: daemon.send((0, 0, 0, 350, 0, 0, 0))
    bench.press = lambda: daemon.send((1, 0))
    bench.take_away = daemon.unplug if daemon.version else daemon.close


def _hid(bench, request):
    bus = request.getfixturevalue("hid_bus")
    radio = "radio" in request.param
    reports = bus.plug(0xC62F if radio else 0xC635)
    bench.device = HidDevice(lambda: bench.now_ns[0], backend=bus)
    if radio:
        reports.put(struct.pack("<B6h", 1, *([0] * 6)))  # it is there from its first report on
        bench.device.read(10.0)
    bench.lean = lambda: reports.put(struct.pack("<B6h" if radio else "<B3h", 1, 0, -350, 0, *([0] * 3 * radio)))
    bench.press = lambda: reports.put(b"\x03\x01\x00")
    bench.take_away = bus.unplug


def _keyboard(bench, request):
    terminal = request.getfixturevalue("terminal")
    bench.device = KeyboardDevice(lambda: bench.now_ns[0], terminal.path, steady_s=lambda: 0.0)
    bench.lean = lambda: terminal.type(b"+++w")
    bench.press = lambda: terminal.type(b"g")
    bench.take_away = lambda: os.close(terminal.person)


def _gamepad(bench, request):
    path, files = request.getfixturevalue("fifo")
    bench.device = GamepadDevice(lambda: bench.now_ns[0], path)
    bench.lean = lambda: os.write(files[0], struct.pack("IhBB", 0, -32767, 2, 1))
    bench.press = lambda: os.write(files[0], struct.pack("IhBB", 0, 1, 1, 0))
    bench.take_away = lambda: os.close(files.pop())


def test_it_begins_at_rest_and_says_who_it_is(bench):
    sample = bench.device.read(0.0)
    assert sample.axes.shape == (6,) and sample.axes.dtype == np.float64
    assert not np.any(sample.axes) and not any(sample.buttons)
    assert len(sample.buttons) >= 2
    assert bench.device.name and bench.device.name.isprintable()


def test_it_says_whether_every_loss_shows(bench, request):
    kind = request.node.callspec.params["bench"]
    assert bench.device.tells_every_loss == (kind not in ("spacenavd 0", "hid radio"))


def test_leaning_forward_is_plus_x_and_nothing_else(bench, read_until):
    bench.lean()
    sample = read_until(bench.device, lambda sample: np.any(sample.axes))
    np.testing.assert_array_equal(sample.axes, [1, 0, 0, 0, 0, 0])


def test_button_0_is_button_0(bench, read_until):
    bench.press()
    assert read_until(bench.device, lambda sample: any(sample.buttons)).buttons[0]


def test_a_sample_is_stamped_when_it_comes_and_rest_with_the_present(bench, read_until):
    assert bench.device.read(0.0).t_ns == 1
    bench.now_ns[0] = 2
    assert bench.device.read(0.0).t_ns == 2
    bench.now_ns[0] = 3
    bench.lean()
    assert read_until(bench.device, lambda sample: np.any(sample.axes)).t_ns == 3


def test_a_sample_is_no_window_into_the_driver(bench, read_until):
    before = bench.device.read(0.0)
    bench.lean()
    read_until(bench.device, lambda sample: np.any(sample.axes))
    assert not np.any(before.axes)


def test_loss_raises_at_once_and_ever_after_and_never_shows_as_zeros(bench, read_until):
    bench.lean()
    read_until(bench.device, lambda sample: np.any(sample.axes))
    bench.take_away()
    for timeout_s in (10.0, 0.0, 10.0):
        with pytest.raises(DeviceLostError) as error:
            bench.device.read(timeout_s)
        assert len(str(error.value)) > 10


def test_closing_twice_is_fine_and_reading_after_it_is_a_loss(bench):
    bench.device.close()
    bench.device.close()
    with pytest.raises(DeviceLostError):
        bench.device.read(0.0)
