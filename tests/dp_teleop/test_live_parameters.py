"""The mapping as ROS parameters: checked as a whole, applied between two samples, over the real services."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
from dp_core.configuration import ConfigurationError
from dp_core.teleop_spec import ButtonGesture, TeleopSpec
from dp_teleop.live_parameters import KNOBS, change, format_gestures, parse_gestures, to_parameter
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters

GESTURES = {"start": ButtonGesture((0, 1), 0.5), "stop": ButtonGesture((7,)), "redo": ButtonGesture((2, 3, 4), 1.25)}


@pytest.fixture(scope="module")
def node(make_hand):
    return make_hand(expo=0.5)


@pytest.fixture
def hand(node):
    node.settle()
    return node


def value(hand, name):
    return hand.call("get_parameters", GetParameters.Request(names=[name])).values[0]


def pushed_x(hand, axes=(0.525, 0, 0, 0, 0, 0)):
    """Forward speed of a steady push, 0.525 of full deflection: half of it after the deadband of 0.05."""
    hand.settle()
    return hand.steady(0.3, axes).linear.x


def test_every_key_of_the_contract_is_a_parameter():
    assert set(KNOBS) == {item.name for item in fields(TeleopSpec)}


def test_every_parameter_stands_in_the_readme_with_its_default():
    readme = (Path(__file__).resolve().parents[2] / "src/dp_teleop/README.md").read_text()
    table = readme[readme.index("## Parameters") :]
    table = table[: table.index("\n\n##")]
    rows = {line.split("`")[1]: line.split("|") for line in table.splitlines() if line.startswith("| `")}
    defaults = TeleopSpec()
    for name, knob in KNOBS.items():
        assert name in rows, f"{name} is not documented"
        value = getattr(defaults, name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert float(rows[name][3]) == value
            assert rows[name][4].strip().startswith(f"{knob.low:g} to {knob.high:g}")


def test_gestures_are_written_and_read_alike():
    text = format_gestures(GESTURES)
    assert text == "start=0+1@0.5 stop=7 redo=2+3+4@1.25" and parse_gestures(text) == GESTURES
    assert parse_gestures("") == {}
    with pytest.raises(ConfigurationError, match=r"'start:0' is not understood; valid: command=buttons@seconds"):
        parse_gestures("start:0")
    with pytest.raises(ConfigurationError, match="is not understood"):  # Python reads no number of so many digits
        parse_gestures(f"start={'9' * 5000}")
    with pytest.raises(ConfigurationError, match="start is there twice"):
        parse_gestures("start=2 start=3")


def test_all_values_survive_being_parameters():
    spec = replace(TeleopSpec(), locked_axes=("roll", "yaw"), speed_tiers=(1.0, 0.5), episode_buttons=GESTURES)
    assert change(TeleopSpec(), {name: to_parameter(name, getattr(spec, name)) for name in KNOBS}) == spec


def test_they_are_described_with_range_and_constraint(hand):
    names = ["expo", "speed_button", "frame", "device"]
    expo, button, frame, device = hand.call("describe_parameters", DescribeParameters.Request(names=names)).descriptors
    assert (expo.floating_point_range[0].from_value, expo.floating_point_range[0].to_value) == (0.0, 1.0)
    assert (button.integer_range[0].from_value, button.integer_range[0].to_value) == (-1, 63)
    assert frame.type == ParameterType.PARAMETER_STRING and "one of: base, tool" in frame.additional_constraints
    assert device.read_only and not expo.read_only and all(d.description for d in (expo, button, frame, device))
    assert value(hand, "expo").double_value == 0.5, "given at the start"


def test_a_change_counts_from_the_next_sample_on(hand):
    assert hand.set(expo=0.0).successful
    assert pushed_x(hand) == pytest.approx(0.25 * 0.5)
    assert hand.set(expo=1.0, linear_scale_m_s=0.1, axis_scale=[0.5] * 6, axis_signs=[-1, 1, 1, 1, 1, 1]).successful
    assert pushed_x(hand) == pytest.approx(-0.1 * 0.5 * 0.5**3)
    assert hand.set(locked_axes="x yaw").successful
    assert pushed_x(hand) == 0.0
    assert hand.set(
        expo=0.5, linear_scale_m_s=0.25, axis_scale=[1.0] * 6, axis_signs=[1] * 6, locked_axes=""
    ).successful


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"expo": 0.0, "axis_scale": [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]},
            r"axis_scale (y): 2.0 is out of range; valid: 0 to 1",
        ),
        ({"expo": 0.0, "axis_scale": [1.0]}, "axis_scale: expected 6 values, got 1"),
        ({"expo": 0.0, "locked_axes": "x up"}, "locked_axes: 'up' is not valid; valid: x, y, z, roll, pitch, yaw"),
        ({"expo": 0.0, "frame": "camera"}, "frame: 'camera' is not valid; valid: base, tool"),
        ({"expo": 0.0, "speed_button": 0}, "speed_button: 0 is teleop.gripper_button too; give each its own"),
        ({"expo": 0.0, "episode_buttons": "start=0"}, "button 0 is gripper_button; use a free button or a chord"),
        ({"expo": 0.0, "linear_scale_m_s": float("nan")}, "linear_scale_m_s"),
        ({"expo": 0.0, "deadband": 0.95}, "deadband"),
        ({"expo": 0.0, "gripper_button": -1}, "gripper_button"),
        ({"expo": 0.0, "device": "hid"}, "read-only"),
        ({"expo": 0.0, "speed_tiers": 1.0}, "expected 'Type.DOUBLE_ARRAY'"),
        ({"expo": 0.0, "speed_tier": 1}, "speed_tier: 1 is out of range; valid: 0 to 0"),
    ],
)
def test_a_bad_value_is_refused_with_a_reason_and_nothing_changes(hand, values, reason):
    result = hand.set(**values)
    assert not result.successful and reason in result.reason
    assert value(hand, "expo").double_value == 0.5


def test_one_bad_value_does_not_spoil_others_that_are_set_one_by_one(hand):
    results = hand.set(atomically=False, deadband=0.1, frame="camera", ramp_s=0.1)
    assert [result.successful for result in results] == [True, False, True]
    assert hand.set(deadband=0.05, ramp_s=0.2).successful


def test_tiers_and_buttons_can_be_changed_while_driving(hand):
    assert hand.set(speed_tiers=[1.0, 0.5, 0.25], speed_button=2, expo=0.0).successful
    hand.settle()
    axes = (0.525, 0, 0, 0, 0, 0)
    hand.push(lambda: hand.states and hand.states[-1].speed_factor != 1.0, "the tier", axes=axes, buttons=(0, 0, 1))
    hand.hold(0.2, axes=axes, buttons=(0, 0, 1))
    assert hand.steady(0.3, axes, (0, 0, 0)).linear.x == pytest.approx(0.25 * 0.5 * 0.5)
    assert hand.states[-1].speed_factor == 0.5
    assert hand.set(speed_tier=2).successful
    assert hand.steady(0.3, axes, (0, 0, 0)).linear.x == pytest.approx(0.25 * 0.5 * 0.25)
    # A button that gets another meaning while it is down means nothing until it is let go.
    hand.push(lambda: hand.grips, "the press", buttons=(1, 0, 0))
    grips = len(hand.grips)
    assert hand.set(gripper_button=1, speed_button=0).successful
    hand.hold(0.3, buttons=(1, 0, 0))
    assert len(hand.grips) == grips and hand.states[-1].speed_factor == 0.25
    assert hand.set(gripper_button=0, speed_button=-1).successful
    assert hand.set(speed_tiers=[1.0], speed_tier=0, expo=0.5).successful


def test_the_tool_frame_waits_for_the_pose(hand):
    assert hand.set(frame="tool", expo=0.0).successful
    hand.states.clear()
    hand.wait(lambda: hand.states and not hand.states[-1].engaged, "the missing pose to stop it", hand.show)
    assert hand.set(frame="base", expo=0.5).successful
