"""The keyboard as a driver, on a real pseudo terminal."""

import os
import subprocess
import sys
import termios

import numpy as np
import pytest
from dp_teleop.devices import DeviceLostError, KeyboardDevice


def settings(terminal):
    return termios.tcgetattr(terminal.driver)


def test_keys_deflect_and_fade(terminal, read_until):
    t_s = [0.0]
    device = KeyboardDevice(lambda: 5, terminal.path, steady_s=lambda: t_s[0])
    terminal.type(b"w")
    sample = read_until(device, lambda sample: np.any(sample.axes))
    np.testing.assert_array_equal(sample.axes, [0.5, 0, 0, 0, 0, 0])
    assert sample.t_ns == 5 and device.name == f"keyboard of {terminal.path}"
    t_s[0] = 0.3
    assert not np.any(device.read(0.0).axes)
    device.close()


def test_the_terminal_is_given_back_as_it_was(terminal):
    before = settings(terminal)
    device = KeyboardDevice(lambda: 5, terminal.path)
    during = settings(terminal)
    assert not during[3] & (termios.ICANON | termios.ECHO) and during[3] & termios.ISIG
    device.close()
    device.close()
    assert settings(terminal) == before


def test_it_is_given_back_by_a_process_that_fails(terminal):
    before = settings(terminal)
    program = (
        "from dp_teleop.devices import KeyboardDevice\n"
        f"device = KeyboardDevice(lambda: 0, {terminal.path!r})\n"
        "raise SystemExit('failed')"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 1
    assert settings(terminal) == before


def test_a_terminal_that_is_closed_is_a_loss(terminal):
    device = KeyboardDevice(lambda: 5, terminal.path)
    os.close(terminal.person)
    for _ in range(2):
        with pytest.raises(DeviceLostError, match="keyboard of"):
            device.read(10.0)


@pytest.mark.parametrize("path", ["/dev/null", "/nowhere"])
def test_what_is_no_terminal_says_so(path):
    with pytest.raises(DeviceLostError, match=f"{path} is not a usable terminal .*in a terminal of its own"):
        KeyboardDevice(lambda: 5, path)


def test_a_process_in_the_background_of_its_terminal_is_refused_and_not_stopped(terminal):
    """There, switching the terminal would stop the process for ever (SIGTTOU)."""
    program = (
        "import os, sys, fcntl, termios\n"
        "os.setsid()\n"
        f"file = os.open({terminal.path!r}, os.O_RDWR)\n"
        "fcntl.ioctl(file, termios.TIOCSCTTY, 0)\n"
        "child = os.fork()\n"
        "if child:\n"
        "    status = os.waitpid(child, os.WUNTRACED)[1]\n"
        "    sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 99)\n"
        "os.setpgid(0, 0)\n"
        "from dp_teleop.devices import DeviceLostError, KeyboardDevice\n"
        "try:\n"
        "    KeyboardDevice(lambda: 0)\n"
        "except DeviceLostError as error:\n"
        "    sys.exit(7 if 'in its background' in str(error) else 8)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 7
