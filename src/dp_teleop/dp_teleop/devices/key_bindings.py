"""A keyboard as a SpaceMouse: bytes of a terminal to a deflection that fades. Pure: time is given.

A terminal tells presses and their repetitions, never releases. A key therefore deflects its axis for HOLD_S after
its last byte and then fades to zero within FADE_S: with a key repeating every 30 to 100 ms the deflection is steady,
and the arm's wanted speed is zero 0.25 s after the key is let go. The repetition begins 0.2 to 0.7 s after the press,
depending on the desktop; until then there is one nudge of 0.25 s and a pause (``xset r rate 200 30`` shortens it).
Only the key pressed last repeats, so two axes at a time are two keys in turn.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HOLD_S = 0.15
FADE_S = 0.10
# The clutch opens by itself when no key has come for so long: nobody may be there any more.
CLUTCH_OPENS_AFTER_S = 3.0
SIZES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
_FIRST_SIZE = 3

# Key to axis (x y z roll pitch yaw of the base frame) and sign; pitch + is nose down, yaw + to the left.
AXES = {
    "w": (0, 1), "s": (0, -1), "a": (1, 1), "d": (1, -1), "r": (2, 1), "f": (2, -1),
    "l": (3, 1), "j": (3, -1), "i": (4, 1), "k": (4, -1), "q": (5, 1), "e": (5, -1),
    "\x1b[A": (0, 1), "\x1b[B": (0, -1), "\x1b[D": (1, 1), "\x1b[C": (1, -1),
}  # fmt: skip
_STOP = ("x", "\x7f", "\x08")
HELP = """\
  keys (hold to move)                     buttons
    w / s   forward / back                  space  clutch: on until space again, or 3 s without a key
    a / d   left / right                    g      button 0 (gripper)
    r / f   up / down                       1 ... 9  button 0 ... 8, while the key repeats
    q / e   turn left / right               x      stop: no motion, clutch off
    i / k   nose down / up                  + / -  larger / smaller deflection
    j / l   roll left / right               h      this help          Ctrl-C  end
"""


class KeyBindings:
    """What the keys pressed so far amount to.

    Args:
        buttons: how many to report.
        clutch_button: number of the button that space holds down; negative: none.
    """

    def __init__(self, buttons: int, clutch_button: int) -> None:
        self._count = max(buttons, clutch_button + 1, 1)
        self._clutch_button = clutch_button
        self._axes: dict[int, tuple[int, float]] = {}
        self._presses: dict[int, float] = {}
        self._unread = ""
        self._last_key_s = -np.inf
        self._clutch = False
        self._size = _FIRST_SIZE
        self.help_wanted = False

    @property
    def size(self) -> float:
        """Deflection of a key, (0, 1]."""
        return SIZES[self._size]

    def feed(self, data: bytes, t_s: float) -> None:
        """Take bytes as the terminal sends them; unknown keys do nothing.

        Args:
            data: may end within the sequence of a special key.
            t_s: now, on any steady clock.
        """
        self._unread += data.decode("ascii", errors="replace")
        while self._unread:
            length = _key_length(self._unread)
            if length > len(self._unread):
                if len(self._unread) > 8:  # no key has so long a sequence
                    self._unread = ""
                return
            key, self._unread = self._unread[:length], self._unread[length:]
            self._press(key if len(key) > 1 else key.lower(), t_s)

    def _press(self, key: str, t_s: float) -> None:
        self._expire_clutch(t_s)
        self._last_key_s = t_s
        if key in AXES:
            axis, sign = AXES[key]
            self._axes[axis] = (sign, t_s)
        elif key == " " and self._clutch_button >= 0:
            self._clutch = not self._clutch
        elif key in _STOP:
            self._axes.clear()
            self._presses.clear()
            self._clutch = False
        elif key in ("+", "=", "-", "_"):
            step = 1 if key in "+=" else -1
            self._size = min(max(self._size + step, 0), len(SIZES) - 1)
        elif key == "h" or key == "?":
            self.help_wanted = True
        elif key == "g" or key in "123456789":
            number = 0 if key == "g" else int(key) - 1
            if number < self._count:
                self._presses[number] = t_s

    def _expire_clutch(self, t_s: float) -> None:
        if t_s - self._last_key_s > CLUTCH_OPENS_AFTER_S:
            self._clutch = False

    def axes(self, t_s: float) -> NDArray[np.float64]:
        """(6,) present deflection in [-1, 1], base frame."""
        deflection = np.zeros(6)
        for axis, (sign, pressed_s) in self._axes.items():
            fade = 1.0 - (t_s - pressed_s - HOLD_S) / FADE_S
            if fade > 0.0:
                deflection[axis] = sign * self.size * min(fade, 1.0)
        return deflection

    def buttons(self, t_s: float) -> tuple[bool, ...]:
        """Pressed or not, by number."""
        self._expire_clutch(t_s)
        pressed = [t_s - self._presses.get(number, -np.inf) <= HOLD_S for number in range(self._count)]
        if self._clutch_button >= 0:
            pressed[self._clutch_button] |= self._clutch
        return tuple(pressed)


def _key_length(text: str) -> int:
    """Length of the first key in ``text``; more than there is when it is not complete."""
    if not text.startswith("\x1b") or (len(text) > 1 and text[1] not in "[O"):
        return 1
    for index, character in enumerate(text[2:], start=3):
        if "@" <= character <= "~":
            return index
    return len(text) + 1
