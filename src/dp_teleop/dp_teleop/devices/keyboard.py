"""A virtual SpaceMouse on the keys of a terminal, for people without the device."""

from __future__ import annotations

import atexit
import os
import select
import termios
import time
from collections.abc import Callable
from contextlib import suppress

from dp_teleop.devices.device import Clock, DeviceLostError
from dp_teleop.devices.key_bindings import KeyBindings
from dp_teleop.sample import SpaceMouseSample

CONTROLLING_TERMINAL = "/dev/tty"
_READ_AT_ONCE = 1024  # bytes
_LOCAL_FLAGS, _CONTROLS = 3, 6  # places in what tcgetattr returns
_INPUT_FLAGS = 0


class KeyboardDevice:
    """Reads the keys of a terminal (:mod:`dp_teleop.devices.key_bindings` says what they do).

    The terminal is switched to single keys without echo, Ctrl-C still interrupts, and it is switched back by
    ``close``, after a loss, and at the end of the process. A terminal that goes away (its window is closed, the ssh
    connection ends) makes the read fail at once; while the connection hangs, deflection and clutch fade by themselves.

    Args:
        now_ns: ROS clock, for stamps.
        path: of the terminal; empty is the one that the process was started from.
        buttons: number of buttons to report at least.
        clutch_button: number of the button that space holds down; negative: none.
        steady_s: clock for the fading, seconds.

    Raises:
        DeviceLostError: no terminal, or the process runs in its background.
    """

    def __init__(
        self,
        now_ns: Clock,
        path: str = "",
        buttons: int = 2,
        clutch_button: int = 1,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_ns, self._steady_s = now_ns, steady_s
        self.bindings = KeyBindings(buttons, clutch_button)
        self._path = path or CONTROLLING_TERMINAL
        self._open = False
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            raise DeviceLostError(_no_terminal(self._path, str(error.strerror))) from error
        try:
            self._before = _enter_single_keys(self._file, self._path)
        except DeviceLostError:
            os.close(self._file)
            raise
        self._open = True
        atexit.register(self.close)

    @property
    def name(self) -> str:
        """The terminal."""
        return f"keyboard of {self._path}"

    @property
    def tells_every_loss(self) -> bool:
        """Yes; what hangs fades and lets go by itself."""
        return True

    @property
    def figures(self) -> dict[str, str]:
        """None."""
        return {}

    def read(self, timeout_s: float) -> SpaceMouseSample:
        """Wait up to ``timeout_s`` for a key; returns the present deflection, which fades, either way.

        Raises:
            DeviceLostError: the terminal is gone.
        """
        try:
            if not self._open:
                raise DeviceLostError(f"{self.name} is closed")
            if select.select([self._file], [], [], timeout_s)[0]:
                data = os.read(self._file, _READ_AT_ONCE)
                if not data:
                    raise DeviceLostError(f"{self.name} was closed")
                self.bindings.feed(data, self._steady_s())
        except OSError as error:
            self.close()
            raise DeviceLostError(f"{self.name} is gone ({error.strerror})") from error
        except DeviceLostError:
            self.close()
            raise
        steady_s = self._steady_s()
        return SpaceMouseSample(self._now_ns(), self.bindings.axes(steady_s), self.bindings.buttons(steady_s))

    def close(self) -> None:
        """Give the terminal back as it was; a second call does nothing."""
        if not self._open:
            return
        self._open = False
        atexit.unregister(self.close)
        with suppress(termios.error):  # a terminal that is gone needs nothing
            termios.tcsetattr(self._file, termios.TCSADRAIN, self._before)
        os.close(self._file)


def _no_terminal(path: str, reason: str) -> str:
    return f"no keyboard: {path} is not a usable terminal ({reason}); start it in a terminal of its own"


def _enter_single_keys(file: int, path: str) -> list:
    """Switch to single keys without echo; returns the attributes before."""
    with suppress(OSError):  # not our own terminal: nothing to be in the background of
        if os.tcgetpgrp(file) != os.getpgrp():
            # Reading or switching it from there would stop the whole process.
            raise DeviceLostError(_no_terminal(path, "the process runs in its background"))
    try:
        before = termios.tcgetattr(file)
        attributes = termios.tcgetattr(file)
        attributes[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
        attributes[_INPUT_FLAGS] &= ~termios.IXON  # Ctrl-S would freeze the display
        controls = list(attributes[_CONTROLS])
        controls[termios.VMIN], controls[termios.VTIME] = 1, 0
        # Ctrl-Z would leave the shell with these settings.
        controls[termios.VSUSP] = bytes([os.fpathconf(file, "PC_VDISABLE")])
        attributes[_CONTROLS] = controls
        termios.tcsetattr(file, termios.TCSADRAIN, attributes)
    except termios.error as error:
        raise DeviceLostError(_no_terminal(path, str(error.args[-1]))) from error
    return before
