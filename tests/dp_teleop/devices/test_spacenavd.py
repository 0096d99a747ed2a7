"""The spacenavd driver against a real UNIX socket that speaks the daemon's protocols, old and new."""

import math
import socket
import struct
import threading

import numpy as np
import pytest
from dp_teleop.devices import DeviceLostError, SpacenavdDevice
from dp_teleop.devices.axis_range import full_scale
from dp_teleop.devices.spacenavd import socket_paths
from dp_teleop.devices.spacenavd_protocol import protocol_answer, protocol_request, unpack


@pytest.fixture(params=[0, 1], ids=["protocol 0", "protocol 1"])
def connected(request, start_daemon):
    """A daemon and a driver that is connected to it."""
    daemon = start_daemon(version=request.param)
    device = SpacenavdDevice(lambda: 42, daemon.path)
    yield daemon, device
    device.close()


def test_motion_is_turned_into_the_base_frame(connected):
    daemon, device = connected
    # x right 350, z away from the user 175, turn about up (y) 350.
    daemon.send((0, 350, 0, 175, 0, 350, 0))
    sample = device.read(10.0)
    np.testing.assert_allclose(sample.axes, [0.5, -1, 0, 0, 0, 1])
    assert sample.t_ns == 42


def test_each_press_and_release_is_seen_though_they_come_together(connected):
    daemon, device = connected
    daemon.send((1, 0), (2, 0), (1, 1), (0, 35, 0, 0, 0, 0, 0))
    assert device.read(10.0).buttons == (True, False)
    assert device.read(10.0).buttons == (False, False)
    assert device.read(10.0).buttons == (False, True)
    assert device.read(10.0).axes[1] == -0.1


def test_an_event_that_comes_in_pieces_is_put_together(connected, read_until):
    daemon, device = connected
    press = struct.pack("=8i", 1, 1, 0, 0, 0, 0, 0, 0)
    daemon.send_bytes(press[:13])
    assert device.read(0.02).buttons == (False, False)
    daemon.send_bytes(press[13:])
    assert read_until(device, lambda sample: any(sample.buttons)).buttons == (False, True)


def test_a_button_with_a_larger_number_is_not_dropped(connected, read_until):
    daemon, device = connected
    daemon.send((1, 14))
    assert read_until(device, lambda sample: len(sample.buttons) == 15).buttons[14]
    daemon.send((1, 2_000_000), (1, 0))  # damage
    assert len(read_until(device, lambda sample: sample.buttons[0]).buttons) == 15


def test_the_end_of_the_daemon_raises_and_never_shows_as_zeros(connected):
    daemon, device = connected
    daemon.close()
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="spacenavd at"):
            device.read(10.0)


def test_no_daemon_says_what_to_start(tmp_path):
    with pytest.raises(DeviceLostError, match="systemctl start spacenavd"):
        SpacenavdDevice(lambda: 0, str(tmp_path / "none.sock"))


def test_the_socket_is_looked_for_where_the_daemon_may_put_it(monkeypatch, start_daemon, tmp_path):
    monkeypatch.delenv("SPNAV_SOCKET", raising=False)
    assert socket_paths("") == ("/run/spnav.sock", "/var/run/spnav.sock")
    assert socket_paths("/a") == ("/a",)
    daemon = start_daemon()
    monkeypatch.setenv("SPNAV_SOCKET", daemon.path)
    device = SpacenavdDevice(lambda: 0)
    assert device.name == "3Dconnexion SpaceMouse Wireless (spacenavd)"
    device.close()
    monkeypatch.setenv("SPNAV_SOCKET", str(tmp_path / "nowhere"))
    assert socket_paths("") == (str(tmp_path / "nowhere"), "/run/spnav.sock", "/var/run/spnav.sock")


def test_a_deflection_that_is_not_confirmed_grows_old_and_rest_does_not(start_daemon):
    daemon = start_daemon()
    clock = iter(range(1, 100))
    device = SpacenavdDevice(lambda: next(clock), daemon.path)
    assert [device.read(0.0).t_ns for _ in range(3)] == [1, 2, 3]
    daemon.send((0, 350, 0, 0, 0, 0, 0))
    # The answers of the daemon, asked meanwhile, confirm that it lives, not that the hand is still there.
    assert [device.read(0.12).t_ns for _ in range(3)] == [4, 4, 4]
    daemon.send((0, 0, 0, 0, 0, 0, 0))
    assert [device.read(0.05).t_ns for _ in range(2)] == [7, 8]
    device.close()


class TestProtocol1:
    def test_it_asks_for_name_and_buttons_and_sets_mask_and_sensitivity(self, start_daemon):
        name = "A device with a name that takes three answers to tell"
        daemon = start_daemon(name=name, buttons=15)
        device = SpacenavdDevice(lambda: 0, daemon.path)
        assert device.name == f"{name} (spacenavd)" and device.knows_device
        assert len(device.read(0.0).buttons) == 15
        kinds = {kind: data for kind, data in daemon.requests}
        assert kinds[0x1003][0] == 0b111  # motion, buttons, devices
        assert struct.unpack("=f", struct.pack("=i", kinds[0x1001][0])) == (1.0,)
        device.close()

    @pytest.mark.parametrize(("name", "tells"), [("3Dconnexion SpaceMouse Wireless", False), ("SpaceMouse Pro", True)])
    def test_a_radio_device_out_of_reach_looks_like_one_at_rest(self, start_daemon, name, tells):
        device = SpacenavdDevice(lambda: 0, start_daemon(name=name).path)
        assert device.tells_every_loss == tells
        device.close()

    def test_removal_of_the_device_raises(self, start_daemon):
        daemon = start_daemon()
        device = SpacenavdDevice(lambda: 0, daemon.path)
        daemon.send((0, 350, 0, 0, 0, 0, 0))
        daemon.unplug()
        with pytest.raises(DeviceLostError, match="was removed"):
            [device.read(10.0) for _ in range(2)]

    def test_a_device_that_is_silently_gone_is_asked_for(self, start_daemon):
        daemon = start_daemon()
        device = SpacenavdDevice(lambda: 0, daemon.path)
        daemon.name = ""
        with pytest.raises(DeviceLostError, match="has no SpaceMouse"):
            device.read(10.0)

    def test_a_daemon_without_a_device_is_lost_from_the_start(self, start_daemon):
        daemon = start_daemon(name="")
        with pytest.raises(DeviceLostError, match="has no SpaceMouse: plug it in"):
            SpacenavdDevice(lambda: 0, daemon.path)

    def test_a_daemon_that_hangs_is_lost(self, start_daemon, monkeypatch):
        daemon = start_daemon()
        device = SpacenavdDevice(lambda: 0, daemon.path)
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 0.1)
        daemon.hangs = True
        daemon.send((0, 35, 0, 0, 0, 0, 0))  # wakes it, so that it listens to nothing else from now on
        with pytest.raises(DeviceLostError, match="hangs"):
            [device.read(10.0) for _ in range(2)]

    def test_a_daemon_that_hangs_is_not_taken_for_an_old_one_at_rest(self, start_daemon, monkeypatch):
        """The kernel connects in its place, and nothing answers: as with a daemon that knows protocol 0 only."""
        daemon = start_daemon()
        daemon.hangs = True
        daemon.send()  # wakes it, so that it listens to nothing from now on
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 0.1)
        with pytest.raises(DeviceLostError, match="hangs"):
            SpacenavdDevice(lambda: 0, daemon.path)

    def test_a_reader_that_stood_still_does_not_take_that_for_a_hang(self, start_daemon, monkeypatch):
        daemon = start_daemon()
        device = SpacenavdDevice(lambda: 0, daemon.path)
        asked = len(daemon.requests)
        while len(daemon.requests) == asked:
            device.read(0.0)
        # From here nobody reads for a long time, and the answer of the last question lies in the socket.
        daemon.send()
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 0.0)
        assert not np.any(device.read(0.0).axes)
        device.close()

    def test_events_that_come_before_the_daemon_agrees_are_taken(self, tmp_path, monkeypatch):
        """The daemon may send an event of protocol 0 between the connection and the request."""
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 10.0)
        path = str(tmp_path / "early.sock")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(path)
        server.listen(1)

        def serve():
            client, _ = server.accept()
            client.sendall(struct.pack("=8i", 0, 0, 350, 0, 0, 0, 0, 0))
            client.sendall(client.recv(4))
            while request := client.recv(32):
                client.sendall(request)
            client.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        device = SpacenavdDevice(lambda: 0, path)
        assert device.protocol == 1
        np.testing.assert_allclose(device.read(0.0).axes, [0, 0, 1, 0, 0, 0])
        device.close()
        thread.join()
        server.close()


class TestProtocol0:
    def test_it_does_not_claim_to_know_the_device_and_restores_the_sensitivity(self, start_daemon):
        daemon = start_daemon(version=0)
        device = SpacenavdDevice(lambda: 0, daemon.path)
        assert device.protocol == 0 and not device.knows_device
        daemon.send((0, 0, 0, 35, 0, 0, 0))
        assert device.read(10.0).axes[0] == 0.1
        # An old daemon multiplies by what it is sent, and the request is not a number.
        assert math.isnan(daemon.sensitivities[0]) and daemon.sensitivities[1] == 1.0
        device.close()

    def test_a_daemon_that_agrees_too_late_is_connected_anew(self, start_daemon, monkeypatch):
        daemon = start_daemon()
        daemon.mute = True
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 0.5)
        device = SpacenavdDevice(lambda: 0, daemon.path)
        assert device.protocol == 0
        daemon.send_bytes(protocol_request(1))
        with pytest.raises(DeviceLostError, match="connect again"):
            device.read(10.0)


def test_words_of_the_protocol():
    # proto.h: REQ_TAG | REQ_CHANGE_PROTO | version; as a float it is not a number.
    assert protocol_request(1) == struct.pack("=I", 0x7FAA5501)
    assert math.isnan(struct.unpack("=f", protocol_request(1))[0])
    assert protocol_answer(0x7FAA5501) == 1 and protocol_answer(0) is None and protocol_answer(350) is None
    answer = unpack(struct.pack("=i", 0x7FAA2000) + b"SpaceMouse\0".ljust(24, b"x") + struct.pack("=i", 10))
    assert answer.is_answer and answer.kind == 0x2000 and answer.text == b"SpaceMouse" and not answer.refused


class TestFullScale:
    """Values of the kernel's files as SpaceMice have them: EV_REL of a SpaceNavigator, EV_ABS of newer ones."""

    @staticmethod
    def plug(sysfs, event, vendor, product, relative, absolute):
        device = sysfs / event / "device"
        for name, text in {
            "id/vendor": vendor,
            "id/product": product,
            "capabilities/rel": relative,
            "capabilities/abs": absolute,
        }.items():
            (device / name).parent.mkdir(parents=True, exist_ok=True)
            (device / name).write_text(text + "\n")

    def test_absolute_axes_are_mapped_to_500_by_the_daemon(self, tmp_path):
        sysfs = tmp_path / "input"
        assert full_scale("", sysfs) == full_scale("/dev/input/event3", sysfs) == 350
        self.plug(sysfs, "event0", "046d", "c077", "143", "0")  # a mouse
        self.plug(sysfs, "event1", "056a", "0357", "0", "1000003 3f")  # a tablet
        self.plug(sysfs, "event3", "046d", "c626", "3f", "0")
        assert full_scale("", sysfs) == full_scale("/dev/input/event3", sysfs) == 350
        self.plug(sysfs, "event2", "256f", "c652", "143", "3")  # the receiver's other interface
        assert full_scale("", sysfs) == 350
        self.plug(sysfs, "event4", "256f", "c62e", "0", "3f")
        assert full_scale("", sysfs) == full_scale("/dev/input/event4", sysfs) == 500
        assert full_scale("/dev/input/event3", sysfs) == full_scale("/dev/ttyS0", sysfs) == 350

    @pytest.mark.parametrize("version", [0, 1])
    def test_the_driver_uses_it(self, start_daemon, tmp_path, version):
        self.plug(tmp_path / "input", "event4", "256f", "c635", "0", "3f")
        daemon = start_daemon(version=version, device="/dev/input/event4")
        device = SpacenavdDevice(lambda: 0, daemon.path)
        daemon.send((0, 500, 0, -250, 0, 0, 0))
        np.testing.assert_allclose(device.read(10.0).axes, [-0.5, -1, 0, 0, 0, 0])
        device.close()
