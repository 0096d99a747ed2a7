"""Buttons of the device to what they mean: debouncing, chords and gestures. Pure: ``step_buttons(state, ...)``.

A button that acts by itself and is part of a chord (both buttons of a SpaceMouse Compact are) waits for
``chord_window_s`` whether its partner comes: pressed together they are a chord, and neither the gripper nor the arm
moves. Pressed one after the other they are what they are alone, at once: who holds the clutch and taps the gripper does
not wait. The buttons of a chord mean nothing else until each of them has been let go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dp_core.teleop_spec import TeleopSpec

Buttons = frozenset[int]

# Samples farther apart than this say nothing about how long a button was held.
LONGEST_GAP_NS = 500_000_000
LONG_AGO_NS = 3600 * 1_000_000_000


@dataclass(frozen=True)
class ButtonState:
    """Memory of the buttons between samples.

    Attributes:
        t_ns: of the last sample; None: before the first one, or after a loss of the device.
        raw: as the device said last.
        stable: after debouncing.
        changed_ns: when each button last changed, after debouncing.
        used: buttons that mean nothing until they are let go.
        waiting: function buttons that wait for a partner.
        acting: function buttons that were pressed, by themselves, and are held.
        chord: buttons of the gesture that is being held.
        chord_ns: since when.
        swallow: buttons that are down in the next sample were not seen being pressed, and are used.
    """

    t_ns: int | None = None
    raw: tuple[bool, ...] = ()
    stable: tuple[bool, ...] = ()
    changed_ns: tuple[int, ...] = ()
    used: Buttons = frozenset()
    waiting: Buttons = frozenset()
    acting: Buttons = frozenset()
    chord: Buttons = frozenset()
    chord_ns: int = 0
    swallow: bool = False


@dataclass(frozen=True)
class ButtonEvents:
    """What the buttons mean in one sample.

    Attributes:
        pressed: function buttons that begin to act.
        released: function buttons that stop to act.
        held: function buttons that act, after debouncing.
        commands: recorder commands of the gesture that was completed; more than one where they share it.
    """

    pressed: Buttons = frozenset()
    released: Buttons = frozenset()
    held: Buttons = frozenset()
    commands: tuple[str, ...] = ()


def _passed(t_ns: int, since_ns: int, seconds: float) -> bool:
    """Whether a time has passed; a clock that was set back counts as that."""
    return t_ns < since_ns or t_ns - since_ns >= round(1e9 * seconds)


def debounce(state: ButtonState, raw: tuple[bool, ...], t_ns: int, seconds: float) -> tuple[ButtonState, Buttons]:
    """Take the new reading of the buttons; also returns those that were pressed.

    A change counts at once and then holds for ``seconds``. A change that is there when that time is over counts then.
    """
    if state.swallow:
        used = frozenset(index for index, value in enumerate(raw) if value)
        state = ButtonState(raw=raw, stable=raw, changed_ns=(t_ns - LONG_AGO_NS,) * len(raw), used=used)
    # Drivers find out about buttons when they are pressed: their number may change.
    new = max(0, len(raw) - len(state.stable))
    before = (state.raw + (False,) * new)[: len(raw)]
    stable = list(state.stable + (False,) * new)[: len(raw)]
    changed = list(state.changed_ns + (t_ns - LONG_AGO_NS,) * new)[: len(raw)]
    pressed = set()
    for index, down in enumerate(raw):
        # What it was last time may have had to wait, and may have changed again since.
        for value in (before[index], down):
            if value != stable[index] and _passed(t_ns, changed[index], seconds):
                stable[index], changed[index] = value, t_ns if value == down else changed[index]
                if value:
                    pressed.add(index)
    state = replace(state, raw=raw, stable=tuple(stable), changed_ns=tuple(changed), t_ns=t_ns)
    return state, frozenset(pressed)


def step_buttons(
    state: ButtonState, raw: tuple[bool, ...], t_ns: int, spec: TeleopSpec
) -> tuple[ButtonState, ButtonEvents]:
    """Map the buttons of one sample.

    Args:
        state: memory.
        raw: as the device says.
        t_ns: of the sample.
        spec: the mapping.
    """
    gap = state.t_ns is not None and not 0 <= t_ns - state.t_ns <= LONGEST_GAP_NS
    state, pressed = debounce(state, raw, t_ns, spec.button_debounce_s)
    down = frozenset(index for index, value in enumerate(state.stable) if value)
    if gap:
        state = replace(state, used=state.used | state.waiting | state.chord, waiting=frozenset(), chord=frozenset())
    state = replace(state, used=state.used & (down | frozenset(i for i, value in enumerate(raw) if value)))
    state = _begin_chord(state, pressed, down, t_ns, spec)
    state, commands = _follow_chord(state, down, t_ns, spec)
    return _act(state, pressed - state.used, down, t_ns, spec, commands)


def _gesture_buttons(spec: TeleopSpec) -> tuple[Buttons, ...]:
    return tuple(dict.fromkeys(frozenset(gesture.buttons) for gesture in spec.episode_buttons.values()))


def _begin_chord(state: ButtonState, pressed: Buttons, down: Buttons, t_ns: int, spec: TeleopSpec) -> ButtonState:
    """A press may complete the buttons of a gesture, when they all went down within the window."""
    for buttons in _gesture_buttons(spec):
        if not buttons & pressed or not buttons <= down or buttons & (state.used | state.acting):
            continue
        first_ns = min(state.changed_ns[button] for button in buttons)
        if t_ns - first_ns > round(1e9 * spec.chord_window_s):
            continue
        return replace(state, chord=buttons, chord_ns=t_ns, used=state.used | buttons, waiting=state.waiting - buttons)
    return state


def _follow_chord(
    state: ButtonState, held: Buttons, t_ns: int, spec: TeleopSpec
) -> tuple[ButtonState, tuple[str, ...]]:
    """The longest gesture fires when its time has come, a shorter one when the buttons are let go."""
    if not state.chord:
        return state, ()
    lengths: dict[float, list[str]] = {}
    for command, gesture in spec.episode_buttons.items():
        if frozenset(gesture.buttons) == state.chord:
            lengths.setdefault(gesture.hold_s, []).append(command)
    reached = [hold_s for hold_s in lengths if t_ns - state.chord_ns >= round(1e9 * hold_s)]
    if state.chord <= held and (not lengths or max(lengths) not in reached):
        return state, ()
    return replace(state, chord=frozenset()), tuple(lengths[max(reached)]) if reached else ()


def _act(
    state: ButtonState,
    pressed: Buttons,
    held: Buttons,
    t_ns: int,
    spec: TeleopSpec,
    commands: tuple[str, ...],
) -> tuple[ButtonState, ButtonEvents]:
    """Function buttons: a press acts at once, or after the window in which a partner may still come."""
    functions = frozenset(spec.function_buttons.values())
    waiting = (state.waiting | (pressed & functions)) - state.used
    ready = frozenset(button for button in waiting if button not in held or not _may_join(state, button, t_ns, spec))
    acting = (state.acting & held & functions) | (ready & held)
    events = ButtonEvents(
        pressed=ready,
        released=(state.acting | ready) - acting,
        held=acting,
        commands=commands,
    )
    return replace(state, waiting=waiting - ready, acting=acting), events


def _may_join(state: ButtonState, button: int, t_ns: int, spec: TeleopSpec) -> bool:
    """Whether a pressed button may still become part of a chord."""
    window = spec.chord_window_s
    if _passed(t_ns, state.changed_ns[button], window):
        return False
    for buttons in _gesture_buttons(spec):
        if button not in buttons:
            continue
        partners = buttons - {button}
        early = [p for p in partners if p < len(state.stable) and state.stable[p]]
        if not any(_passed(t_ns, state.changed_ns[p], window) or p in state.used | state.acting for p in early):
            return True
    return False
