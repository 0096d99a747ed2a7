"""The teleop section: what is refused, and with which words."""

import re

import pytest
from dp_core.configuration import ConfigurationError, build_dataclass
from dp_core.contract import TeleopSpec as FromContract
from dp_core.teleop_spec import ButtonGesture, TeleopSpec


def chord(hold_s, *buttons):
    return {"buttons": list(buttons or (0, 1)), "hold_s": hold_s}


def test_the_contract_offers_it_too():
    assert FromContract is TeleopSpec


def test_a_two_button_device_can_do_all_of_an_episode():
    gestures = {"start": chord(0.5), "success": chord(0.5), "failure": chord(1.5), "discard": chord(3.0)}
    spec = build_dataclass(TeleopSpec, {"clutch_button": 1, "episode_buttons": gestures})
    assert spec.episode_buttons["failure"] == ButtonGesture((0, 1), 1.5) and spec.highest_button == 1
    assert spec.function_buttons == {"gripper_button": 0, "clutch_button": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"device": "mouse"}, "device: 'mouse' is not valid; valid: auto, topic, spacenavd, hid, keyboard, gamepad"),
        ({"axis_scale": [1, 1, 1, 1, 1, 1.5]}, "axis_scale (yaw): 1.5 is out of range; valid: 0 to 1"),
        ({"axis_scale": [1, 1]}, "axis_scale: expected 6 values, got 2"),
        ({"axis_signs": [1, 1, 1, 1, 1, 0]}, "axis_signs: 0 is not valid; valid: 1, -1"),
        ({"locked_axes": ["rx"]}, "locked_axes: 'rx' is not valid; valid: x, y, z, roll, pitch, yaw"),
        ({"speed_tiers": []}, "speed_tiers: 0 tiers; valid: 1 to 8"),
        ({"speed_tiers": [1.0, 0.0]}, "speed_tiers: 0.0 is out of range; valid: 0.01 to 1"),
        ({"speed_tier": 1}, "speed_tier: 1 is out of range; valid: 0 to 0"),
        ({"gripper_mode": "squeeze"}, "gripper_mode: 'squeeze' is not valid; valid: toggle, hold"),
        ({"clutch_button": 0}, "clutch_button: 0 is teleop.gripper_button too; give each its own"),
        ({"lock_button": 2, "speed_button": 2}, "speed_button: 2 is teleop.lock_button too; give each its own"),
        ({"episode_buttons": {"begin": chord(0, 2)}}, "episode_buttons: 'begin' is not valid; valid: start, go_on"),
        (
            {"episode_buttons": {"start": chord(1.0, 0)}},
            "episode_buttons.start: button 0 is gripper_button; use a free",
        ),
        (
            {"episode_buttons": {"start": chord(0.1, 0, 2)}},
            "episode_buttons.start.hold_s: 0.1 is too short, for button 0",
        ),
        ({"episode_buttons": {"start": chord(0, 2, 2)}}, "buttons: [2, 2] must be one to four different buttons"),
        ({"episode_buttons": {"start": chord(0, 64)}}, "episode_buttons.start.buttons: 64 is out of range"),
        (
            {"episode_buttons": {"start": chord(0.5), "discard": chord(0.6)}},
            "episode_buttons.discard: 0+1 held 0.6 s is too close to 0+1 held 0.5 s (start); 0.3 s apart at least",
        ),
        (
            {"episode_buttons": {"success": chord(0.5), "failure": chord(0.5)}},
            "episode_buttons.failure: 0+1 held 0.5 s is success too; only one of start, go_on",
        ),
        (
            {"episode_buttons": {"start": chord(0.5, 2), "discard": chord(0.5, 2, 3)}},
            "episode_buttons.discard: 2+3 held 0.5 s and 2 held 0.5 s (start) are pressed alike",
        ),
    ],
)
def test_what_cannot_be_is_refused(data, message):
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        build_dataclass(TeleopSpec, data)
