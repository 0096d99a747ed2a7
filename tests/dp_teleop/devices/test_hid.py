"""The raw driver: which device it takes, what it does with reports, unplugging, silence and nonsense."""

import os

import numpy as np
import pytest
from dp_teleop.devices import DeviceLostError, DeviceSilentError, HidDevice
from dp_teleop.devices.hid import MOST_MALFORMED, RULE, choose_device, find_devices, load_backend

RIGHT = bytes.fromhex("01 5e 01 00 00 00 00")  # x 350 of a device with separate reports
LEAN = bytes.fromhex("02 00 00 af 00 00 00")  # 175 about the axis towards the user
RADIO_RIGHT = bytes.fromhex("01 5e 01 00 00 00 00 00 00 00 00 00 00")
RADIO_REST = bytes.fromhex("01 00 00 00 00 00 00 00 00 00 00 00 00")
COMPACT, WIRELESS, WIRELESS_RECEIVER, PRO_WIRELESS = 0xC635, 0xC62E, 0xC62F, 0xC631


def test_translation_and_rotation_come_apart_and_stand_together(hid_bus, read_until):
    reports = hid_bus.plug(COMPACT)
    device = HidDevice(lambda: 7, backend=hid_bus)
    assert device.name == "SpaceMouse Compact (hid)"
    reports.put(RIGHT)
    reports.put(LEAN)
    sample = read_until(device, lambda sample: sample.axes[3] != 0)
    np.testing.assert_allclose(sample.axes, [0, -1, 0, -0.5, 0, 0])
    assert sample.t_ns == 7


def test_one_report_for_both(hid_bus):
    hid_bus.plug(WIRELESS).put(bytes.fromhex("01 00 00 a2 fe 00 00 5e 01 00 00 00 00"))
    device = HidDevice(lambda: 7, backend=hid_bus)
    np.testing.assert_allclose(device.read(10.0).axes, [1, 0, 0, 0, -1, 0])


def test_each_press_and_release_is_seen_though_they_come_together(hid_bus):
    reports = hid_bus.plug(COMPACT)
    device = HidDevice(lambda: 7, backend=hid_bus)
    for report in ("03 01 00", "03 00 00", "03 02 00"):
        reports.put(bytes.fromhex(report))
    seen = [device.read(0.0).buttons for _ in range(4)]
    assert seen == [(True, False), (False, False), (False, True), (False, True)]


def test_a_deflection_that_is_not_reported_any_more_grows_old(hid_bus):
    clock = iter(range(1, 100))
    reports = hid_bus.plug(COMPACT)
    device = HidDevice(lambda: next(clock), backend=hid_bus)
    assert [device.read(0.0).t_ns for _ in range(2)] == [1, 2]
    reports.put(RIGHT)
    assert [device.read(0.01).t_ns for _ in range(3)] == [3, 3, 3]
    reports.put(bytes.fromhex("17 64 01"))  # the battery's report tells nothing about the cap
    assert device.read(0.01).t_ns == 3
    assert device.battery_percent == 100


def test_unplugging_ends_a_read_that_waits_and_all_others(hid_bus):
    hid_bus.plug(COMPACT).put(RIGHT)
    device = HidDevice(lambda: 7, backend=hid_bus)
    device.read(0.0)
    hid_bus.unplug()
    with pytest.raises(DeviceLostError, match="was unplugged"):
        device.read(10.0)
    with pytest.raises(DeviceLostError):
        device.read(0.0)


def test_a_read_that_a_signal_interrupts_is_no_loss(hid_bus, monkeypatch):
    """Hidapi's poll fails with EINTR, and its read with the same error as for a device that is gone."""
    reports = hid_bus.plug(COMPACT)
    device = HidDevice(lambda: 7, backend=hid_bus)
    handle, interrupted = device._handle, []
    whole = handle.read

    def read(max_length, timeout_ms=0):
        if not interrupted:
            interrupted.append(True)
            raise OSError("read error")
        return whole(max_length, timeout_ms)

    monkeypatch.setattr(handle, "read", read)
    reports.put(RIGHT)
    assert device.read(1.0).axes[1] == -1.0 and interrupted


def test_a_radio_device_that_falls_silent_while_deflected_is_lost(hid_bus, monkeypatch):
    reports = hid_bus.plug(WIRELESS_RECEIVER)
    device = HidDevice(lambda: 7, backend=hid_bus)
    waits_ms = []
    whole = device._handle.read
    monkeypatch.setattr(device._handle, "read", lambda length, ms=0: waits_ms.append(ms) or whole(length, ms))
    reports.put(RADIO_RIGHT)
    device.read(0.0)
    with pytest.raises(DeviceLostError, match="fell silent while deflected"):
        device.read(10.0)
    assert 0 < max(waits_ms) <= 151  # it does not sleep through the time in which it must notice


def test_silence_of_a_radio_device_is_not_rest(hid_bus):
    """A receiver without its SpaceMouse would else look like one at rest, and arm what comes back deflected."""
    reports = hid_bus.plug(WIRELESS_RECEIVER)
    device = HidDevice(lambda: 7, backend=hid_bus)
    for _ in range(2):
        with pytest.raises(DeviceSilentError, match="touch the cap of SpaceMouse Wireless"):
            device.read(0.01)
    reports.put(bytes.fromhex("17 64 01"))  # that of the battery may be the receiver's
    with pytest.raises(DeviceSilentError):
        device.read(0.01)
    reports.put(RADIO_RIGHT)
    assert device.read(0.0).axes[1] == -1.0
    for _ in range(3):
        with pytest.raises(DeviceSilentError, match="fell silent while deflected"):
            device.read(1.0)
    reports.put(RADIO_RIGHT)
    assert device.read(0.0).axes[1] == -1.0
    reports.put(RADIO_REST)
    assert not np.any(device.read(0.0).axes) and not np.any(device.read(0.3).axes)
    hid_bus.unplug()
    with pytest.raises(DeviceLostError, match="was unplugged"):
        device.read(1.0)


def test_a_radio_device_at_rest_may_be_silent(hid_bus):
    reports = hid_bus.plug(WIRELESS_RECEIVER)
    device = HidDevice(lambda: 7, backend=hid_bus)
    reports.put(RADIO_RIGHT)
    reports.put(RADIO_REST)
    device.read(0.0)
    assert not np.any(device.read(0.2).axes)


def test_a_reader_that_stood_still_takes_what_has_come_before_it_judges(hid_bus):
    reports = hid_bus.plug(WIRELESS_RECEIVER)
    device = HidDevice(lambda: 7, backend=hid_bus)
    reports.put(RADIO_RIGHT)
    device.read(0.0)
    device._heard_s -= 100.0  # nobody has called since
    reports.put(RADIO_RIGHT)
    assert device.read(0.0).axes[1] == -1.0


def test_malformed_reports_are_counted_and_too_many_are_a_loss(hid_bus):
    reports = hid_bus.plug(COMPACT)
    device = HidDevice(lambda: 7, backend=hid_bus)
    reports.put(b"\x01\x00")
    reports.put(RIGHT)
    assert device.read(0.0).axes[1] == -1.0
    assert device.malformed == 1 and "report 1 of SpaceMouse Compact has 1 bytes" in device.last_problem
    assert device.figures == {"malformed_reports": "1", "last_malformed": device.last_problem}
    reports.put(b"\x17\x50")
    device.read(0.0)
    assert device.figures["battery_percent"] == "80"
    for _ in range(MOST_MALFORMED):
        reports.put(b"\x01\x00")
    with pytest.raises(DeviceLostError, match="does not speak as its model does"):
        device.read(0.0)


class TestChoice:
    def test_nothing_connected(self, hid_bus):
        with pytest.raises(DeviceLostError, match="no SpaceMouse is connected"):
            HidDevice(lambda: 7, backend=hid_bus)

    def test_by_serial_number_or_path(self, hid_bus):
        hid_bus.plug(COMPACT, path=b"/dev/hidraw3", serial="A1")
        hid_bus.plug(PRO_WIRELESS, path=b"/dev/hidraw4", serial="B2")
        assert HidDevice(lambda: 7, "B2", hid_bus).name == "SpaceMouse Pro Wireless (hid)"
        assert HidDevice(lambda: 7, "/dev/hidraw3", hid_bus).name == "SpaceMouse Compact (hid)"
        with pytest.raises(DeviceLostError, match="'C3'; connected: SpaceMouse Compact at /dev/hidraw3, serial A1; "):
            HidDevice(lambda: 7, "C3", hid_bus)
        with pytest.raises(
            DeviceLostError, match=r"2 SpaceMice are connected; name one by path or serial number: .*B2"
        ):
            HidDevice(lambda: 7, "", hid_bus)

    def test_the_cable_comes_before_the_receiver(self, hid_bus):
        hid_bus.plug(WIRELESS_RECEIVER, path=b"/dev/hidraw1")
        hid_bus.plug(WIRELESS, path=b"/dev/hidraw2")
        assert choose_device(find_devices(hid_bus), "").path == b"/dev/hidraw2"

    def test_other_interfaces_and_other_devices_are_left_alone(self, hid_bus):
        hid_bus.plug(0xC652, path=b"/dev/hidraw1", usage=(1, 2))  # the receiver's mouse
        hid_bus.plug(0xC652, path=b"/dev/hidraw2", usage=(1, 8))
        hid_bus.plug(0xC650, path=b"/dev/hidraw3", usage=(1, 2))  # CadMouse
        hid_bus.plug(0xC52B, vendor=0x046D, path=b"/dev/hidraw4", usage=(1, 8))
        hid_bus.plug(0xC628, vendor=0x046D, path=b"1-2:1.0", usage=(0, 0))  # libusb tells no usage
        assert [device.path for device in find_devices(hid_bus)] == [b"/dev/hidraw2", b"1-2:1.0"]

    def test_a_newer_product_is_read_by_the_lengths_of_its_reports(self, hid_bus):
        hid_bus.plug(0xC7FF).put(bytes.fromhex("03 00 00 00 80"))
        device = HidDevice(lambda: 7, backend=hid_bus)
        assert device.name == "3Dconnexion device c7ff (hid)"
        assert device.read(0.0).buttons[31]

    def test_what_cannot_be_opened_names_the_rule(self, hid_bus, monkeypatch):
        hid_bus.plug(COMPACT, path=b"/dev/null")
        monkeypatch.setattr(os, "access", lambda path, mode: False)
        monkeypatch.setattr(hid_bus, "device", lambda: Unopenable())
        with pytest.raises(DeviceLostError, match=rf"no permission\. Users .*{RULE}"):
            HidDevice(lambda: 7, backend=hid_bus)


class Unopenable:
    def open_path(self, path):
        raise OSError("open failed")


def test_the_rule_that_the_error_names_covers_all_vendors():
    rule = os.path.join(os.path.dirname(__file__), "../../..", RULE)
    with open(rule) as file:
        text = file.read()
    assert all(f'ATTRS{{idVendor}}=="{vendor}"' in text for vendor in ("256f", "046d"))


def test_the_installed_hidapi_offers_what_the_driver_uses():
    backend = load_backend()
    assert isinstance(backend.enumerate(0x256F, 0), list)
    handle = backend.device()
    with pytest.raises(OSError):
        handle.open_path(b"/dev/hidraw-none")
    with pytest.raises(ValueError):  # read of a device that is not open
        handle.read(64, 1)
    assert callable(handle.set_nonblocking)
    handle.close()
