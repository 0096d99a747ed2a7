"""SpaceMouse by its raw HID reports, read with hidapi: no daemon, true news of unplugging and of a lost radio link."""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from dp_teleop.devices.device import Clock, DeviceLostError, DeviceSilentError, ReportedState
from dp_teleop.devices.report_layouts import (
    CONNEXION,
    LOGITECH,
    Model,
    ReportChange,
    ReportError,
    model_of,
    parse_report,
    unknown_model,
)
from dp_teleop.sample import SpaceMouseSample

# A deflected cap repeats its reports every 16 ms at least: nine lost in a row are a lost radio link.
SILENT_AFTER_S = 0.15
# So many malformed reports in a row are not damage but a device that speaks something else.
MOST_MALFORMED = 10
_LONGEST_REPORT = 64  # bytes
_MOST_AT_ONCE = 256  # reports in one call; the kernel keeps 64
_MULTI_AXIS = (0x01, 0x08)  # usage page and usage of a multi-axis controller
RULE = "config/udev/70-spacemouse.rules"


class HidHandle(Protocol):
    """An opened device, as ``hid.device`` of hidapi offers it."""

    def open_path(self, path: bytes) -> None:
        """Open; OSError when that fails."""

    def set_nonblocking(self, value: int) -> int:
        """Reads without a timeout return at once."""

    def read(self, max_length: int, timeout_ms: int = 0) -> list[int]:
        """One report, or an empty list; OSError when the device is gone."""

    def close(self) -> None:
        """Close."""


class HidBackend(Protocol):
    """The module ``hid`` or ``hidraw`` of hidapi."""

    def enumerate(self, vendor_id: int = 0, product_id: int = 0) -> list[dict[str, Any]]:
        """All interfaces of all devices of a vendor."""

    def device(self) -> HidHandle:
        """A handle that is not open yet."""


@dataclass(frozen=True)
class FoundDevice:
    """A SpaceMouse that is connected."""

    model: Model
    path: bytes
    serial: str

    def __str__(self) -> str:
        serial = f", serial {self.serial}" if self.serial else ""
        return f"{self.model.name} at {self.path.decode(errors='replace')}{serial}"


def load_backend() -> HidBackend:
    """Take hidapi over the kernel's hidraw, which leaves the device to spacenavd as well, else over libusb.

    Raises:
        DeviceLostError: hidapi is not installed.
    """
    for module in ("hidraw", "hid"):
        try:
            return cast(HidBackend, importlib.import_module(module))
        except ImportError:
            continue
    raise DeviceLostError("hidapi is not installed: pip install hidapi (apt: python3-hid)")


def find_devices(backend: HidBackend) -> tuple[FoundDevice, ...]:
    """All SpaceMice that are connected, one entry each, in a stable order."""
    found: dict[bytes, FoundDevice] = {}
    for vendor in (CONNEXION, LOGITECH):
        for entry in backend.enumerate(vendor, 0):
            product = int(entry["product_id"])
            model = model_of(int(entry["vendor_id"]), product)
            usage = (entry.get("usage_page") or 0, entry.get("usage") or 0)
            if model is None and vendor == CONNEXION and usage == _MULTI_AXIS:
                model = unknown_model(product)
            # libusb does not tell the usage: (0, 0). A receiver has other interfaces besides, mouse and keyboard.
            if model is None or usage not in (_MULTI_AXIS, (0, 0)):
                continue
            path = entry["path"]
            found[path] = FoundDevice(model, path, entry.get("serial_number") or "")
    return tuple(found[path] for path in sorted(found))


def choose_device(found: Sequence[FoundDevice], which: str) -> FoundDevice:
    """The device that ``which`` names by path or serial number; empty: the only one.

    A SpaceMouse on its charging cable speaks through the cable, not through its receiver, so a cable comes before
    receivers.

    Raises:
        DeviceLostError: there is none, or more than one; the text lists those found.
    """
    listed = "; ".join(str(device) for device in found)
    if not found:
        raise DeviceLostError("no SpaceMouse is connected (lsusb -d 256f: and lsusb -d 046d: list them)")
    if which:
        named = [device for device in found if which in (device.serial, device.path.decode(errors="replace"))]
        if not named:
            raise DeviceLostError(f"no SpaceMouse has path or serial number '{which}'; connected: {listed}")
        return named[0]
    cabled = [device for device in found if not device.model.radio]
    candidates = cabled or list(found)
    if len(candidates) > 1:
        raise DeviceLostError(f"{len(candidates)} SpaceMice are connected; name one by path or serial number: {listed}")
    return candidates[0]


class HidDevice:
    """Reads a SpaceMouse without a daemon.

    An unplugged device makes the read fail at once, also one that waits. A radio device that falls silent while it is
    deflected (out of reach, empty battery) is lost after 0.15 s; one at rest is silent anyway. Both within 0.2 s while
    ``read`` is called at least every 50 ms. Silence is not rest: after it was opened, and after such a loss, a radio
    device is there from its first report on; until then ``read`` raises DeviceSilentError. A cap on a cable that is
    held deflected while the device is opened counts as at rest until its first report, 16 ms later.

    Args:
        now_ns: ROS clock, for stamps.
        which: path (``/dev/hidraw3``) or serial number; empty takes the only one.
        backend: module of hidapi, or what stands for it.

    Attributes:
        malformed: reports that could not be read, since the start; each was left out.
        last_problem: why the last one of these could not be read, or empty.
        battery_percent: charge, where the device has told it.

    Raises:
        DeviceLostError: none connected, several, no permission, or no hidapi.
    """

    def __init__(self, now_ns: Clock, which: str = "", backend: HidBackend | None = None) -> None:
        self._now_ns = now_ns
        backend = load_backend() if backend is None else backend
        self._found = choose_device(find_devices(backend), which)
        self._state = ReportedState(len(self._found.model.button_bits))
        self._heard_s = time.monotonic()
        self._unheard = (
            f"touch the cap of {self._found}: nothing was heard of it yet" if self._found.model.radio else ""
        )
        self._malformed_in_row = 0
        self.malformed = 0
        self.last_problem = ""
        self.battery_percent: int | None = None
        self._open = True
        self._handle = _open(backend, self._found)

    @property
    def name(self) -> str:
        """The model."""
        return f"{self._found.model.name} (hid)"

    @property
    def tells_every_loss(self) -> bool:
        """Not of a device that is reached by radio, which is silent at rest."""
        return not self._found.model.radio

    @property
    def figures(self) -> dict[str, str]:
        """Malformed reports since it was opened, why the last one was, and the charge where it was told."""
        battery = {} if self.battery_percent is None else {"battery_percent": str(self.battery_percent)}
        return {"malformed_reports": str(self.malformed), "last_malformed": self.last_problem, **battery}

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` for news; returns the present deflection either way.

        Raises:
            DeviceLostError: unplugged, out of reach while deflected, or not speaking the layout of its model.
        """
        try:
            confirmed = self._take_reports(timeout_s)
        except DeviceSilentError:
            raise
        except DeviceLostError:
            self.close()  # every further call is to say so too
            raise
        return self._state.sample(self._now_ns(), confirmed)

    def close(self) -> None:
        """Close the device; a second call does nothing."""
        if self._open:
            self._open = False
            self._handle.close()

    def _take_reports(self, timeout_s: float) -> bool:
        """Take reports up to the first press or release, so that none is skipped; whether there were any."""
        if not self._open:
            raise DeviceLostError(f"{self._found} is closed")
        deadline_s = time.monotonic() + timeout_s
        heard = False
        for _ in range(_MOST_AT_ONCE):
            ends_s = deadline_s if not self._must_speak() else min(deadline_s, self._heard_s + SILENT_AFTER_S)
            report = self._read_report(0.0 if heard else max(0.0, ends_s - time.monotonic()))
            if report:
                before = tuple(self._state.buttons)
                heard = self._take(report) or heard
                if tuple(self._state.buttons) != before:
                    break
            elif heard or time.monotonic() >= ends_s:
                break
        self._judge_silence(heard)
        return heard

    def _must_speak(self) -> bool:
        """Whether a device that is in reach would repeat its reports now."""
        return self._found.model.radio and bool(np.any(self._state.axes))

    def _judge_silence(self, heard: bool) -> None:
        now_s = time.monotonic()
        if heard:
            self._heard_s, self._unheard = now_s, ""
        elif self._must_speak() and now_s - self._heard_s >= SILENT_AFTER_S:
            self._state.axes[:] = 0.0
            self._unheard = (
                f"{self._found} fell silent while deflected: out of its receiver's reach, or its battery is empty"
            )
        if self._unheard:
            raise DeviceSilentError(self._unheard)

    def _read_report(self, timeout_s: float) -> bytes:
        # hidapi takes a timeout of 0 for none, which `set_nonblocking` turns into an immediate return.
        timeout_ms = math.ceil(1e3 * timeout_s)
        try:
            try:
                return bytes(self._handle.read(_LONGEST_REPORT, timeout_ms))
            except OSError:
                # A signal that interrupts hidapi's poll fails as a lost device does, once.
                return bytes(self._handle.read(_LONGEST_REPORT))
        except (OSError, ValueError) as error:
            raise DeviceLostError(f"{self._found} was unplugged ({error})") from error

    def _take(self, report: bytes) -> bool:
        """Take one report; whether it told axes or buttons."""
        try:
            change = parse_report(report, self._found.model)
        except ReportError as error:
            self.malformed += 1
            self._malformed_in_row += 1
            self.last_problem = str(error)
            if self._malformed_in_row >= MOST_MALFORMED:
                raise DeviceLostError(f"{self._found} does not speak as its model does: {error}") from error
            return False
        self._malformed_in_row = 0
        return self._apply(change)

    def _apply(self, change: ReportChange) -> bool:
        if change.battery_percent is not None:
            self.battery_percent = change.battery_percent
        if change.translation is not None:
            self._state.axes[:3] = change.translation
        if change.rotation is not None:
            self._state.axes[3:] = change.rotation
        if change.buttons is not None:
            self._state.buttons[:] = change.buttons
        return any(part is not None for part in (change.translation, change.rotation, change.buttons))


def _open(backend: HidBackend, found: FoundDevice) -> HidHandle:
    """Open the device that was found, or say why that is not allowed."""
    handle = backend.device()
    try:
        handle.open_path(found.path)
        handle.set_nonblocking(1)
    except (OSError, ValueError) as error:
        path = found.path.decode(errors="replace")
        forbidden = path.startswith("/dev/") and os.path.exists(path) and not os.access(path, os.R_OK | os.W_OK)
        reason = "no permission" if forbidden else str(error)
        raise DeviceLostError(
            f"cannot open {found}: {reason}. Users may read SpaceMice after: sudo cp {RULE} /etc/udev/rules.d/ && "
            "sudo udevadm control --reload && sudo udevadm trigger"
        ) from error
    return handle
