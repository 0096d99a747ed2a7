"""Bytes that real SpaceMice have sent, against what was done with the device meanwhile.

Where they come from:
  [AndunHH] SpaceNavigator.md of github.com/AndunHH/spacemouse, SpaceNavigator seen by Wireshark
  [forum] 3dconnexion.com/forum, topic 16943, SpaceNavigator on /dev/hidraw, tapped once on its top
  [nytamin] packages/core/src/__tests__/incoming-data.spec.ts of github.com/nytamin/spacemouse, and its issue 1
  [CloudCompare] github.com/CloudCompare/CloudCompare pull request 2339, SpaceMouse Compact
  [Sx2vJoy] github.com/Lasse-B/Sx2vJoy-test issue 5 and [jfedor2] github.com/jfedor2/magellan-spacemouse issue 1:
  numbers of the bits that each button of a SpaceMouse Pro Wireless and Pro sets
"""

import numpy as np
import pytest
from dp_teleop.devices.report_layouts import MODELS, ReportError, model_of, parse_report, unknown_model
from hypothesis import given, settings
from hypothesis import strategies as st

NAVIGATOR, COMPACT = model_of(0x046D, 0xC626), model_of(0x256F, 0xC635)
WIRELESS, PRO = model_of(0x256F, 0xC62E), model_of(0x046D, 0xC62B)
PRO_WIRELESS, ENTERPRISE = model_of(0x256F, 0xC631), model_of(0x256F, 0xC633)


def parse(model, text):
    return parse_report(bytes.fromhex(text), model)


def test_pushing_down_is_down():
    # [nytamin] "Pushing the spacemouse down", two devices, two layouts.
    change = parse(NAVIGATOR, "01 00 00 00 00 34 00")
    np.testing.assert_allclose(change.translation, [0, 0, -52 / 350])
    assert change.rotation is None and change.buttons is None
    change = parse(WIRELESS, "01 00 00 00 00 19 00 00 00 00 00 00 00")
    np.testing.assert_allclose(change.translation, [0, 0, -25 / 350])
    np.testing.assert_array_equal(change.rotation, [0, 0, 0])


def test_turning_clockwise_is_a_negative_turn_about_up():
    # [nytamin] "Rotate the spacemouse clockwise".
    change = parse(NAVIGATOR, "02 00 00 00 00 2d 00")
    np.testing.assert_allclose(change.rotation, [0, 0, -45 / 350])
    assert change.translation is None
    np.testing.assert_allclose(parse(WIRELESS, "01 00 00 00 00 00 00 00 00 00 00 30 00").rotation, [0, 0, -48 / 350])


def test_leaning_to_the_right_is_a_positive_roll():
    # [AndunHH] "rotation around 'right down'": raw Ry -30; Ry is about the axis towards the user.
    np.testing.assert_allclose(parse(NAVIGATOR, "02 00 00 e2 ff 00 00").rotation, [30 / 350, 0, 0])


def test_a_recording_of_a_compact():
    # [CloudCompare] pressed down while leaning: x 18, z 248 and 293; rotation 32 about x, 23 and 27 about z.
    recording = ["02 20 00 00 00 17 00", "01 12 00 00 00 f8 00", "01 0d 00 00 00 25 01"]
    rotation, first, second = (parse(COMPACT, line) for line in recording)
    np.testing.assert_allclose(rotation.rotation, [0, -32 / 350, -23 / 350])
    np.testing.assert_allclose(first.translation, [0, -18 / 350, -248 / 350])
    np.testing.assert_allclose(second.translation, [0, -13 / 350, -293 / 350])


def test_a_recording_of_a_tap_ends_at_rest():
    # [forum], the first four and the last two reports.
    lines = ["01 f8 ff 14 00 55 00", "02 00 00 15 00 00 00", "01 00 00 b0 ff 04 00", "02 a5 ff 00 00 00 00"]
    changes = [parse(NAVIGATOR, line) for line in lines]
    np.testing.assert_allclose(changes[0].translation, [-20 / 350, 8 / 350, -85 / 350])
    np.testing.assert_allclose(changes[1].rotation, [-21 / 350, 0, 0])
    np.testing.assert_allclose(changes[2].translation, [80 / 350, 0, -4 / 350])
    np.testing.assert_allclose(changes[3].rotation, [0, 91 / 350, 0])
    assert not np.any(parse(NAVIGATOR, "01 00 00 00 00 00 00").translation)
    assert not np.any(parse(NAVIGATOR, "02 00 00 00 00 00 00").rotation)


def test_buttons_of_two():
    # [AndunHH] button 1, button 2, both, none; [forum] with four bytes more.
    assert parse(NAVIGATOR, "03 01 00").buttons == (True, False)
    assert parse(NAVIGATOR, "03 02 00").buttons == (False, True)
    assert parse(NAVIGATOR, "03 03 00").buttons == (True, True)
    assert parse(NAVIGATOR, "03 00 00").buttons == (False, False)
    assert parse(COMPACT, "03 01 00 00 00 00 00").buttons == (True, False)


# [Sx2vJoy] for the Pro Wireless; [jfedor2] gives the same, counted from 1, for the Pro.
PRO_BITS = {
    "1": 12, "2": 13, "3": 14, "4": 15, "menu": 0, "fit": 1, "top": 2, "right": 4, "front": 5,
    "roll": 8, "lock": 26, "esc": 22, "alt": 23, "shift": 24, "ctrl": 25,
}  # fmt: skip


@pytest.mark.parametrize("model", [PRO, PRO_WIRELESS], ids=lambda model: model.name)
def test_buttons_of_the_pro_have_the_numbers_that_spacenavd_gives(model):
    # bnhack_smpro of spacenavd's dev.c: 1 2 3 4 menu fit T R F roll lock esc alt shift ctrl are 0 to 14.
    for number, bit in enumerate(PRO_BITS.values()):
        pressed = parse_report(b"\x03" + (1 << bit).to_bytes(4, "little"), model).buttons
        assert [index for index, down in enumerate(pressed) if down] == [number]
    assert len(model.button_bits) == 15
    # Bits that are no button press nothing.
    assert not any(parse_report(b"\x03" + (1 << 3 | 1 << 31).to_bytes(4, "little"), model).buttons)


def test_buttons_of_the_enterprise_leave_place_for_those_it_sends_otherwise():
    # bnhack_sment: code 256 + bit; 1 is 0, menu 12, esc 18, iso 30.
    for bit, number in ((12, 0), (21, 9), (0, 12), (22, 18), (26, 22), (10, 30)):
        pressed = parse_report(b"\x03" + (1 << bit).to_bytes(4, "little"), ENTERPRISE).buttons
        assert [index for index, down in enumerate(pressed) if down] == [number]
    assert len(ENTERPRISE.button_bits) == 31


def test_battery_and_reports_of_others():
    # [nytamin] "Not sure what this message means, but it's in the logs"; the descriptor says battery strength.
    change = parse(WIRELESS, "17 64 01")
    assert change.battery_percent == 100
    assert change.translation is None and change.rotation is None and change.buttons is None
    assert parse(ENTERPRISE, "1c 4d 00 00 00 00 00 00 00 00 00 00 00").buttons is None


def test_full_scale_is_one_and_more_is_clipped():
    full = (350).to_bytes(2, "little", signed=True).hex()
    more = (-500).to_bytes(2, "little", signed=True).hex()
    np.testing.assert_array_equal(parse(NAVIGATOR, f"01 {full} {more} 0000").translation, [1, -1, 0])


@pytest.mark.parametrize(
    "report",
    [
        "01 00 80 00 00 00 00",
        "01 00 00 00 00 ff 7f",
        "",
        "01",
        "01 00 00 00 00 00",
        "01 00 00 00 00 00 00 00",
        "02" + "00" * 12,
        "03",
        "03" + "00" * 9,
        "17",
    ],
)
def test_a_malformed_report_is_a_named_error(report):
    with pytest.raises(ReportError):
        parse(NAVIGATOR, report)


@settings(deadline=None)
@given(st.binary(max_size=64), st.sampled_from(MODELS))
def test_no_bytes_do_anything_but_parse_or_raise_the_named_error(report, model):
    try:
        change = parse_report(report, model)
    except ReportError:
        return
    for axes in (change.translation, change.rotation):
        assert axes is None or (axes.shape == (3,) and np.all(np.abs(axes) <= 1))
    assert change.buttons is None or len(change.buttons) == len(model.button_bits)


def test_every_model_is_told_by_its_ids():
    assert len({(model.vendor, model.product) for model in MODELS}) == len(MODELS)
    assert model_of(0x256F, 0xC62F).name == "SpaceMouse Wireless (receiver)" and model_of(0x256F, 0xC62F).radio
    assert model_of(0x046D, 0xC52B) is None  # a receiver of Logitech's mice
    assert model_of(0x256F, 0xC650) is None  # CadMouse
    assert unknown_model(0xC7FF).name == "3Dconnexion device c7ff"
    assert unknown_model(0xC7FF).radio, "nobody knows that it is not"
