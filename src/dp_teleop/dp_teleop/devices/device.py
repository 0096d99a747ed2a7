"""The seam of all SpaceMouse drivers: what a driver offers, how it says that it lost its device, what it remembers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dp_teleop.sample import SpaceMouseSample

# A loss is raised no later than this after it happened, as long as somebody is inside `read` or calls it again
# within READ_EVERY_S; each driver says in its own docstring why.
LOSS_WITHIN_S = 0.2
READ_EVERY_S = 0.05
# More buttons than any SpaceMouse has; a larger number on the wire is damage.
MOST_BUTTONS = 64

Clock = Callable[[], int]


class DeviceLostError(RuntimeError):
    """The SpaceMouse, its daemon or its cable has gone away, or was never there; the text says what to do."""


class DeviceSilentError(DeviceLostError):
    """Nothing is heard of a device that is reached by radio. It stays open: the next ``read`` listens on."""


class SpaceMouseDevice(Protocol):
    """What reads a SpaceMouse, whichever way.

    One thread uses it. Axes are those of the robot's base frame as the operator faces along its x axis: x forward,
    y left, z up (REP-103), the rotations about them, each in [-1, 1].
    """

    @property
    def name(self) -> str:
        """What is read, and by which driver, for example ``SpaceMouse Compact (hid)``."""

    @property
    def tells_every_loss(self) -> bool:
        """Whether ``read`` raises for any loss, also while the cap rests and a button is held.

        Where not, a held button may be one of a device that is out of reach: who relies on it has it confirmed.
        """

    @property
    def figures(self) -> dict[str, str]:
        """What else is known of it, for diagnostics, by name; empty where nothing is."""

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` (0 or more) for news; returns the present deflection either way.

        A press or release ends the wait, and each is seen by one call at least, however late that comes.

        Raises:
            DeviceLostError: the device is gone. It never shows as zeros.
        """

    def close(self) -> None:
        """Let the device go; a second call does nothing."""


class ReportedState:
    """Axes and buttons as the device last reported them, and when it did.

    A deflection keeps the stamp of the report that confirmed it last, so that one which is no longer confirmed grows
    old and stops the arm: a hand never holds perfectly still, a hung driver or a broken radio link does. A cap at
    rest sends nothing and is stamped with the present.

    Args:
        buttons: how many to report at least; more are added as they are pressed.
    """

    def __init__(self, buttons: int) -> None:
        self.axes: NDArray[np.float64] = np.zeros(6)
        self.buttons = [False] * min(max(buttons, 0), MOST_BUTTONS)
        self._confirmed_ns = 0

    def press(self, number: int, pressed: bool) -> None:
        """Take a press or release of button ``number``, from 0; one beyond :data:`MOST_BUTTONS` is left out."""
        if 0 <= number < MOST_BUTTONS:
            self.buttons.extend([False] * (number + 1 - len(self.buttons)))
            self.buttons[number] = pressed

    def sample(self, now_ns: int, confirmed: bool) -> SpaceMouseSample:
        """The state as a sample.

        Args:
            now_ns: ROS time.
            confirmed: the device has reported since the last sample.
        """
        if confirmed or not np.any(self.axes):
            self._confirmed_ns = now_ns
        return SpaceMouseSample(self._confirmed_ns, self.axes.copy(), tuple(self.buttons))
