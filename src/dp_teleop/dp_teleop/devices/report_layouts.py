"""Raw reports of SpaceMice: which models there are, what their bytes mean. Pure: bytes in, change of state out.

Report 1 is the translation, or in newer devices translation and rotation together; report 2 the rotation; report 3
the buttons, one bit each; report 0x17 the battery. Axes are little-endian 16-bit integers, 350 at full deflection,
x right, y towards the user, z down, the rotations right-handed about them. While the cap is deflected a device repeats
its reports (every 8 to 16 ms), changed or not; after it they become zeros and then stop.

Sources: report descriptors and recordings in AndunHH/spacemouse (SpaceNavigator.md, SpaceMouseWireless.md), the
recordings of nytamin/spacemouse and of CloudCompare pull request 2339, the device tables of spacenavd 1.3 (dev.c) and
PySpaceMouse (devices.toml), which agree with each other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FULL_SCALE = 350.0
# No cap is deflected beyond this, also where one reaches farther than its scale: such a report is damaged, and clipped
# it would be a hand that pushes with all its might.
LARGEST_AXIS = 1000
LOGITECH, CONNEXION = 0x046D, 0x256F
TRANSLATION, ROTATION, BUTTONS, BATTERY = 1, 2, 3, 0x17
_THREE_AXES, _SIX_AXES = struct.Struct("<3h"), struct.Struct("<6h")
_LONGEST_BUTTONS = 8  # bytes

# Numbers of buttons are those that spacenavd gives, so that a contract fits both drivers: position in the tuple to
# bit of report 3, None where a button is not sent in it.
_TWO = (0, 1)
# 1 2 3 4, menu, fit, top, right, front, roll, rotation lock, esc, alt, shift, ctrl
_PRO = (12, 13, 14, 15, 0, 1, 2, 4, 5, 8, 26, 22, 23, 24, 25)
# 1 to 10, (11, 12), menu, fit, top, right, front, roll, esc, alt, shift, ctrl, lock, (enter, delete, tab, space,
# V1, V2, V3), iso; those in brackets come as numbers in report 0x1C, whose meaning is nowhere certain.
_ENTERPRISE = (*range(12, 22), None, None, 0, 1, 2, 4, 5, 8, 22, 23, 24, 25, 26, *(None,) * 7, 10)
# A receiver for many models does not say which one speaks: the bit is the number, as in spacenavd.
_BY_BIT = tuple(range(32))


class ReportError(ValueError):
    """A report that no SpaceMouse sends."""


@dataclass(frozen=True)
class Model:
    """A SpaceMouse as it appears on USB or Bluetooth.

    Attributes:
        name: of the product.
        product: USB product id; ``vendor``: USB vendor id.
        button_bits: number of a button (position) to bit of report 3, or None.
        radio: reached by radio, through a receiver or Bluetooth, so that it can fall silent without being unplugged.
    """

    name: str
    vendor: int
    product: int
    button_bits: tuple[int | None, ...]
    radio: bool = False


MODELS = (
    Model("SpaceNavigator", LOGITECH, 0xC626, _TWO),
    Model("SpaceNavigator for Notebooks", LOGITECH, 0xC628, _TWO),
    Model("SpaceMouse Pro", LOGITECH, 0xC62B, _PRO),
    Model("SpaceMouse Wireless", CONNEXION, 0xC62E, _TWO),
    Model("SpaceMouse Wireless (receiver)", CONNEXION, 0xC62F, _TWO, radio=True),
    Model("SpaceMouse Pro Wireless", CONNEXION, 0xC631, _PRO),
    Model("SpaceMouse Pro Wireless (receiver)", CONNEXION, 0xC632, _PRO, radio=True),
    Model("SpaceMouse Enterprise", CONNEXION, 0xC633, _ENTERPRISE),
    Model("SpaceMouse Compact", CONNEXION, 0xC635, _TWO),
    Model("SpaceMouse Module", CONNEXION, 0xC636, _TWO),
    Model("SpaceMouse Pro Wireless (Bluetooth)", CONNEXION, 0xC638, _PRO, radio=True),
    Model("SpaceMouse Wireless (Bluetooth)", CONNEXION, 0xC63A, _TWO, radio=True),
    Model("3Dconnexion Universal Receiver", CONNEXION, 0xC652, _BY_BIT, radio=True),
)
_BY_ID = {(model.vendor, model.product): model for model in MODELS}


def model_of(vendor: int, product: int) -> Model | None:
    """The model with these USB ids, or None."""
    return _BY_ID.get((vendor, product))


def unknown_model(product: int) -> Model:
    """A product of 3Dconnexion that is newer than this table: layouts by length of report, buttons by bit.

    It may be reached by radio, so it is taken for that: a deflection must be repeated, a held clutch confirmed.
    """
    return Model(f"3Dconnexion device {product:04x}", CONNEXION, product, _BY_BIT, radio=True)


@dataclass(frozen=True)
class ReportChange:
    """What a report says anew; None where it says nothing.

    Attributes:
        translation: (3,) x y z of the base frame in [-1, 1], x forward, y left, z up.
        rotation: (3,) about the same axes, in [-1, 1].
        buttons: pressed or not, by number.
        battery_percent: charge, 0 to 100.
    """

    translation: NDArray[np.float64] | None = None
    rotation: NDArray[np.float64] | None = None
    buttons: tuple[bool, ...] | None = None
    battery_percent: int | None = None


def _to_base_frame(axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Three axes of the device to three of the base frame: forward is away from the user, left and up the opposite."""
    if max(map(abs, axes)) > LARGEST_AXIS:
        raise ReportError(f"axes {axes}: at most {LARGEST_AXIS} can be")
    x, y, z = axes
    return np.clip(np.array([-y, -x, -z]) / FULL_SCALE, -1.0, 1.0)


def _hex(report: bytes) -> str:
    return report[:16].hex(" ") or "nothing"


def _parse_buttons(payload: bytes, model: Model) -> tuple[bool, ...]:
    bits = int.from_bytes(payload, "little")
    return tuple(bit is not None and bool(bits >> bit & 1) for bit in model.button_bits)


def parse_report(report: bytes, model: Model) -> ReportChange:
    """Read one input report.

    Args:
        report: the report's number, then its payload.
        model: of the device that sent it.

    Returns:
        What it says; nothing for the numbers of other reports (vendor's own).

    Raises:
        ReportError: the payload has a length that its number does not have, or an axis a value that no cap gives.
    """
    if not report:
        raise ReportError("report without a number")
    number, payload = report[0], report[1:]
    if number == TRANSLATION and len(payload) == _SIX_AXES.size:
        axes = _SIX_AXES.unpack(payload)
        return ReportChange(_to_base_frame(axes[:3]), _to_base_frame(axes[3:]))
    if number == TRANSLATION and len(payload) == _THREE_AXES.size:
        return ReportChange(translation=_to_base_frame(_THREE_AXES.unpack(payload)))
    if number == ROTATION and len(payload) == _THREE_AXES.size:
        return ReportChange(rotation=_to_base_frame(_THREE_AXES.unpack(payload)))
    if number == BUTTONS and 1 <= len(payload) <= _LONGEST_BUTTONS:
        return ReportChange(buttons=_parse_buttons(payload, model))
    if number == BATTERY and payload:
        return ReportChange(battery_percent=min(payload[0], 100))
    if number in (TRANSLATION, ROTATION, BUTTONS, BATTERY):
        raise ReportError(f"report {number} of {model.name} has {len(payload)} bytes of payload: {_hex(report)}")
    return ReportChange()
