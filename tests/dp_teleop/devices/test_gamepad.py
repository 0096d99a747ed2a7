"""The gamepad as a driver: events of the kernel's joystick interface through a named pipe."""

import os
import struct

import numpy as np
import pytest
from dp_teleop.devices import DeviceLostError, GamepadDevice, gamepad
from dp_teleop.devices.gamepad import button_number
from dp_teleop.sample import VIRTUAL_FRAME_ID
from dp_teleop.virtual_spacemouse import to_joy


def event(kind, number, value):
    """struct js_event of linux/joystick.h: __u32 time, __s16 value, __u8 type, __u8 number."""
    return struct.pack("IhBB", 12345, value, kind, number)


BUTTON, AXIS, INITIAL = 1, 2, 0x80


@pytest.fixture
def pad(fifo):
    path, files = fifo
    device = GamepadDevice(lambda: 5, path)
    yield device, files[0]
    device.close()


@pytest.mark.parametrize(
    ("number", "value", "axes"),
    [
        (1, -32767, [1, 0, 0, 0, 0, 0]),  # left stick away from the person: forward
        (0, -32767, [0, 1, 0, 0, 0, 0]),  # left stick to the left
        (5, 32767, [0, 0, 1, 0, 0, 0]),  # right trigger: up
        (2, 32767, [0, 0, -1, 0, 0, 0]),  # left trigger: down
        (3, -32767, [0, 0, 0, 0, 0, 1]),  # right stick to the left: turn left
        (4, -32767, [0, 0, 0, 0, 1, 0]),  # right stick away: nose down
        (6, 32767, [0, 0, 0, 1, 0, 0]),  # directional pad to the right: roll right
        (1, -32768, [1, 0, 0, 0, 0, 0]),
        (7, 32767, [0] * 6),
        (40, 32767, [0] * 6),
    ],
)
def test_sticks_and_triggers(pad, number, value, axes):
    device, kernel = pad
    os.write(kernel, event(AXIS, number, value))
    sample = device.read(10.0)
    np.testing.assert_allclose(sample.axes, axes, atol=1e-12)
    assert sample.t_ns == 5


def test_half_a_deflection(pad):
    device, kernel = pad
    os.write(kernel, event(AXIS, 0, 16384) + event(AXIS, 5, 0))
    np.testing.assert_allclose(device.read(10.0).axes, [0, -16384 / 32767, 0.5, 0, 0, 0])


def test_what_the_kernel_tells_when_it_is_opened_moves_nothing(pad):
    device, kernel = pad
    os.write(kernel, event(AXIS | INITIAL, 1, -32767) + event(AXIS | INITIAL, 5, 32767) + event(BUTTON | INITIAL, 5, 1))
    sample = device.read(10.0)
    assert not np.any(sample.axes)
    assert sample.buttons == (False, True)  # a button that is held is


def test_buttons_are_in_the_order_of_their_use(pad):
    device, kernel = pad
    assert [button_number(pad) for pad in (0, 5, 1, 2, 3, 4, 6, 10)] == [0, 1, 2, 3, 4, 5, 6, 10]
    os.write(kernel, event(BUTTON, 0, 1) + event(BUTTON, 0, 0) + event(BUTTON, 5, 1))
    assert device.read(10.0).buttons == (True, False)
    assert device.read(10.0).buttons == (False, False)
    assert device.read(10.0).buttons == (False, True)


def test_an_event_in_pieces(pad, read_until):
    device, kernel = pad
    os.write(kernel, event(AXIS, 1, -32767)[:3])
    assert not np.any(device.read(0.01).axes)
    os.write(kernel, event(AXIS, 1, -32767)[3:])
    read_until(device, lambda sample: sample.axes[0] == 1.0)


def test_unplugging_raises(fifo):
    path, files = fifo
    device = GamepadDevice(lambda: 5, path)
    os.close(files.pop())
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            device.read(10.0)


@pytest.mark.parametrize(("bus", "tells"), [("0003", True), ("0005", False), (None, True)])
def test_the_loss_of_a_pad_by_bluetooth_shows_late(fifo, tmp_path, monkeypatch, bus, tells):
    path, _ = fifo
    monkeypatch.setattr(gamepad, "SYSFS", tmp_path / "class")
    if bus:
        folder = tmp_path / "class" / os.path.basename(path) / "device/id"
        folder.mkdir(parents=True)
        (folder / "bustype").write_text(f"{bus}\n")
    device = GamepadDevice(lambda: 5, path)
    assert device.tells_every_loss == tells
    joy = to_joy(device.read(0.0), device.tells_every_loss)
    assert (joy.header.frame_id == VIRTUAL_FRAME_ID) == tells
    device.close()


def test_none_connected(monkeypatch):
    monkeypatch.setattr("glob.glob", lambda pattern: [])
    with pytest.raises(DeviceLostError, match="no gamepad is connected"):
        GamepadDevice(lambda: 5)
    with pytest.raises(DeviceLostError, match=r"cannot open gamepad /nowhere \(No such file.*connected: none"):
        GamepadDevice(lambda: 5, "/nowhere")


def test_several_are_listed(monkeypatch, tmp_path):
    paths = [str(tmp_path / name) for name in ("js0", "js1")]
    for path in paths:
        os.mkfifo(path)
    monkeypatch.setattr("glob.glob", lambda pattern: paths)
    with pytest.raises(DeviceLostError, match=f"2 gamepads are connected; name one by path: .*{paths[1]}"):
        GamepadDevice(lambda: 5)
