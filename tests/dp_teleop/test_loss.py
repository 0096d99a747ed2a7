"""A device that goes and comes back, at the real node: a daemon that speaks spacenavd's protocol, and the topic."""

import itertools
import time

import numpy as np
import pytest
import yaml
from diagnostic_msgs.msg import DiagnosticStatus
from dp_core.contract import config_directory
from dp_ros.messages import stamp_to_ns
from dp_teleop.sample import VIRTUAL_FRAME_ID

from dp_msgs.msg import EpisodeState

MOTION, PRESS, RELEASE = 0, 1, 2


@pytest.fixture(scope="module")
def cell_file(tmp_path_factory):
    """The simulated cell with a dead-man button and gestures."""
    contract = yaml.safe_load((config_directory() / "cells/sim_franka.yaml").read_text())
    chord = {"buttons": [0, 1], "hold_s": 0.3}
    contract["teleop"].update(
        clutch_button=1,
        episode_buttons={"start": chord, "success": chord, "discard": {"buttons": [0, 1], "hold_s": 2.0}},
        frozen_s=0.3,
        hold_confirm_s=0.5,
    )
    contract["safety"] = {"dead_man": ["teleop"]}
    path = tmp_path_factory.mktemp("cell") / "dead_man.yaml"
    path.write_text(yaml.safe_dump(contract))
    return path


@pytest.fixture(scope="module")
def usb(make_hand, cell_file, daemon):
    """The node, which reads the daemon."""
    return make_hand(cell=cell_file, device="spacenavd", device_path=daemon.path)


@pytest.fixture(scope="module")
def later_socket(tmp_path_factory):
    """Where a daemon will listen, but does not yet."""
    return tmp_path_factory.mktemp("later") / "spnav.sock"


@pytest.fixture(scope="module")
def topic(make_hand, cell_file, later_socket, usb):
    """A node that finds no device, so that the topic stands in; the first node is done with."""
    usb.close()
    return make_hand(cell=cell_file, device="auto", device_path=later_socket)


def pushes(daemon):
    """Something that pushes the cap forward a little differently each time, as a hand does."""
    numbers = itertools.count()
    return lambda: daemon.send((MOTION, 0, 0, 200 + next(numbers) % 5, 0, 0, 0, 10))


def moving(hand):
    return bool(hand.twists) and hand.twists[-1].twist.linear.x > 0.05


def plug_in(usb, daemon, name):
    """A device that has just come and is armed, whatever was before."""
    daemon.unplug()
    usb.wait(lambda: usb.states and not usb.states[-1].connected, "the loss to be said")
    usb.twists.clear()
    usb.statuses.clear()
    daemon.name = name
    usb.wait(lambda: usb.states[-1].connected and usb.states[-1].device.startswith(name), "the device")
    usb.wait(lambda: usb.twists, "the device to be armed")
    usb.wait(lambda: usb.statuses and usb.diagnostics[2]["device"].startswith(name), "the diagnostics")
    usb.wait(lambda: usb.diagnostics[2]["connected"] == "True", "the diagnostics")


def test_an_unplugged_device_stops_the_twist_and_says_so(usb, daemon):
    push = pushes(daemon)
    plug_in(usb, daemon, "3Dconnexion SpaceMouse Wireless")
    assert usb.states[-1].speed_factor == 1.0
    losses = int(usb.diagnostics[2]["losses"])
    daemon.send((PRESS, 1))
    usb.wait(lambda: moving(usb), "a twist", push)
    assert usb.states[-1].engaged and list(usb.states[-1].buttons)[:2] == [False, True]

    daemon.unplug()
    usb.wait(lambda: not usb.states[-1].connected, "the loss to be said")
    lost = len(usb.states) - 1
    assert not usb.states[-1].engaged and list(usb.states[-1].buttons) == []
    usb.twists.clear()
    usb.wait(lambda: len(usb.states) >= lost + 6, "five more states")
    assert not usb.twists, "nothing is known of the hand, and nothing is invented"
    stamps = np.diff([stamp_to_ns(state.header.stamp) for state in usb.states[lost:]])
    assert np.all(stamps > 50_000_000) and not any(state.connected for state in usb.states[lost:])
    usb.wait(lambda: usb.statuses and usb.diagnostics[0] == DiagnosticStatus.ERROR, "the error")
    assert "no device" in usb.diagnostics[1] and usb.diagnostics[2]["losses"] == str(losses + 1)

    # Back, pushed: it waits. At rest, but the clutch was not seen being pressed: let go, pressed, pushed.
    push()
    daemon.name = "3Dconnexion SpaceMouse Pro"
    usb.wait(lambda: usb.states[-1].connected, "the device's return", push)
    seen = len(usb.states)
    usb.wait(lambda: len(usb.states) > seen + 20, "samples", push)
    assert not usb.twists and not any(state.engaged for state in usb.states[lost:])
    daemon.send((MOTION,), (RELEASE, 1))
    usb.wait(lambda: usb.twists, "the device to be armed")
    daemon.send((PRESS, 1))
    usb.wait(lambda: moving(usb), "a twist", push)
    assert usb.states[-1].device.startswith("3Dconnexion SpaceMouse Pro")


def test_a_deflection_that_nothing_confirms_is_a_loss(usb, daemon):
    """A wireless SpaceMouse that gets out of reach while deflected: spacenavd says nothing any more."""
    push = pushes(daemon)
    plug_in(usb, daemon, "3Dconnexion SpaceMouse Pro")
    daemon.send((PRESS, 1))
    usb.wait(lambda: moving(usb), "a twist", push)
    losses = int(usb.diagnostics[2]["losses"])
    usb.wait(lambda: not usb.states[-1].connected, "the loss to be said")
    usb.wait(lambda: "has not confirmed its deflection" in usb.diagnostics[1], "the reason")
    assert usb.diagnostics[2]["losses"] == str(losses + 1)
    usb.twists.clear()
    usb.wait(lambda: usb.states[-1].connected, "the device's return", push)
    seen = len(usb.states)
    usb.wait(lambda: len(usb.states) > seen + 20, "samples", push)
    assert not usb.twists, "the cap was not seen at rest"


def test_a_chord_reaches_the_recorder_and_means_what_fits_its_state(usb, daemon):
    plug_in(usb, daemon, "3Dconnexion SpaceMouse Pro")
    usb.grips.clear()
    usb.asked.clear()
    for recording, command in ((EpisodeState.IDLE, "start"), (EpisodeState.RECORDING, "success")):
        usb.episodes.publish(EpisodeState(state=recording))
        pass_time(usb, 0.2)  # more than the debouncing time, and the recorder's state arrives
        daemon.send((PRESS, 0), (PRESS, 1))
        pass_time(usb, 0.5)
        assert not usb.asked, "a longer chord means something else"
        daemon.send((RELEASE, 0), (RELEASE, 1))
        usb.wait(lambda: usb.asked, "the command")
        assert [message.command for message in usb.asked] == [command] and not usb.grips
        usb.asked.clear()


def test_a_dead_man_cell_keeps_its_clutch(topic):
    result = topic.set(clutch_button=-1)
    assert not result.successful and "safety.dead_man: needs teleop.clutch_button" in result.reason


def pass_time(hand, seconds):
    """Wait until the device's samples span a time."""
    begun = len(hand.states)
    hand.wait(lambda: span_s(hand.states[begun:]) > seconds, f"samples of {seconds} s")


def span_s(states):
    return 1e-9 * (stamp_to_ns(states[-1].header.stamp) - stamp_to_ns(states[0].header.stamp)) if states else 0.0


def armed(hand):
    """The device at rest, then the clutch held: the twist flows."""
    deadline = time.monotonic() + 60.0
    hand.states.clear()
    while not hand.engaged:
        assert time.monotonic() < deadline, "it is never engaged"
        hand.settle()
        end = time.monotonic() + 2.0  # a clutch that was held while the device was lost must be let go
        hand.wait(
            lambda end=end: hand.engaged or time.monotonic() > end, "the clutch", lambda: hand.show(buttons=(0, 1))
        )


def test_a_topic_that_falls_silent_is_a_loss(topic):
    armed(topic)
    topic.wait(lambda: not topic.states[-1].connected, "the silence to be noticed")
    topic.twists.clear()
    topic.states.clear()
    shaky = (0.5 + 0.01 * (n % 3) for n in itertools.count())
    topic.wait(lambda: len(topic.states) > 30, "samples", lambda: topic.show([next(shaky)] + [0.0] * 5, (0, 1)))
    assert not topic.twists and not any(state.engaged for state in topic.states)
    armed(topic)


@pytest.mark.parametrize(("push", "why"), [(0.5, "has not changed at all"), (0.0, "nothing else came")])
def test_a_reading_that_stands_still_with_the_clutch_held_is_a_loss(topic, push, why):
    """What the spacenav node of ROS shows after the cable was pulled: the last reading, with new stamps, for ever."""
    armed(topic)
    topic.statuses.clear()

    def show():
        topic.show([push] + [0.0] * 5, (0, 1))

    topic.wait(lambda: not topic.states[-1].connected, "the loss", show)
    assert not topic.states[-1].engaged
    # On a busy machine the topic may have been silent before; a reading that goes on standing still is told then.
    topic.wait(
        lambda: topic.statuses and topic.diagnostics[0] == DiagnosticStatus.ERROR and why in topic.diagnostics[1],
        "the error",
        show,
    )
    # One touch of the cap says that the device is there; the clutch must be let go all the same.
    topic.wait(lambda: topic.states[-1].connected, "the device", lambda: topic.show([0.01] + [0.0] * 5, (0, 1)))
    assert not topic.states[-1].engaged


def test_a_touch_within_the_deadband_confirms_a_held_clutch(topic):
    armed(topic)
    topic.states.clear()
    touches = (0.01 * (n % 3) for n in itertools.count())
    topic.wait(
        lambda: span_s(topic.states) > 1.0,
        "twice the time in which the clutch must be confirmed",
        lambda: topic.show([next(touches)] + [0.0] * 5, (0, 1)),
    )
    assert all(state.engaged and state.connected for state in topic.states)


def test_a_key_of_the_virtual_spacemouse_does_not_tremble(topic):
    armed(topic)
    topic.states.clear()
    topic.wait(
        lambda: span_s(topic.states) > 1.0,
        "more than the times in which a SpaceMouse must tremble and be touched",
        lambda: topic.show([0.5] + [0.0] * 5, (0, 1), frame_id=VIRTUAL_FRAME_ID),
    )
    assert all(state.engaged and state.connected for state in topic.states)
    assert moving(topic)


def test_a_device_that_is_found_later_takes_the_place_of_a_silent_topic(topic, later_socket, make_daemon):
    armed(topic)
    assert topic.states[-1].device == "spacenav/joy"
    daemon = make_daemon(later_socket)
    try:
        topic.wait(lambda: topic.states[-1].device.endswith("(spacenavd)"), "the device")
        topic.states.clear()
        topic.wait(lambda: len(topic.states) > 20, "its samples", lambda: topic.show(buttons=(0, 1)))
        assert not any(state.device == "spacenav/joy" or state.engaged for state in topic.states)
    finally:
        daemon.close()
    topic.wait(lambda: topic.states[-1].device == "spacenav/joy", "the topic's turn", topic.show)
