"""Which device is opened, and what is said when there is none."""

import time

import pytest
from dp_teleop.devices import KINDS, DeviceLostError, open_device


@pytest.fixture
def bus(hid_bus, monkeypatch):
    monkeypatch.setattr("dp_teleop.devices.hid.load_backend", lambda: hid_bus)
    return hid_bus


@pytest.fixture
def machine(monkeypatch, tmp_path, bus):
    """A machine whose only places for a daemon are below the test's folder."""
    monkeypatch.delenv("SPNAV_SOCKET", raising=False)
    monkeypatch.setattr("dp_teleop.devices.spacenavd.DEFAULT_PATHS", (str(tmp_path / "spnav0.sock"),))
    return bus


def name_of(kind, path=""):
    device = open_device(kind, path, time.time_ns, 2)
    device.close()
    return device.name


def test_auto_takes_the_daemon_that_has_a_device(machine, start_daemon):
    start_daemon(name="A SpaceMouse")
    machine.plug(0xC635)
    assert name_of("auto") == "A SpaceMouse (spacenavd)"


def test_auto_takes_the_raw_device_where_the_daemon_has_none(machine, start_daemon):
    start_daemon(name="")
    machine.plug(0xC635)
    assert name_of("auto") == "SpaceMouse Compact (hid)"


def test_auto_prefers_the_raw_device_to_a_daemon_that_cannot_know(machine, start_daemon):
    start_daemon(version=0)
    assert name_of("auto") == "SpaceMouse (spacenavd, protocol 0)"
    machine.plug(0xC635)
    assert name_of("auto") == "SpaceMouse Compact (hid)"


def test_auto_says_what_was_tried_and_why_each_failed(machine):
    with pytest.raises(DeviceLostError) as error:
        open_device("auto", "", time.time_ns, 2)
    text = str(error.value)
    assert text.startswith("no SpaceMouse found. Tried spacenavd: no spacenavd at ")
    assert "No such file" in text and "; and hid: no SpaceMouse is connected" in text


def test_auto_never_takes_what_is_no_spacemouse(machine, terminal):
    with pytest.raises(DeviceLostError):
        open_device("auto", terminal.path, time.time_ns, 2)


def test_each_kind_by_name(machine, start_daemon, terminal, fifo):
    machine.plug(0xC635, serial="A1")
    daemon = start_daemon()
    paths = {"spacenavd": daemon.path, "hid": "A1", "keyboard": terminal.path, "gamepad": fifo[0]}
    names = {kind: name_of(kind, path) for kind, path in paths.items()}
    assert set(names) | {"auto"} == set(KINDS)
    assert names["hid"] == "SpaceMouse Compact (hid)" and names["gamepad"] == "js0 (gamepad)"
    assert names["keyboard"] == f"keyboard of {terminal.path}"


def test_an_unknown_kind_lists_the_known():
    with pytest.raises(ValueError, match="'mouse'; there are auto, spacenavd, hid, keyboard, gamepad"):
        open_device("mouse", "", time.time_ns, 2)
