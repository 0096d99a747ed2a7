"""What spacenavd sends at full deflection, which depends on how the kernel presents the device.

The devices themselves send 350. Where the kernel presents the axes as relative (EV_REL: SpaceNavigator and its
generation), spacenavd passes that on; where it presents them as absolute (EV_ABS: all newer ones), spacenavd maps
their range to 500 (map_range in dev_usb_linux.c, 0.6 to 1.3). It does not tell which, the kernel does.
"""

from __future__ import annotations

from pathlib import Path

from dp_teleop.devices.report_layouts import CONNEXION, model_of

RELATIVE_FULL_SCALE = 350.0
ABSOLUTE_FULL_SCALE = 500.0
SYSFS = Path("/sys/class/input")
_SIX_AXES = 0x3F  # X Y Z RX RY RZ, the same bits in EV_REL and EV_ABS


def full_scale(device_path: str, sysfs: Path | None = None) -> float:
    """Value of a motion event at full deflection.

    Args:
        device_path: device file as the daemon names it; empty when it does not, then the first SpaceMouse counts that
            the kernel has.
        sysfs: folder of the kernel's input devices.
    """
    folder = SYSFS if sysfs is None else sysfs
    name = device_path.removeprefix("/dev/input/")
    events = [folder / name] if device_path else sorted(folder.glob("event*"))
    for event in events:
        device = event / "device"
        if (device_path or _is_spacemouse(device)) and _bits(device / "capabilities/abs") & _SIX_AXES == _SIX_AXES:
            return ABSOLUTE_FULL_SCALE
    return RELATIVE_FULL_SCALE


def _is_spacemouse(device: Path) -> bool:
    vendor, product = _number(device / "id/vendor"), _number(device / "id/product")
    return vendor == CONNEXION or model_of(vendor, product) is not None


def _number(file: Path) -> int:
    """A hexadecimal number in a file of the kernel; 0 when there is none."""
    try:
        return int(file.read_text().strip(), 16)
    except (OSError, ValueError):
        return 0


def _bits(file: Path) -> int:
    """The lowest word of a set of bits, which the kernel writes last."""
    try:
        return int(file.read_text().split()[-1], 16)
    except (OSError, ValueError, IndexError):
        return 0
