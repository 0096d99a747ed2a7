"""Streams that fall silent, lie, or come in a wrong order, while the real control node drives the arm."""

import copy
import math

import numpy as np
import pytest
from dp_ros.messages import fill_pose, ns_to_stamp, pose_to_array, stamp_to_ns
from fault_rows import Watch

from dp_msgs.msg import CommandState

NAN = math.nan


def silent(_message):
    return []


def twice(message):
    return [message, copy.deepcopy(message)]


def wrong_frame(message):
    message.header.frame_id = "camera_link"
    return [message]


def frozen_stamp():
    """The driver hangs: what it sends is stamped as its last true sample was."""
    first = []

    def apply(message):
        first.append(message.header.stamp)
        message.header.stamp = first[0]
        return [message]

    return apply


def swapped():
    """Pairs of messages arrive in the wrong order, so that each second stamp goes back."""
    kept = []

    def apply(message):
        kept.append(message)
        return [kept.pop(), kept.pop()] if len(kept) == 2 else []

    return apply


def with_predecessor():
    """An old message comes once more after each new one."""
    kept = []

    def apply(message):
        kept.append(message)
        return kept[-1:-3:-1]

    return apply


def stamped(offset_s):
    def apply(message):
        message.header.stamp = ns_to_stamp(stamp_to_ns(message.header.stamp) + round(1e9 * offset_s))
        return [message]

    return apply


def on_pose(change):
    """Change pose7 of a PoseStamped, or of every pose of a chunk."""

    def apply(message):
        poses = message.poses if hasattr(message, "poses") else [message.pose]
        for i, pose in enumerate(poses):
            values = pose_to_array(pose)
            change(values, i)
            fill_pose(pose, values)
        return [message]

    return apply


def nan_pose(values, _i):
    values[1] = NAN


def zero_quaternion(values, _i):
    values[3:] = 0.0


def other_sign(values, i):
    values[3:] *= -1.0 if i % 2 == 0 else 1.0


def half_turn(values, i):
    """True half turn of the tool about its own x axis, in a plan from the third action on."""
    if i == 0 or i > 2:
        x, y, z, w = values[3:]
        values[3:] = [w, z, -y, -x]


def half_turn_of_plan(values, i):
    if i > 2:
        half_turn(values, i)


def jumping(values, i):
    values[2] += 0.15 if i % 2 else 0.0


def nan_twist(message):
    message.twist.linear.y = NAN
    return [message]


def nan_joints(message):
    message.position = [NAN] * len(message.name)
    return [message]


def nan_wrench(message):
    message.wrench.force.x = NAN
    return [message]


def backwards(message):
    message.stamps = list(reversed(message.stamps))
    return [message]


def shifted_stamps(offset_s):
    def apply(message):
        message.stamps = [ns_to_stamp(stamp_to_ns(s) + round(1e9 * offset_s)) for s in message.stamps]
        return stamped(offset_s)(message)

    return apply


def released(message):
    message.engaged = False
    return [message]


# Robot's state: name, stream, what spoils it, word that control must use.
ENDS_IN_FAULT = [
    ("measured pose frozen (no messages)", "pose", lambda: silent, "robot/ee_pose is"),
    ("measured pose: stamp frozen", "pose", frozen_stamp, "robot/ee_pose is"),
    ("measured pose: NaN", "pose", lambda: on_pose(nan_pose), "robot/ee_pose is"),
    ("measured pose in a wrong frame", "pose", lambda: wrong_frame, "robot/ee_pose is"),
    ("measured pose: zero quaternion", "pose", lambda: on_pose(zero_quaternion), "robot/ee_pose is"),
    ("measured pose: true half turn", "pose", lambda: on_pose(half_turn), "rad from its command"),
    ("measured pose: stamps 5 s ahead", "pose", lambda: stamped(5.0), "robot/ee_pose is"),
    ("measured pose: stamps 5 s old", "pose", lambda: stamped(-5.0), "robot/ee_pose is"),
    ("joint states frozen", "joints", lambda: silent, "robot/joint_states is"),
    ("joint states: NaN", "joints", lambda: nan_joints, "robot/joint_states is"),
    ("wrench frozen (its limit is on)", "wrench", lambda: silent, "robot/wrench is"),
    ("wrench: NaN", "wrench", lambda: nan_wrench, "robot/wrench is"),
]


@pytest.mark.parametrize(("name", "stream", "make", "word"), ENDS_IN_FAULT, ids=[case[0] for case in ENDS_IN_FAULT])
def test_bad_robot_state_ends_in_fault(cell, driven, table, name, stream, make, word):
    cell.spoil[stream] = make()
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    assert word in cell.states[-1].text
    refused = cell.set_mode(CommandState.TELEOP)
    assert not refused.success and "FAULT" in refused.message
    cell.wait(cell.at_rest, "rest")
    did = driven.reaction()
    # By control's own time: what it says may reach this process late.
    resting_ns = stamp_to_ns(cell.states[-1].header.stamp) + 50_000_000
    cell.wait(lambda: stamp_to_ns(cell.states[-1].header.stamp) > resting_ns + 100_000_000, "time to pass at rest")
    assert not cell.commands_since(resting_ns), "commands in FAULT at rest"
    table.append(driven.row(name, did, cell.resume()))


# Streams that hurt nobody: name, mode, stream, what spoils it.
GOES_ON = [
    ("measured pose: q and -q in turn", "driven", "pose", lambda: alternating_sign()),
    ("measured pose: each message twice", "driven", "pose", lambda: twice),
    ("measured pose: stamps in reverse order", "driven", "pose", swapped),
    ("joint states: stamps in reverse order", "driven", "joints", swapped),
    ("wrench: stamps in reverse order", "driven", "wrench", swapped),
    ("gripper state frozen", "driven", "gripper", lambda: silent),
    ("gripper state: NaN", "driven", "gripper", lambda: nan_joints),
    ("twist: each message twice", "driven", "twist", lambda: twice),
    ("twist: stamps in reverse order", "driven", "twist", swapped),
    ("chunks: each one twice", "planned", "chunk", lambda: twice),
    ("chunks: each followed by the one before it", "planned", "chunk", with_predecessor),
    ("chunks: q and -q in turn", "planned", "chunk", lambda: on_pose(other_sign)),
    ("chunks: every second action 15 cm off", "planned", "chunk", lambda: on_pose(jumping)),
]


def alternating_sign():
    count = iter(range(10**9))
    return lambda message: on_pose(lambda values, _i: other_sign(values, next(count)))(message)


@pytest.mark.parametrize(("name", "mode", "stream", "make"), GOES_ON, ids=[case[0] for case in GOES_ON])
def test_what_hurts_nobody_does_not_stop_the_arm(cell, table, name, mode, stream, make):
    wanted = CommandState.TELEOP if mode == "driven" else CommandState.POLICY
    for _ in range(4):
        watch = Watch(cell)
        (cell.begin_teleop if mode == "driven" else cell.begin_policy)()
        watch.mark()
        cell.spoil[stream] = make()
        cell.pause(0.8)
        good = all(s.mode == wanted and s.input_alive for s in watch.since_mark)
        if good or watch.late_s() < 0.05:
            break
        cell.heal()  # this process or control was late, which is a fault of its own
        cell.stop()
    assert good, f"{watch.story()}: {cell.states[-1].text}"
    cell.wait(lambda: cell.speed() > 0.05, "motion")
    table.append(watch.row(name, "goes on", "-"))


# The input of the mode fails: name, mode, stream, what spoils it.
BRAKES = [
    ("twist frozen (no messages)", "driven", "twist", lambda: silent, "no teleop/twist"),
    ("twist: stamp frozen", "driven", "twist", frozen_stamp, "no teleop/twist"),
    ("twist: NaN", "driven", "twist", lambda: nan_twist, "no teleop/twist"),
    ("twist in a wrong frame", "driven", "twist", lambda: wrong_frame, "no teleop/twist"),
    ("dead-man button released", "driven", "engaged", lambda: released, "dead-man"),
    ("dead-man stream frozen", "driven", "engaged", lambda: silent, "dead-man"),
    ("chunks stop", "planned", "chunk", lambda: silent, "no newer"),
    ("chunks: NaN", "planned", "chunk", lambda: on_pose(nan_pose), "no newer"),
    ("chunks in a wrong frame", "planned", "chunk", lambda: wrong_frame, "no newer"),
    ("chunks: zero quaternion", "planned", "chunk", lambda: on_pose(zero_quaternion), "no newer"),
    ("chunks: true half turn within the plan", "planned", "chunk", lambda: on_pose(half_turn_of_plan), "no newer"),
    ("chunks: stamps in reverse order", "planned", "chunk", lambda: backwards, "no newer"),
    ("chunks: stamps 5 s ahead", "planned", "chunk", lambda: shifted_stamps(5.0), "no newer"),
    ("chunks: stamps 5 s old", "planned", "chunk", lambda: shifted_stamps(-5.0), "no newer"),
]


@pytest.mark.parametrize(("name", "mode", "stream", "make", "word"), BRAKES, ids=[case[0] for case in BRAKES])
def test_a_lost_input_brakes_then_leaves_the_mode(cell, request, table, name, mode, stream, make, word):
    watch = request.getfixturevalue(mode)
    wanted = cell.mode
    cell.spoil[stream] = make()
    cell.wait(lambda: not cell.states[-1].input_alive, "the end of input to be noticed")
    cell.wait(lambda: any(word in s.text and not s.input_alive for s in watch.since_mark), f"control to say {word!r}")
    cell.wait(cell.at_rest, "rest")
    did = watch.reaction()
    cell.spoil.clear()
    if wanted == CommandState.TELEOP:
        # The cap is still deflected: nothing may move until it has been let go.
        cell.pause(0.1)
        assert cell.at_rest()
        cell.drive()
        how = "let go once, then drive"
    else:
        cell.wait(lambda: cell.speed() > 0.05 or cell.mode == CommandState.HOLD, "the next plan")
        if cell.mode == CommandState.HOLD:  # this process was late: the mode had been left
            cell.swing()
        how = "the next plan"
    table.append(watch.row(name, did, how))


def test_an_input_that_stays_away_ends_the_mode(cell, driven, table):
    for _ in range(4):
        cell.spoil["twist"] = silent
        cell.wait(lambda: cell.mode != CommandState.TELEOP, "the end of the mode")
        if cell.mode == CommandState.HOLD or driven.late_s() < 0.05:
            break
        cell.heal()  # this process or control was late, which is a fault of its own
        cell.stop()
        driven = Watch(cell)
        cell.begin_teleop()
        driven.mark()
    assert cell.mode == CommandState.HOLD, cell.states[-1].text
    assert "ask for it to go on" in cell.states[-1].text
    did = f"{driven.reaction()}; HOLD after 0.8 s"
    cell.spoil.clear()
    cell.pause(0.2)
    assert cell.mode != CommandState.TELEOP and cell.at_rest(), "going on takes a request"
    cell.drive()
    table.append(driven.row("twist stays away", did, "TELEOP asked for again"))


def test_the_operator_takes_over_from_a_policy_in_50_ms(cell, planned, table):
    for _ in range(4):
        cell.twist = lambda t: np.zeros(6)
        cell.pause(0.2)
        planned.mark()
        began = cell.now_ns()
        cell.twist = lambda t: np.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0])
        cell.wait(lambda: cell.mode != CommandState.POLICY, "the takeover")
        first = next(s for s in planned.since_mark if s.mode != CommandState.POLICY)
        took_ns = stamp_to_ns(first.header.stamp) - began
        if (first.intervention and took_ns < 50_000_000) or planned.late_s() < 0.01:
            break
        cell.heal()  # this process was late with the operator's hand, or control itself
        cell.stop()
        planned = Watch(cell)
        cell.begin_policy()
        planned.mark()
    assert first.intervention and took_ns < 50_000_000
    table.append(planned.row("operator grasps the SpaceMouse", "TELEOP within 50 ms", "POLICY asked for again"))
