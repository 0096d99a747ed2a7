"""The driver against the daemon itself (Debian's spacenavd), which reads a serial SpaceMouse that is a pseudo terminal.

The place of the daemon's socket is fixed. Debian's 1.1 has it relative, run/spnav.sock, which is below a folder of the
test when the daemon is started there; others have it absolute, and run in a mount namespace of their own, where /run
is that folder. Either way no daemon of the machine is touched.
"""

import contextlib
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import threading
import time
import tty
from pathlib import Path

import numpy as np
import pytest
from dp_teleop.devices import DeviceLostError, SpacenavdDevice

# Commands that give the daemon a /run of its own: for root, for a user where the kernel lets users make namespaces.
_NAMESPACES = (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"])


def _private_command(folder):
    """What starts a daemon whose socket comes to lie in ``folder``/run, or None."""
    program = Path(shutil.which("spacenavd"))
    if b"\0run/spnav.sock\0" in program.read_bytes():
        return ["env"]
    for command in _NAMESPACES if shutil.which("unshare") else ():
        tried = [*command, "mount", "--bind", str(folder), "/run"]
        if subprocess.run(tried, capture_output=True, timeout=30).returncode == 0:
            return [*command, "sh", "-c", f"mount --bind '{folder}/run' /run && exec \"$@\"", "sh"]
    return None


_ESCAPES = {0x11: b"^Q", 0x13: b"^S", 0x0D: b"^M", 0x5E: b"^^"}


class SerialSpaceball:
    """Answers as a Spaceball 3003 on a serial line does, and sends what its cap and buttons do.

    Messages as dev_serial.c of spacenavd reads them: D period and six big-endian axes, K two bytes of buttons.
    """

    def __init__(self):
        self._wire, self._daemon_end = pty.openpty()
        tty.setraw(self._daemon_end)
        self.path = os.ttyname(self._daemon_end)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ended.is_set():
            if select.select([self._wire], [], [], 0.02)[0] and b"@RESET" in os.read(self._wire, 256):
                os.write(
                    self._wire, b"\r@1 Spaceball alive and well after a poweron reset.\r@2 Firmware version 2.63\r"
                )

    def move(self, *axes):
        data = struct.pack(">7h", 20, *axes)
        os.write(self._wire, b"D" + b"".join(_ESCAPES.get(b, bytes([b])) for b in data) + b"\r")

    def press(self, bits):
        os.write(self._wire, b"K" + bytes([0x40, 0x40 | bits]) + b"\r")

    def close(self):
        self._ended.set()
        self._thread.join(5)
        os.close(self._wire)
        os.close(self._daemon_end)


class RealDaemon:
    def __init__(self, folder, command, ball):
        self._folder, self._command, self._ball = folder, command, ball
        self.path = str(folder / "run" / "spnav.sock")
        (folder / "run").mkdir()
        self.configure(True)
        self.start()

    def configure(self, plugged):
        (self._folder / "spnavrc").write_text(f"serial = {self._ball.path}\n" if plugged else "led = off\n")

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self._command, "spacenavd", "-d", "-v", "-c", str(self._folder / "spnavrc")],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 30
        while not os.path.exists(self.path):
            text = (self._folder / "log").read_text(errors="replace")
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.close()
                pytest.fail(f"spacenavd did not start:\n{text}")
            time.sleep(0.02)

    def plug(self, plugged):
        """Its way to lose and find a serial device: read the configuration again."""
        self.configure(plugged)
        self.process.send_signal(signal.SIGHUP)

    def close(self):
        self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    if shutil.which("spacenavd") is None:
        pytest.skip("spacenavd is not installed: apt-get install spacenavd")
    folder = tmp_path_factory.mktemp("spnav")
    command = _private_command(folder)
    if command is None:
        pytest.skip("no mount namespace can be had here, and the socket of this spacenavd has a fixed place in /run")
    ball = SerialSpaceball()
    daemon = RealDaemon(folder, command, ball)
    daemon.ball = ball
    yield daemon
    daemon.close()
    ball.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """On a busy machine the daemon answers late, which is no hang."""
    monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 10.0)


def connect(daemon):
    """As the node does after a loss: again and again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return SpacenavdDevice(time.time_ns, daemon.path)
        except DeviceLostError:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_motion_and_buttons_of_a_real_device(daemon, read_until):
    device = connect(daemon)
    assert device.name == "Spaceball 3003/3003C (spacenavd)"
    assert device.protocol == 1 and device.read(0.0).buttons == (False, False)
    # Serial devices already have the daemon's axes: x right, y up, z away; 17 must be escaped on the wire.
    daemon.ball.move(70, 140, 210, 17, -35, 0)
    before_ns = time.time_ns()
    sample = read_until(device, lambda sample: np.any(sample.axes))
    np.testing.assert_allclose(sample.axes, np.array([210, -70, 140, 0, -17, -35]) / 350)
    assert sample.t_ns >= before_ns
    daemon.ball.press(0b10)
    assert read_until(device, lambda sample: any(sample.buttons)).buttons == (False, True)
    daemon.ball.press(0)
    daemon.ball.move(0, 0, 0, 0, 0, 0)
    assert read_until(device, lambda sample: not np.any(sample.axes)).buttons == (False, False)
    device.close()


def test_the_device_goes_and_comes_back(daemon, read_until):
    device = connect(daemon)
    daemon.plug(False)
    with pytest.raises(DeviceLostError, match="was removed"):
        read_until(device, lambda sample: False)
    with pytest.raises(DeviceLostError, match="has no SpaceMouse"):
        SpacenavdDevice(time.time_ns, daemon.path)
    daemon.plug(True)
    device = connect(daemon)
    daemon.ball.move(0, 350, 0, 0, 0, 0)
    assert read_until(device, lambda sample: sample.axes[2] == 1.0)
    device.close()


def test_the_daemon_hangs_goes_on_ends_and_comes_back(daemon, read_until, monkeypatch):
    device = connect(daemon)
    daemon.process.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 0.1)
    try:
        with pytest.raises(DeviceLostError, match="hangs"):
            read_until(device, lambda sample: False)
        with pytest.raises(DeviceLostError, match="hangs"):
            SpacenavdDevice(time.time_ns, daemon.path)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", 10.0)
    device = connect(daemon)
    daemon.close()
    with pytest.raises(DeviceLostError, match="spacenavd at"):
        read_until(device, lambda sample: False)
    daemon.start()
    device = connect(daemon)
    daemon.ball.press(0b01)
    assert read_until(device, lambda sample: sample.buttons[0])
    device.close()
