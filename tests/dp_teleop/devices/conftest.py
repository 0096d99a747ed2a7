"""What stands in for absent hardware, behind the interfaces that the real drivers speak to."""

import contextlib
import os
import pty
import queue
import select
import socket
import struct
import threading
import time

import pytest

WORD = struct.Struct("=i")
PACKET = struct.Struct("=8i")
TAG = 0x7FAA0000


class SpacenavDaemon:
    """A socket server that speaks as spacenavd does, written from its sources and not from our driver.

    Args:
        path: of the socket.
        version: highest protocol that it knows.
        name: of its device; empty: none is connected.
        buttons: how many it has.
        device: file that it is.
    """

    def __init__(self, path, version=1, name="3Dconnexion SpaceMouse Wireless", buttons=2, device=""):
        self.path, self.version, self.name, self.buttons = str(path), version, name, buttons
        self.device = device
        self.hangs = False
        self.mute = False  # answers the change of protocol never, although it understands it
        self.requests = []
        self.sensitivities = []
        self.clients = {}  # socket -> [protocol, unread bytes]
        self._orders = queue.Queue()
        self._wake_in, self._wake_out = os.pipe()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(self.path)
        self._server.listen(8)
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _do(self, action):
        """Let the daemon's thread do something; returns when that is done."""
        done = threading.Event()
        self._orders.put((action, done))
        os.write(self._wake_out, b"x")
        assert done.wait(30)

    def send(self, *events):
        """Broadcast events, each given as up to eight integers."""
        data = b"".join(PACKET.pack(*event, *([0] * (8 - len(event)))) for event in events)
        self.send_bytes(data)

    def send_bytes(self, data):
        self._do(lambda: [self._write(client, data) for client in self.clients])

    @staticmethod
    def _write(client, data):
        with contextlib.suppress(OSError):  # it has just left
            client.sendall(data)

    def unplug(self):
        """As remove_device in dev.c: forget it, then tell clients of protocol 1."""

        def action():
            self.name = ""
            event = PACKET.pack(3, 1, 0, 0x212, 0x256F, 0xC62E, 0, 0)
            for client, (protocol, _) in self.clients.items():
                if protocol:
                    self._write(client, event)

        self._do(action)

    def close(self):
        if not self._ended:
            self._ended = True
            os.write(self._wake_out, b"x")
            self._thread.join(10)
            for sock in (self._server, *self.clients):
                sock.close()
            os.close(self._wake_in)
            os.close(self._wake_out)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)

    def _run(self):
        while not self._ended:
            sources = [self._wake_in] if self.hangs else [self._wake_in, self._server, *self.clients]
            ready = select.select(sources, [], [], 1.0)[0]
            if self._wake_in in ready:
                os.read(self._wake_in, 1)
                with contextlib.suppress(queue.Empty):
                    action, done = self._orders.get_nowait()
                    action()
                    done.set()
                continue
            for source in ready:
                if source is self._server:
                    self.clients[self._server.accept()[0]] = [0, b""]
                else:
                    self._hear(source)

    def _hear(self, client):
        data = b""
        with contextlib.suppress(OSError):
            data = client.recv(4096)
        if not data:
            client.close()
            del self.clients[client]
            return
        state = self.clients[client]
        state[1] += data
        while len(state[1]) >= (PACKET.size if state[0] else WORD.size):
            size = PACKET.size if state[0] else WORD.size
            message, state[1] = state[1][:size], state[1][size:]
            if state[0]:
                self._answer(client, list(PACKET.unpack(message)))
                continue
            word = WORD.unpack(message)[0]
            if self.version and word & ~0xFF == TAG | 0x5500 and not self.mute:
                state[0] = min(word & 0xFF, self.version)
                self._write(client, WORD.pack(TAG | 0x5500 | state[0]))
            else:
                self.sensitivities.append(struct.unpack("=f", message)[0])

    def _answer(self, client, words):
        kind = words[0] & 0xFFFF
        self.requests.append((kind, tuple(words[1:])))
        about_device = kind >> 12 == 2
        words[7] = -1 if about_device and not self.name else 0
        if kind == 0x2003 and self.name:
            words[1] = self.buttons
        if kind in (0x2000, 0x2001) and self.name:
            text, flag = (self.device if kind & 1 else self.name).encode(), 0
            while True:  # spnav_send_str of proto.c
                self._write(client, WORD.pack(words[0]) + text[:24].ljust(24, b"\0") + WORD.pack(len(text) | flag))
                text, flag = text[24:], 0x10000
                if not text:
                    return
        self._write(client, PACKET.pack(*words))


class HidBus:
    """The module hidapi with devices plugged into it: ``enumerate`` and ``device``, as the real one."""

    def __init__(self):
        self.plugged = {}

    def plug(self, product, vendor=0x256F, path=b"/dev/hidraw0", serial="", usage=(1, 8)):
        """Connect a device; returns the queue of its reports."""
        self.plugged[path] = {
            "info": {
                "path": path,
                "vendor_id": vendor,
                "product_id": product,
                "serial_number": serial,
                "usage_page": usage[0],
                "usage": usage[1],
            },
            "reports": queue.Queue(),
        }
        return self.plugged[path]["reports"]

    def unplug(self, path=b"/dev/hidraw0"):
        """Take it away; a read that waits returns with an error, as the kernel's poll does."""
        self.plugged.pop(path)["reports"].put(None)

    def enumerate(self, vendor_id=0, product_id=0):
        return [device["info"] for device in self.plugged.values() if device["info"]["vendor_id"] == vendor_id]

    def device(self):
        return HidHandle(self)


class HidHandle:
    def __init__(self, bus):
        self._bus, self._reports, self._gone = bus, None, False

    def open_path(self, path):
        if path not in self._bus.plugged:
            raise OSError("open failed")
        self._reports = self._bus.plugged[path]["reports"]

    def set_nonblocking(self, value):
        self.nonblocking = bool(value)
        return 0

    def read(self, max_length, timeout_ms=0):
        if self._reports is None:
            raise ValueError("not open")
        assert self.nonblocking, "a read without a timeout would wait for ever"
        try:
            report = self._reports.get(timeout=timeout_ms / 1e3) if timeout_ms else self._reports.get_nowait()
        except queue.Empty:
            report = b""
        if report is None or self._gone:
            self._gone = True
            raise OSError("read error")
        return list(report[:max_length])

    def close(self):
        self._reports = None


class Terminal:
    """A pseudo terminal; what a person types goes in at one end, the driver has the other."""

    def __init__(self):
        self.person, self.driver = pty.openpty()
        self.path = os.ttyname(self.driver)

    def type(self, keys):
        os.write(self.person, keys)

    def close(self):
        for file in (self.person, self.driver):
            with contextlib.suppress(OSError):
                os.close(file)


@pytest.fixture
def start_daemon(tmp_path, monkeypatch):
    daemons = []

    def start(**options):
        # The machine's own devices play no part.
        monkeypatch.setattr("dp_teleop.devices.axis_range.SYSFS", tmp_path / "input")
        # An answer always comes, on a busy machine later. An old daemon gives none, but has read the question by then.
        within_s = 10.0 if options.get("version", 1) else 0.5
        monkeypatch.setattr("dp_teleop.devices.spacenavd.ANSWER_WITHIN_S", within_s)
        daemons.append(SpacenavDaemon(tmp_path / f"spnav{len(daemons)}.sock", **options))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.close()


@pytest.fixture
def hid_bus():
    return HidBus()


@pytest.fixture
def terminal():
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def fifo(tmp_path):
    """A pipe with a name, in place of /dev/input/js0; returns the path and the writing end."""
    path = str(tmp_path / "js0")
    os.mkfifo(path)
    writer = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    files = [writer]
    yield path, files
    for file in files:
        os.close(file)


@pytest.fixture
def read_until():
    """Read a device until a condition holds, however slow the machine is."""

    def read(device, condition, timeout_s=20.0):
        deadline = time.monotonic() + timeout_s
        while True:
            sample = device.read(0.02)
            if condition(sample):
                return sample
            assert time.monotonic() < deadline, f"never came: {sample}"

    return read
