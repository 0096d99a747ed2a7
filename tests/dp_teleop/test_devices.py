"""The spacenavd driver against a real UNIX socket that speaks the daemon's protocol."""

import socket
import struct
import threading

import numpy as np
import pytest
from dp_teleop.devices import FULL_SCALE, DeviceLostError, SpacenavdDevice


@pytest.fixture
def daemon(tmp_path):
    path = str(tmp_path / "spnav.sock")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen(1)
    accepted = []
    thread = threading.Thread(target=lambda: accepted.append(server.accept()[0]))
    thread.start()
    device = SpacenavdDevice(lambda: 42, path)
    thread.join()
    yield accepted[0], device
    device.close()
    accepted[0].close()
    server.close()


def event(*values):
    return struct.pack("=8i", *values, *([0] * (8 - len(values))))


def test_motion_is_turned_into_the_base_frame(daemon):
    connection, device = daemon
    # x right 350, z away from the user 175, turn about up (y) 350.
    connection.sendall(event(0, 350, 0, 175, 0, 350, 0))
    sample = device.read(1.0)
    np.testing.assert_allclose(sample.axes, [175 / FULL_SCALE, -1, 0, 0, 0, 1])
    assert sample.t_ns == 42


def test_buttons_and_events_split_across_reads(daemon):
    connection, device = daemon
    press = event(1, 0)
    connection.sendall(press[:13])
    assert device.read(1.0).buttons == (False, False)
    connection.sendall(press[13:] + event(1, 1))
    assert device.read(1.0).buttons == (True, True)
    connection.sendall(event(2, 0))
    assert device.read(1.0).buttons == (False, True)


def test_loss_of_the_daemon_raises_and_never_shows_as_zeros(daemon):
    connection, device = daemon
    connection.close()
    with pytest.raises(DeviceLostError, match="closed the connection"):
        device.read(1.0)


def test_no_daemon_says_what_to_start(tmp_path):
    with pytest.raises(DeviceLostError, match="systemctl start spacenavd"):
        SpacenavdDevice(lambda: 0, str(tmp_path / "none.sock"))


def test_a_deflection_that_is_not_confirmed_grows_old_and_rest_does_not(tmp_path):
    path = str(tmp_path / "spnav.sock")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(path)
    server.listen(1)
    clock = iter(range(1, 100))
    device = SpacenavdDevice(lambda: next(clock), path)
    connection, _ = server.accept()
    assert [device.read(0.0).t_ns for _ in range(3)] == [1, 2, 3]
    connection.sendall(event(0, 350, 0, 0, 0, 0, 0))
    assert [device.read(0.05).t_ns for _ in range(3)] == [4, 4, 4]
    connection.sendall(event(0, 0, 0, 0, 0, 0, 0))
    assert [device.read(0.05).t_ns for _ in range(2)] == [7, 8]
    device.close()
    connection.close()
    server.close()
