"""How soon the real node says that its device is gone, hangs or is back, with the times it really waits."""

import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from dp_teleop.devices.spacenavd import ANSWER_WITHIN_S


@pytest.fixture(scope="module")
def usb(make_hand, daemon):
    """The node, which reads the daemon."""
    return make_hand(
        answer_within_s=ANSWER_WITHIN_S, cell="sim_franka", device="spacenavd", device_path=daemon.path
    )


def test_loss_and_return_are_said_within_a_fifth_of_a_second(usb, daemon):
    """From the event to the message, unless this machine is busy: so the best of five counts."""
    lost_s, hung_s, back_s = [], [], []
    for _ in range(5):
        usb.wait(lambda: usb.states and usb.states[-1].connected, "the device")
        lost_s.append(time_until(usb, daemon.unplug, lambda: not usb.states[-1].connected))
        back_s.append(time_until(usb, lambda: plug(daemon), lambda: usb.states[-1].connected))
        hung_s.append(time_until(usb, lambda: hang(daemon, True), lambda: not usb.states[-1].connected))
        hang(daemon, False)
    assert min(lost_s) < 0.2 and min(hung_s) < 0.2 and min(back_s) < 0.2


def test_a_daemon_that_hangs_stays_lost(usb, daemon):
    usb.wait(lambda: usb.states and usb.states[-1].connected, "the device")
    hang(daemon, True)
    usb.wait(lambda: not usb.states[-1].connected, "the loss to be said")
    usb.states.clear()
    usb.twists.clear()
    usb.wait(lambda: len(usb.states) >= 6, "a second of the loss")
    assert not any(state.connected for state in usb.states) and not usb.twists
    assert usb.diagnostics[0] == DiagnosticStatus.ERROR and "hangs" in usb.diagnostics[1]
    hang(daemon, False)
    usb.wait(lambda: usb.states[-1].connected, "the device's return")


def plug(daemon):
    daemon.name = "3Dconnexion SpaceMouse Pro"


def hang(daemon, hangs):
    daemon.hangs = hangs
    daemon.send()  # wakes it


def time_until(hand, action, ready):
    """Seconds from an action to what it leads to."""
    begun = time.monotonic()
    action()
    hand.wait(ready, "what follows the action")
    return time.monotonic() - begun
