"""What is plugged in, as the kernel lists it."""

from __future__ import annotations

from pathlib import Path


def usb_devices() -> list[tuple[str, str]]:
    """`(vendor id, product name)` of each USB device that the kernel lists."""
    devices = []
    for path in Path("/sys/bus/usb/devices").glob("*/idVendor"):
        product = path.with_name("product")
        name = product.read_text().strip() if product.is_file() else ""
        devices.append((path.read_text().strip(), name))
    return devices
