"""How a person drives the cell: the device, the mapping of its axes and what its buttons do."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from dp_core.configuration import ConfigurationError, require_choice, require_range

DEVICES = ("auto", "topic", "spacenavd", "hid", "keyboard", "gamepad")
FRAMES = ("base", "tool")
AXES = ("x", "y", "z", "roll", "pitch", "yaw")
GRIPPER_MODES = ("toggle", "hold")
# Commands of the recorder that a gesture can send. The first kind means something while no episode is open, the
# second while one is, the third in both cases: one gesture may therefore stand for one of each of the first two.
OPENING_COMMANDS = ("start", "go_on", "pause", "next", "previous")
CLOSING_COMMANDS = ("success", "failure", "stop")
COMMANDS = (*OPENING_COMMANDS, *CLOSING_COMMANDS, "discard", "redo")

LAST_BUTTON = 63
MOST_TIERS = 8
# A person can tell lengths of a press apart that differ by this much.
HOLD_STEP_S = 0.3
# Two buttons of which one does something alone must be held for so long before they mean something together.
SHORTEST_CHORD_S = 0.2


@dataclass(frozen=True)
class ButtonGesture:
    """Buttons that are pressed together and held.

    Attributes:
        buttons: their numbers; more than one is a chord.
        hold_s: for how long; 0: a press.
    """

    buttons: tuple[int, ...]
    hold_s: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 1 <= len(self.buttons) <= 4 or len(set(self.buttons)) != len(self.buttons):
            raise ConfigurationError(f"buttons: {list(self.buttons)} must be one to four different buttons")
        for button in self.buttons:
            require_range("buttons", button, 0, LAST_BUTTON)
        require_range("hold_s", self.hold_s, 0, 10, "s")

    def __str__(self) -> str:
        """As ``0+1 held 0.5 s``."""
        return "+".join(map(str, self.buttons)) + (f" held {self.hold_s:g} s" if self.hold_s else "")


@dataclass(frozen=True)
class TeleopSpec:
    """The ``teleop`` section of a contract. Axes are x y z roll pitch yaw, each in [-1, 1].

    Attributes:
        device: auto (the first that is found), topic (``spacenav/joy``), spacenavd (the daemon's socket), hid (the
            device itself), keyboard or gamepad (for people without a SpaceMouse).
        device_path: socket, hidraw or input device to open; empty: the usual place, or the first that is found.
        deadband: share of the deflection around zero without effect.
        expo: curve from 0 (linear) to 1 (cubic).
        linear_scale_m_s: speed at full deflection in the fastest tier of 1.
        angular_scale_rad_s: turning speed at full deflection.
        axis_scale: factor of each axis, [0, 1].
        axis_signs: +1 or -1 for each axis.
        frame: base or tool, in which the axes are meant.
        locked_axes: names of axes that do not move the arm.
        dominant_axis: only the most deflected axis moves the arm; ``lock_button`` changes it.
        gripper_button: opens and closes.
        gripper_mode: toggle (each press) or hold (closed while held).
        clutch_button: must be held to move; -1: none.
        lock_button: switches ``dominant_axis``; -1: none.
        speed_button: steps through ``speed_tiers``; -1: none.
        speed_tiers: factors of the speed, (0, 1].
        speed_tier: number of the tier at the start, from 0.
        ramp_s: a change of tier, lock, scale or sign, and an engaging clutch, take this long to the full effect.
        button_debounce_s: a button that changed is not believed to change again for this long.
        chord_window_s: buttons pressed within this time are pressed together.
        episode_buttons: gesture of each recorder command.
        frozen_s: where a loss does not show, a deflection without any change for this long is one; 0: never.
        hold_confirm_s: where a loss does not show, a held clutch must be confirmed by any change of the reading within
            this time; 0: never. It does not show through the spacenav node of ROS, through spacenavd before 1.0, and
            with a wireless device at any spacenavd.
    """

    device: str = "topic"
    device_path: str = ""
    deadband: float = 0.05
    expo: float = 0.0
    linear_scale_m_s: float = 0.25
    angular_scale_rad_s: float = 1.0
    axis_scale: tuple[float, float, float, float, float, float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    axis_signs: tuple[int, int, int, int, int, int] = (1, 1, 1, 1, 1, 1)
    frame: str = "base"
    locked_axes: tuple[str, ...] = ()
    dominant_axis: bool = False
    gripper_button: int = 0
    gripper_mode: str = "toggle"
    clutch_button: int = -1
    lock_button: int = -1
    speed_button: int = -1
    speed_tiers: tuple[float, ...] = (1.0,)
    speed_tier: int = 0
    ramp_s: float = 0.2
    button_debounce_s: float = 0.15
    chord_window_s: float = 0.1
    episode_buttons: dict[str, ButtonGesture] = field(default_factory=dict)
    frozen_s: float = 2.0
    hold_confirm_s: float = 10.0

    def __post_init__(self) -> None:
        """Check ranges, and that no button means two things."""
        require_choice("device", self.device, DEVICES)
        require_range("deadband", self.deadband, 0, 0.9)
        require_range("expo", self.expo, 0, 1)
        require_range("linear_scale_m_s", self.linear_scale_m_s, 1e-3, 2, "m/s")
        require_range("angular_scale_rad_s", self.angular_scale_rad_s, 1e-3, 6, "rad/s")
        require_choice("frame", self.frame, FRAMES)
        require_choice("gripper_mode", self.gripper_mode, GRIPPER_MODES)
        require_range("gripper_button", self.gripper_button, 0, LAST_BUTTON)
        for name in ("clutch_button", "lock_button", "speed_button"):
            require_range(name, getattr(self, name), -1, LAST_BUTTON)
        require_range("ramp_s", self.ramp_s, 0, 2, "s")
        require_range("button_debounce_s", self.button_debounce_s, 0, 2, "s")
        require_range("chord_window_s", self.chord_window_s, 0.02, 0.5, "s")
        require_range("frozen_s", self.frozen_s, 0, 60, "s")
        require_range("hold_confirm_s", self.hold_confirm_s, 0, 600, "s")
        self._check_axes()
        self._check_tiers()
        self._check_functions()
        self._check_gestures()

    def _check_axes(self) -> None:
        for name, length in (("axis_scale", len(self.axis_scale)), ("axis_signs", len(self.axis_signs))):
            if length != len(AXES):
                raise ConfigurationError(f"{name}: {length} values; one for each of {', '.join(AXES)} is needed")
        for axis, factor in zip(AXES, self.axis_scale, strict=True):
            require_range(f"axis_scale ({axis})", factor, 0, 1)
        for sign in self.axis_signs:
            require_choice("axis_signs", sign, (1, -1))
        for axis in self.locked_axes:
            require_choice("locked_axes", axis, AXES)

    def _check_tiers(self) -> None:
        if not 1 <= len(self.speed_tiers) <= MOST_TIERS:
            raise ConfigurationError(f"speed_tiers: {len(self.speed_tiers)} tiers; valid: 1 to {MOST_TIERS}")
        for factor in self.speed_tiers:
            require_range("speed_tiers", factor, 0.01, 1)
        require_range("speed_tier", self.speed_tier, 0, len(self.speed_tiers) - 1)

    def _check_functions(self) -> None:
        functions = self.function_buttons
        for (first, a), (second, b) in itertools.combinations(functions.items(), 2):
            if a == b:
                raise ConfigurationError(f"{second}: {b} is teleop.{first} too; give each its own")

    def _check_gestures(self) -> None:
        owners = {button: name for name, button in self.function_buttons.items()}
        for command, gesture in self.episode_buttons.items():
            where = f"episode_buttons.{command}"
            require_choice("episode_buttons", command, COMMANDS)
            owned = [button for button in gesture.buttons if button in owners]
            if owned and len(gesture.buttons) == 1:
                raise ConfigurationError(
                    f"{where}: button {owned[0]} is {owners[owned[0]]}; use a free button or a chord with another one"
                )
            if owned and gesture.hold_s < SHORTEST_CHORD_S:
                raise ConfigurationError(
                    f"{where}.hold_s: {gesture.hold_s} is too short, for button {owned[0]} is {owners[owned[0]]}; "
                    f"valid: {SHORTEST_CHORD_S} to 10 s"
                )
        for first, second in itertools.combinations(self.episode_buttons, 2):
            problem = self._conflict(first, second)
            if problem:
                raise ConfigurationError(f"episode_buttons.{second}: {problem}")

    def _conflict(self, first: str, second: str) -> str:
        """Why two commands cannot have the gestures that they have, or empty."""
        a, b = self.episode_buttons[first], self.episode_buttons[second]
        ours, theirs = set(a.buttons), set(b.buttons)
        if ours != theirs:
            nested = ours < theirs or theirs < ours
            return (
                f"{b} and {a} ({first}) are pressed alike; take buttons that are no part of the others"
                if nested
                else ""
            )
        if a.hold_s != b.hold_s:
            close = abs(a.hold_s - b.hold_s) < HOLD_STEP_S
            return f"{b} is too close to {a} ({first}); {HOLD_STEP_S} s apart at least" if close else ""
        opens = sum(command in OPENING_COMMANDS for command in (first, second))
        closes = sum(command in CLOSING_COMMANDS for command in (first, second))
        if (opens, closes) == (1, 1):
            return ""
        return (
            f"{b} is {first} too; only one of {', '.join(OPENING_COMMANDS)} "
            f"and one of {', '.join(CLOSING_COMMANDS)} can share a gesture"
        )

    @property
    def function_buttons(self) -> dict[str, int]:
        """Buttons that do something by themselves, by the key that names them."""
        keys = ("gripper_button", "clutch_button", "lock_button", "speed_button")
        return {key: getattr(self, key) for key in keys if getattr(self, key) >= 0}

    @property
    def highest_button(self) -> int:
        """The highest button number in use."""
        gestures = [button for gesture in self.episode_buttons.values() for button in gesture.buttons]
        return max([*self.function_buttons.values(), *gestures])
