"""The mapping as ROS parameters, which may be changed while the node runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from dp_core.configuration import ConfigurationError, build_dataclass
from dp_core.contract import Contract
from dp_core.teleop_spec import AXES, COMMANDS, DEVICES, FRAMES, GRIPPER_MODES, LAST_BUTTON, ButtonGesture, TeleopSpec
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

_GESTURE = re.compile(r"(\w+)=(\d{1,9}(?:\+\d{1,9})*)(?:@(\d{1,9}(?:\.\d*)?))?", re.ASCII)


@dataclass(frozen=True)
class Knob:
    """A parameter: its description, its range where it is one number, and what else is valid in words."""

    text: str
    low: float | None = None
    high: float | None = None
    valid: str = ""
    read_only: bool = False


def _one_of(*names: str) -> str:
    return "one of: " + ", ".join(names)


_AXES = ", ".join(AXES)
KNOBS: dict[str, Knob] = {
    "device": Knob("Where samples come from.", valid=_one_of(*DEVICES), read_only=True),
    "device_path": Knob("Socket, hidraw or input device; empty: found by itself.", read_only=True),
    "deadband": Knob("Share of the deflection around zero without effect.", 0.0, 0.9),
    "expo": Knob("Curve from 0, linear, to 1, cubic.", 0.0, 1.0),
    "linear_scale_m_s": Knob("Speed at full deflection, m/s.", 0.001, 2.0),
    "angular_scale_rad_s": Knob("Turning speed at full deflection, rad/s.", 0.001, 6.0),
    "axis_scale": Knob(f"Factors of {_AXES}.", valid="six numbers in [0, 1]"),
    "axis_signs": Knob(f"Signs of {_AXES}.", valid="six numbers, each 1 or -1"),
    "frame": Knob("In which frame the axes are meant.", valid=_one_of(*FRAMES)),
    "locked_axes": Knob("Axes that do not move the arm.", valid=f"names with blanks between: {_AXES}; or empty"),
    "dominant_axis": Knob("Only the most deflected axis moves the arm; setting it overrides what lock_button did."),
    "gripper_button": Knob("Button that opens and closes the gripper.", 0, LAST_BUTTON),
    "gripper_mode": Knob("Each press changes it, or closed while held.", valid=_one_of(*GRIPPER_MODES)),
    "clutch_button": Knob("Button that must be held to move; -1: none.", -1, LAST_BUTTON),
    "lock_button": Knob("Button that switches dominant_axis; -1: none.", -1, LAST_BUTTON),
    "speed_button": Knob("Button that steps through speed_tiers; -1: none.", -1, LAST_BUTTON),
    "speed_tiers": Knob("Factors of the speed.", valid="1 to 8 numbers in [0.01, 1]"),
    "speed_tier": Knob("Number of the tier in use, from 0; setting it overrides what speed_button did.", 0, 7),
    "ramp_s": Knob(
        "Time in which a change of speed or lock and an engaging clutch come to their full effect, s.", 0.0, 2.0
    ),
    "button_debounce_s": Knob("After a change a button is not believed to change again for this long, s.", 0.0, 2.0),
    "chord_window_s": Knob("Buttons pressed within this time are pressed together, s.", 0.02, 0.5),
    "episode_buttons": Knob(
        "Gestures of recorder commands, as in: start=0+1@0.5 success=0+1@0.5 discard=0+1@3.",
        valid=f"command=buttons@seconds with blanks between; commands: {', '.join(COMMANDS)}; or empty",
    ),
    "frozen_s": Knob(
        "A deflection without any change for this long is frozen, where a loss does not show, s; 0: never.", 0.0, 60.0
    ),
    "hold_confirm_s": Knob(
        "A held clutch needs a sign of life this often, where a loss does not show, s; 0: never.", 0.0, 600.0
    ),
}
# A change of one of these takes the hand off: what is down then must be let go before it means anything.
BUTTON_KNOBS = ("gripper_button", "clutch_button", "lock_button", "speed_button", "episode_buttons", "gripper_mode")


def format_gestures(gestures: dict[str, ButtonGesture]) -> str:
    """Gestures as the parameter ``episode_buttons`` has them."""
    return " ".join(
        f"{command}={'+'.join(map(str, gesture.buttons))}" + (f"@{gesture.hold_s:g}" if gesture.hold_s else "")
        for command, gesture in gestures.items()
    )


def parse_gestures(text: str) -> dict[str, ButtonGesture]:
    """The inverse of :func:`format_gestures`.

    Raises:
        ConfigurationError: names the part that is not understood.
    """
    gestures: dict[str, ButtonGesture] = {}
    for part in text.split():
        match = _GESTURE.fullmatch(part)
        if match is None:
            raise ConfigurationError(
                f"episode_buttons: {part!r} is not understood; valid: {KNOBS['episode_buttons'].valid}"
            )
        command, buttons, hold_s = match.groups()
        if command in gestures:
            raise ConfigurationError(f"episode_buttons: {command} is there twice; one gesture for each command")
        gestures[command] = ButtonGesture(tuple(map(int, buttons.split("+"))), float(hold_s or 0.0))
    return gestures


def to_parameter(name: str, value: Any) -> Any:
    """A value of the contract as the parameter has it."""
    if name == "episode_buttons":
        return format_gestures(value)
    if name == "locked_axes":
        return " ".join(value)
    return list(value) if isinstance(value, tuple) else value


def change(spec: TeleopSpec, values: dict[str, Any]) -> TeleopSpec:
    """The mapping with other values of parameters.

    Raises:
        ConfigurationError: what is wrong and what is valid.
    """
    data = {item.name: getattr(spec, item.name) for item in fields(spec)}
    for name, value in values.items():
        if value is None:
            raise ConfigurationError(f"{name}: is needed and cannot be deleted")
        if name == "episode_buttons":
            data[name] = parse_gestures(value)
        elif name == "locked_axes":
            data[name] = tuple(value.split())
        else:
            data[name] = list(value) if isinstance(data[name], tuple) else value
    gestures = {command: {"buttons": g.buttons, "hold_s": g.hold_s} for command, g in data["episode_buttons"].items()}
    return build_dataclass(TeleopSpec, {**data, "episode_buttons": gestures})


class LiveMapping:
    """The mapping of a node as its parameters.

    A change is checked as a whole, with the rest of the contract (a dead-man cell needs its clutch), and refused as a
    whole with a reason.

    Args:
        node: gets the parameters.
        contract: gives the defaults.
        apply: gets each new mapping and the names that were changed; called where the node is spun.

    Raises:
        ConfigurationError: the node was started with values that are not valid.
    """

    def __init__(self, node: Node, contract: Contract, apply: Callable[[TeleopSpec, frozenset[str]], None]) -> None:
        self._contract, self._apply = contract, apply
        values = {}
        for name, knob in KNOBS.items():
            default = to_parameter(name, getattr(contract.teleop, name))
            values[name] = node.declare_parameter(name, default, _descriptor(knob, default)).value
        self.spec = self._checked(change(contract.teleop, values))
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._take)

    def _checked(self, spec: TeleopSpec) -> TeleopSpec:
        replace(self._contract, teleop=spec)
        return spec

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        try:
            self._checked(change(self.spec, _ours(parameters)))
        except ConfigurationError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _take(self, parameters: Sequence[Parameter]) -> None:
        values = _ours(parameters)
        if values:
            self.spec = change(self.spec, values)
            self._apply(self.spec, frozenset(values))


def _ours(parameters: Sequence[Parameter]) -> dict[str, Any]:
    return {parameter.name: parameter.value for parameter in parameters if parameter.name in KNOBS}


def _descriptor(knob: Knob, default: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(description=knob.text, read_only=knob.read_only, additional_constraints=knob.valid)
    if knob.low is None or knob.high is None:
        return descriptor
    if isinstance(default, float):
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(knob.low), to_value=float(knob.high))]
    else:
        descriptor.integer_range = [IntegerRange(from_value=int(knob.low), to_value=int(knob.high), step=1)]
    return descriptor
