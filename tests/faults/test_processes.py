"""Processes that are killed or stand still, while the real control node drives the arm."""

import signal
from pathlib import Path

import numpy as np
import pytest
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy.checkpoint import save_checkpoint
from dp_policy.config import PolicyConfig
from dp_policy.policy import build_policy
from dp_ros.messages import stamp_to_ns
from fault_rows import Watch
from robot_process import ROBOT_STREAMS
from usb_hand import UsbHand

from dp_msgs.msg import CommandState

# A policy, too, drives only while a person holds the clutch.
SAFETY = {"dead_man": ["teleop", "policy"]}
SCRIPT = str(Path(__file__).with_name("robot_process.py"))


def silent(_message):
    return []


def test_a_killed_control_sends_nothing_and_starts_stopped(cell, control, driven, table):
    control.send(signal.SIGKILL)
    killed_ns, driven.kills = cell.now_ns(), 1
    cell.pause(0.4)
    assert not cell.commands_since(killed_ns), "somebody else commands the arm"
    come = {stream: cell.newcomer(stream) for stream in ("pose", "twist", "wrench", "joints", "engaged")}
    control.start()
    cell.wait(lambda: stamp_to_ns(cell.states[-1].header.stamp) > killed_ns, "control's return", 60.0)
    assert cell.mode == CommandState.STOPPED and "cannot follow" not in cell.states[-1].text
    cell.pause(0.2)
    assert not cell.commands_since(killed_ns), "control moves the arm unasked"
    for stream, has_come in come.items():
        cell.wait(has_come, f"control's ear for {stream}")
    cell.drive()
    table.append(driven.row("control killed", "no more commands: the arm ends at the last one", "restart is STOPPED"))


def test_a_control_that_stands_still_goes_on_from_rest(cell, control, driven, table):
    control.send(signal.SIGSTOP)
    try:
        cell.pause(1.0)
    finally:
        control.send(signal.SIGCONT)
    before = len(cell.states)
    cell.wait(lambda: len(cell.states) > before + 50, "control's return")
    goes_on = cell.mode == CommandState.TELEOP
    if not goes_on:
        cell.wait(cell.at_rest, "rest")
    did = "no commands for 1 s, then from rest" if goes_on else f"no commands for 1 s, then {driven.reaction()}"
    how = "by itself" if goes_on else cell.resume()
    cell.wait(lambda: cell.speed() > 0.05, "motion")
    table.append(driven.row("control stands still for 1 s (SIGSTOP)", did, how))


@pytest.fixture
def robot(cell, start_node, cell_file):
    """The arm as a process of its own, driven by the operator; and a watch."""
    for stream in ROBOT_STREAMS:
        cell.spoil[stream] = silent
    come = cell.newcomer("pose")
    robot = start_node(SCRIPT, "robot", cell_file)
    try:
        cell.wait(come, "the robot", 60.0)
        watch = Watch(cell)
        cell.drive()
        watch.mark()
        yield robot, watch
    finally:
        robot.send(signal.SIGKILL)  # the arm of the other tests is the cell's own


def test_a_robot_driver_that_stands_still_is_a_fault(cell, robot, table):
    process, watch = robot
    process.send(signal.SIGSTOP)
    try:
        cell.pause(1.0)
        cell.wait(lambda: cell.mode == CommandState.FAULT and cell.at_rest(), "the fault")
    finally:
        process.send(signal.SIGCONT)
    did = watch.reaction()
    cell.ask_resume()
    cell.drive()
    table.append(watch.row("robot driver stands still for 1 s (SIGSTOP)", did, "`control/resume`, then TELEOP"))


def test_a_killed_robot_driver_is_a_fault(cell, robot, table):
    process, watch = robot
    process.send(signal.SIGKILL)
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    cell.wait(cell.at_rest, "rest")
    did = watch.reaction()
    assert not cell.set_mode(CommandState.TELEOP).success
    # The new driver says where the arm stands; control starts from there, wherever its own command was.
    assert cell.set_mode(CommandState.STOPPED).success
    first = watch.row("robot driver killed", did, "driver restarted, TELEOP asked for again")
    come = cell.newcomer("pose")
    process.start()
    cell.wait(come, "the robot's return", 60.0)
    again = Watch(cell)
    cell.drive()
    again.judge()
    table.append(first)


def let_go_once(cell):
    """A teleop node that starts does not know what the hand did before: the clutch must be let go once."""
    cell.wait(lambda: cell.listeners("joy") > 0, "the teleop node", 40.0)
    cell.axes, cell.held = (lambda t: np.zeros(6)), False
    cell.devices.clear()
    cell.wait(lambda: any(d.connected and not d.buttons[1] for d in list(cell.devices)), "the open clutch", 40.0)
    cell.held = True


@pytest.fixture
def start_teleop(cell, start_node, cell_file):
    """Starts a teleop node instead of the cell's own messages of one."""
    cell.spoil["engaged"] = silent
    started = []

    def start(**parameters):
        started.append(start_node("dp_teleop.node", cell=cell_file, **parameters))
        return started[-1]

    yield start
    # Without a device it says that nothing is engaged: it must not outlive its test, also one that has failed.
    problems = [problem for node in started if (problem := node.close())]
    assert not problems, "\n".join(problems)


def ends_in_hold(cell, watch):
    """The input of the mode is gone: control notices, brakes and leaves the mode; in words."""
    cell.wait(lambda: not cell.states[-1].input_alive, "the end of input to be noticed")
    cell.wait(lambda: cell.mode == CommandState.HOLD and cell.at_rest(), "HOLD")
    return f"{watch.reaction()}; HOLD after 0.8 s"


def test_a_killed_teleop_node_brakes_the_arm(cell, start_teleop, table):
    teleop = start_teleop()
    let_go_once(cell)
    watch = Watch(cell)
    cell.begin_teleop("axes")
    watch.mark()
    teleop.send(signal.SIGKILL)
    did = ends_in_hold(cell, watch)
    teleop.start()
    let_go_once(cell)
    cell.drive("axes")
    table.append(watch.row("teleop node killed", did, "node restarted, TELEOP asked for again"))


def test_a_teleop_node_that_stands_still_brakes_the_arm_and_its_return_does_not_move_it(cell, start_teleop, table):
    teleop = start_teleop()
    let_go_once(cell)
    watch = Watch(cell)
    cell.begin_teleop("axes")
    watch.mark()
    teleop.send(signal.SIGSTOP)
    try:
        did = ends_in_hold(cell, watch)
    finally:
        teleop.send(signal.SIGCONT)
    before = len(cell.states)
    cell.devices.clear()
    cell.wait(lambda: len(cell.devices) > 30, "the node's return")
    stays_at_rest(cell, before)
    cell.drive("axes")
    table.append(watch.row("teleop node stands still (SIGSTOP)", did, "TELEOP asked for again"))


def stays_at_rest(cell, since):
    """What stood still goes on, and that has not moved the arm."""
    cell.pause(0.5)
    assert all(state.mode == CommandState.HOLD for state in cell.states[since:]) and cell.at_rest()


@pytest.fixture
def usb(tmp_path):
    hand = UsbHand(tmp_path / "spnav.sock")
    yield hand
    hand.close()


def test_an_unplugged_spacemouse_brakes_the_arm_and_its_return_does_not_move_it(cell, start_teleop, usb, table):
    start_teleop(device="spacenavd", device_path=usb.path)
    cell.wait(lambda: cell.devices and cell.devices[-1].connected, "the SpaceMouse", 40.0)
    cell.put_at_start()
    watch = Watch(cell)
    usb.drive(cell)
    watch.mark()
    usb.unplug()
    did = ends_in_hold(cell, watch)
    assert not cell.devices[-1].connected and not cell.devices[-1].engaged

    # Plugged in again by a hand that still pushes and holds the button: a mode may be asked for, the arm stays.
    usb.plug()
    cell.wait(lambda: cell.devices[-1].connected, "the device's return")
    cell.ask_mode(CommandState.TELEOP)
    cell.devices.clear()
    cell.wait(lambda: len(cell.devices) > 30, "samples of the device")
    assert cell.at_rest() and not any(device.engaged for device in list(cell.devices))
    usb.axes = None
    usb.release(1)
    usb.drive(cell)
    table.append(watch.row("SpaceMouse unplugged, clutch held", did, "plugged in, cap and clutch let go once, TELEOP"))


def test_a_pulled_cable_that_looks_like_a_held_clutch_stops_a_policy(cell, start_teleop, table):
    """Through the spacenav node of ROS, which goes on with zeros and the buttons as they were."""
    start_teleop(hold_confirm_s=1.0)
    watch = Watch(cell)

    def begin():
        cell.stop()
        let_go_once(cell)
        # Touches within the deadband.
        cell.axes = lambda t: np.array([0.02 * np.sin(20.0 * t), 0.0, 0.0, 0.0, 0.0, 0.0])
        cell.wait(lambda: cell.devices[-1].engaged, "the clutch")
        cell.begin_policy()
        cell.pause(1.5)  # longer than without touches
        return cell.mode == CommandState.POLICY and cell.states[-1].input_alive

    cell.try_hard(begin)
    watch.mark()
    cell.axes = lambda t: np.zeros(6)
    cell.wait(lambda: not cell.devices[-1].engaged, "the node's verdict")
    cell.wait(lambda: any("dead-man" in s.text for s in watch.since_mark) and cell.at_rest(), "rest")
    table.append(watch.row("cable pulled with the clutch held, spacenav node", watch.reaction(), "clutch let go once"))


def test_a_killed_recorder_does_not_touch_the_arm(cell, driven, start_node, cell_file, table, tmp_path):
    for _ in range(4):
        come = cell.newcomer("pose")
        recorder = start_node("dp_recorder.node", cell=cell_file, directory=tmp_path)
        try:
            cell.wait(lambda r=recorder, come=come: r.process.poll() is not None or come(), "the recorder", 60.0)
            assert recorder.process.poll() is None, recorder.log
            if cell.mode != CommandState.TELEOP or not cell.states[-1].input_alive:
                cell.drive()  # this process was late while the recorder was loaded
            driven.mark()
        finally:
            recorder.send(signal.SIGKILL)
        cell.pause(0.5)
        good = all(s.mode == CommandState.TELEOP and s.input_alive for s in driven.since_mark)
        if good or driven.late_s() < 0.05:
            break
    assert good, driven.story()
    table.append(driven.row("recorder killed", "goes on", "-"))


@pytest.fixture(scope="module")
def policy_node(cell_file, tmp_path_factory, shared_cell, start_node):
    """A real policy node with an untrained network whose actions lie within centimetres of the start."""
    sections = {
        "name": "test",
        "observation": {"cameras": ["front", "wrist"], "image_height": 64, "image_width": 64, "history": 1},
        "encoder": {"kind": "compact", "width": 8, "keypoints": 4, "features": 8, "blocks": 1},
        "denoiser": {"sizes": [16, 32], "step_features": 16},
        "diffusion": {"inference_steps": 2},
    }
    network = build_policy(PolicyConfig.from_dict(sections))
    action = encode_action(shared_cell.start[None], np.array([0.08]))[0]
    vector = network.normaliser.action
    vector.offset.copy_(vector.offset.new_tensor(action.tolist()))
    vector.scale.copy_(vector.scale.new_tensor([0.01] * 3 + [0.02] * 6 + [0.001]))
    folder = tmp_path_factory.mktemp("policy") / "checkpoint"
    save_checkpoint(folder, network, load_contract(cell_file).to_dict())
    # The plain runtime: the choice of another takes seconds of measuring, and is tested where it is made.
    node = start_node("dp_policy_node.node", cell=cell_file, checkpoint=folder, runtime="reference")
    shared_cell.wait(lambda: shared_cell.listeners("front") > 0 or node.process.poll() is not None, "the policy", 120.0)
    assert node.process.poll() is None, node.log
    return node


@pytest.fixture
def policy(policy_node, cell):
    """The policy node; runs again where a failed test has killed it, or where it has given up."""
    if policy_node.process.poll() is not None:
        restart(policy_node, cell, "front")
    return policy_node


def restart(node, cell, stream):
    """Until a node that was killed is there again, by one of its streams, and the machine has settled after that."""
    come = cell.newcomer(stream)
    node.start()
    cell.wait(lambda: come() or node.process.poll() is not None, "the node's return", 120.0)
    assert node.process.poll() is None, node.log
    if cell.mode == CommandState.FAULT:  # this process was late while the node was loaded
        cell.trigger("resume")


def moved_by_policy(cell):
    """Ask for POLICY and wait until its chunks move the arm."""

    def begin():
        cell.ask_mode(CommandState.POLICY)
        return cell.wait_in_mode(CommandState.POLICY, moving, "the policy to move the arm", 30.0)

    def moving():
        return cell.states[-1].input_alive and not cell.at_rest()

    cell.try_hard(begin)


def test_a_killed_policy_node_ends_in_hold(cell, policy, table):
    cell.images = True
    cell.put_at_start()
    watch = Watch(cell)
    moved_by_policy(cell)
    watch.mark()
    policy.send(signal.SIGKILL)
    did = f"last plan to its end: {ends_in_hold(cell, watch)}"
    assert "policy/chunk" in cell.states[-1].text
    restart(policy, cell, "front")
    moved_by_policy(cell)
    table.append(watch.row("policy node killed", did, "node restarted, POLICY asked for again"))


def test_a_policy_node_that_stands_still_ends_in_hold_and_its_return_does_not_move_the_arm(cell, policy, table):
    cell.images = True
    cell.put_at_start()
    watch = Watch(cell)
    moved_by_policy(cell)
    watch.mark()
    policy.send(signal.SIGSTOP)
    try:
        did = f"last plan to its end: {ends_in_hold(cell, watch)}"
    finally:
        policy.send(signal.SIGCONT)
    stays_at_rest(cell, len(cell.states))
    moved_by_policy(cell)
    table.append(watch.row("policy node stands still (SIGSTOP)", did, "POLICY asked for again"))


def test_a_camera_that_repeats_one_frame_ends_in_hold(cell, policy, table):
    cell.images = True
    cell.put_at_start()
    watch = Watch(cell)
    moved_by_policy(cell)
    watch.mark()
    first = []

    def repeated(message):
        first.append(message.header.stamp)
        message.header.stamp = first[0]
        return [message]

    cell.spoil["wrist"] = repeated
    did = f"last plan to its end: {ends_in_hold(cell, watch)}"
    cell.spoil.clear()
    moved_by_policy(cell)
    table.append(watch.row("camera repeats one frame", did, "POLICY asked for again"))


def test_a_killed_camera_driver_ends_in_hold(cell, policy, start_node, cell_file, table):
    cell.images = False
    come = cell.newcomer("front")
    cameras = start_node(SCRIPT, "cameras", cell_file)
    try:
        cell.wait(come, "the cameras", 60.0)
        cell.put_at_start()
        watch = Watch(cell)
        moved_by_policy(cell)
        watch.mark()
        cameras.send(signal.SIGKILL)
        did = f"last plan to its end: {ends_in_hold(cell, watch)}"
        restart(cameras, cell, "front")
        moved_by_policy(cell)
    finally:
        cameras.send(signal.SIGKILL)  # the images of other tests are the cell's own
    table.append(watch.row("camera driver killed", did, "driver restarted, POLICY asked for again"))
