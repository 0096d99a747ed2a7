"""Samples of the device to a wanted twist, gripper and recorder commands. Pure: ``step(state, sample, ...)``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from dp_core.contract import GripperSpec
from dp_core.teleop_spec import CLOSING_COMMANDS, OPENING_COMMANDS, TeleopSpec
from numpy.typing import NDArray

from dp_teleop.buttons import ButtonEvents, ButtonState, step_buttons
from dp_teleop.gains import GainState, in_base, shape_axis, step_gains
from dp_teleop.sample import SpaceMouseSample as SpaceMouseSample
from dp_teleop.sample import is_repetition as is_repetition
from dp_teleop.sample import sample_problem as sample_problem

Array = NDArray[np.float64]

# A cap counts as at rest up to this deflection at least, whatever the deadband.
REST = 0.02
# It must stay there for so long: drivers show zeros until the first report of a device that has just appeared, and one
# that is deflected reports every 10 to 20 ms.
REST_NS = 100_000_000


@dataclass(frozen=True)
class MappingState:
    """Memory of the mapping between samples.

    Attributes:
        gripper_closed: what the gripper was last told, or really is.
        buttons: memory of the buttons.
        gains: memory of speeds and locks.
        armed: the device was seen at rest and its clutch let go since it appeared.
        rest_seen: the first half of that.
        rest_since_ns: the cap has been at rest since then.
    """

    gripper_closed: bool = False
    buttons: ButtonState = field(default_factory=ButtonState)
    gains: GainState = field(default_factory=GainState)
    armed: bool = True
    rest_seen: bool = False
    rest_since_ns: int | None = None

    @classmethod
    def at_start(cls, spec: TeleopSpec) -> MappingState:
        """As the node starts: nobody knows yet what the hand does."""
        return cls(gains=GainState(only_dominant=spec.dominant_axis, tier=spec.speed_tier)).without_device()

    def without_device(self) -> MappingState:
        """After a loss of the device: nothing is known of cap and buttons, and neither moves anything at first."""
        return replace(
            self,
            buttons=ButtonState(swallow=True),
            gains=replace(self.gains, gains=None, t_ns=None, frame="", dominant=None),
            armed=False,
            rest_seen=False,
            rest_since_ns=None,
        )


@dataclass(frozen=True)
class TeleopCommand:
    """What one sample asks for.

    Attributes:
        twist: (6,) in the base frame, m/s and rad/s.
        width: of the gripper, m.
        toggled: the width is new.
        engaged: the device is armed, the clutch is held, where there is one, and the tool frame is known, where it is
            needed.
        armed: the twist is meant; one that is not must not be sent.
        commands: what the gesture that was completed asks of the recorder; see :func:`choose_command`.
        speed_factor: of the tier in use, (0, 1].
        waits_for: what must happen before the device is armed, or empty.
    """

    twist: Array
    width: float
    toggled: bool
    engaged: bool
    armed: bool = True
    commands: tuple[str, ...] = ()
    speed_factor: float = 1.0
    waits_for: str = ""


def choose_command(commands: tuple[str, ...], recording: bool) -> str:
    """The command that a gesture means now, of those that share it.

    Args:
        commands: of the gesture; not empty.
        recording: an episode is open.
    """
    fitting = CLOSING_COMMANDS if recording else OPENING_COMMANDS
    return next((command for command in commands if command in fitting), commands[0])


def step(
    state: MappingState,
    sample: SpaceMouseSample,
    tool_quat: Array | None,
    spec: TeleopSpec,
    gripper: GripperSpec,
) -> tuple[MappingState, TeleopCommand]:
    """Map one sample.

    Args:
        state: memory.
        sample: checked with :func:`sample_problem`.
        tool_quat: measured orientation of the end effector in the base frame, xyzw; needed for ``frame: tool``.
        spec: the mapping.
        gripper: widths of open and closed.
    """
    buttons, events = step_buttons(state.buttons, sample.buttons, sample.t_ns, spec)
    state = _arm(replace(state, buttons=buttons), sample, spec)
    if not state.armed:
        events = ButtonEvents()
    gains = _switch(state.gains, events, spec)
    frames = (gains.frame, spec.frame)
    engaged = state.armed and _clutch_held(events, sample, spec) and not ("tool" in frames and tool_quat is None)
    deflection = shape_axis(sample.axes, spec.deadband, spec.expo)
    gains, twist, frame = step_gains(gains, deflection, engaged, sample.t_ns, spec)
    twist = in_base(twist, frame, tool_quat)
    closed, toggled = _grip(state.gripper_closed, events, spec)
    state = replace(state, gains=gains, gripper_closed=closed)
    command = TeleopCommand(
        twist=twist,
        width=gripper.min_width_m if closed else gripper.max_width_m,
        toggled=toggled,
        engaged=engaged,
        armed=state.armed,
        commands=events.commands,
        speed_factor=spec.speed_tiers[min(gains.tier, len(spec.speed_tiers) - 1)],
        waits_for=_waits_for(state, spec),
    )
    return state, command


def _arm(state: MappingState, sample: SpaceMouseSample, spec: TeleopSpec) -> MappingState:
    """After its return the cap must be seen at rest, and the clutch let go, before the device moves anything."""
    if state.armed:
        return state
    since_ns = None
    if np.all(np.abs(sample.axes) <= max(REST, spec.deadband)):
        since_ns = sample.t_ns if state.rest_since_ns is None else min(state.rest_since_ns, sample.t_ns)
    rest = state.rest_seen or (since_ns is not None and sample.t_ns - since_ns >= REST_NS)
    armed = rest and spec.clutch_button not in state.buttons.used
    return replace(state, rest_since_ns=since_ns, rest_seen=rest, armed=armed)


def _waits_for(state: MappingState, spec: TeleopSpec) -> str:
    if state.armed:
        return ""
    clutch = "" if spec.clutch_button not in state.buttons.used else f"button {spec.clutch_button} to be let go"
    return " and ".join(part for part in ("" if state.rest_seen else "the cap to be at rest", clutch) if part)


def _clutch_held(events: ButtonEvents, sample: SpaceMouseSample, spec: TeleopSpec) -> bool:
    """Pressed after debouncing, but let go at once: a dead-man button waits for nothing."""
    return spec.clutch_button < 0 or (spec.clutch_button in events.held and sample.buttons[spec.clutch_button])


def _switch(gains: GainState, events: ButtonEvents, spec: TeleopSpec) -> GainState:
    """Steps through the speed tiers, and the lock on the dominant axis."""
    if spec.speed_button in events.pressed:
        gains = replace(gains, tier=(gains.tier + 1) % len(spec.speed_tiers))
    if spec.lock_button in events.pressed:
        gains = replace(gains, only_dominant=not gains.only_dominant)
    return gains


def _grip(closed: bool, events: ButtonEvents, spec: TeleopSpec) -> tuple[bool, bool]:
    """Whether the gripper is to be closed, and whether that is new."""
    if spec.gripper_mode == "toggle":
        toggled = spec.gripper_button in events.pressed
        return closed != toggled, toggled
    if spec.gripper_button in events.pressed and spec.gripper_button in events.held:
        return True, True
    if spec.gripper_button in events.released and spec.gripper_button not in events.pressed:
        return False, True
    return closed, False
