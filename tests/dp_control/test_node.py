"""The control node as a process of its own, over real DDS."""

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_ros.messages import stamp_to_ns
from geometry_msgs.msg import TwistStamped

from dp_msgs.msg import ActionChunk, ChunkReport, CommandState, GripperCommand
from dp_msgs.srv import SetMode
from dp_ros import qos

CONTRACT = load_contract("sim_franka")


def speed(state):
    v = state.commanded_twist.linear
    return np.linalg.norm([v.x, v.y, v.z])


def plan(cell):
    """Chunk 5 of 16 actions, 10 cm/s along y, seen 60 ms ago; the gripper closes with action 8."""
    poses = np.tile(cell.pose, (16, 1))
    poses[:, 1] += 0.01 * np.arange(16)
    widths = np.where(np.arange(16) < 8, 0.08, 0.0)
    t_obs = cell.now_ns() - 60_000_000
    ledger = Ledger(*[t_obs] * 7)
    return chunk_message(encode_action(poses, widths).astype(np.float32), CONTRACT, ledger, 5, 8, "test")


def follow_plan(cell, chunks, ready):
    """Send a plan until `ready`: one that this process sends too late, or hears of too late, is another one's turn."""
    for _ in range(5):
        if cell.states[-1].mode != CommandState.POLICY:
            cell.wait(lambda: cell.set_mode(CommandState.POLICY).success, "mode POLICY")
        chunks.publish(plan(cell))
        until = time.monotonic() + 4.0
        cell.wait(lambda until=until: ready() or time.monotonic() > until, "the plan's motion")
        if ready():
            return
    raise AssertionError(f"five plans in vain: {cell.states[-1].text}")


def test_teleop_moves_the_arm_and_stops_with_its_input(cell, hand):
    answer = cell.set_mode(CommandState.TELEOP)
    assert answer.success and answer.mode == CommandState.TELEOP
    time.sleep(0.1)
    hand.push(0.0, 0.1, 0.0, 0.0, 0.0, 0.0, seconds=0.5)
    hand.close()
    cell.wait(lambda: not cell.states[-1].input_alive, "the end of input to be noticed")
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    y = cell.targets[-1][1]
    assert 0.02 < y < 0.09
    time.sleep(0.2)
    assert cell.targets[-1][1] == y, "the arm must hold when its input stops"
    cell.wait(lambda: cell.states[-1].mode == CommandState.HOLD, "the end of the mode")
    assert "no teleop/twist" in cell.states[-1].text
    stamps = np.array([s.header.stamp.sec * 10**9 + s.header.stamp.nanosec for s in cell.states])
    steps = np.diff(stamps) / 10_000_000
    assert np.all(np.abs(steps - np.round(steps)) < 0.02), "stamps are those of the schedule, evenly spaced"


def test_bad_twists_do_not_move_the_arm(cell, hand):
    cell.set_mode(CommandState.TELEOP)
    start = cell.pose.copy()
    hand.push(np.nan, 0.1, 0, 0, 0, 0, seconds=0.2)
    hand.frame = "camera"
    hand.push(0.0, 0.1, 0, 0, 0, 0, seconds=0.2)
    np.testing.assert_allclose(cell.targets[-1], start)


def test_a_person_takes_over_from_the_policy_within_50_ms(cell, hand):
    latencies = []
    for _ in range(10):
        cell.wait(lambda: cell.set_mode(CommandState.POLICY).success, "mode POLICY")
        hand.close()  # samples by hand, so that the moment of the first push is known
        time.sleep(0.05 + 0.013 * len(latencies) % 0.01)
        hand.values = np.array([0.0, 0.1, 0, 0, 0, 0])
        seen, begin = len(cell.states), time.monotonic()
        hand.sample()
        while not any(state.intervention for state in cell.states[seen:]):
            assert time.monotonic() < begin + 2.0, "no takeover"
            time.sleep(0.0005)
            if time.monotonic() > begin + 0.1:
                hand.sample()  # who pushes goes on pushing; a sample that came too late is not obeyed
        latencies.append(time.monotonic() - begin)
        assert cell.states[-1].mode == CommandState.TELEOP
        hand.values = np.zeros(6)
        hand.sample()
    print(f"takeover: median {1e3 * np.median(latencies):.1f} ms, longest {1e3 * max(latencies):.1f} ms")
    assert np.median(latencies) < 0.05


def test_stop_and_resume_services(cell, hand):
    cell.set_mode(CommandState.TELEOP)
    time.sleep(0.1)
    hand.push(0.1, 0, 0, 0, 0, 0, seconds=0.4)
    answer = cell.stop()
    assert answer.success, answer.message
    state = cell.states[-1]
    assert state.mode == CommandState.STOPPED and speed(state) == 0.0
    sent = len(cell.targets)
    time.sleep(0.2)
    assert len(cell.targets) <= sent + 1, "nothing is sent any more"
    assert cell.stop().success, "a second stop finds it done"
    cell.pose = cell.pose + np.array([0, 0.05, 0, 0, 0, 0, 0])  # guided by hand
    time.sleep(0.4)
    assert cell.resume().success and cell.states[-1].mode == CommandState.HOLD
    np.testing.assert_allclose(cell.targets[-1], cell.pose, atol=1e-9)
    answer = cell.resume()
    assert not answer.success and "nothing to do in HOLD" in answer.message


def test_the_dead_man_button_over_dds(cell, start_control, make_hand):
    start_control(teleop={"clutch_button": 1}, safety={"dead_man": ["teleop"]})
    hand = make_hand()
    hand.held = False
    cell.set_mode(CommandState.TELEOP)
    hand.push(0.1, 0, 0, 0, 0, 0, seconds=0.3)
    assert cell.pose[0] == 0.5 and "dead-man" in cell.states[-1].text
    hand.held = True
    hand.push(0, 0, 0, 0, 0, 0, seconds=0)
    cell.wait(lambda: cell.states[-1].input_alive, "the button to be heard, and the cap to be at rest")
    hand.push(0.1, 0, 0, 0, 0, 0, seconds=0)
    cell.wait(lambda: cell.pose[0] > 0.51, "the arm to be driven")
    hand.held = False
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    hand.close()


def test_a_cell_whose_policy_needs_the_button_and_lets_nobody_take_over(cell, start_control, make_hand):
    start_control(teleop={"clutch_button": 1}, safety={"dead_man": ["policy"], "takeover": False})
    chunks = cell.node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
    cell.wait(lambda: chunks.get_subscription_count() > 0, "control's subscription")
    hand = make_hand()
    hand.held = False
    assert cell.set_mode(CommandState.POLICY).success
    chunks.publish(plan(cell))
    hand.push(0.2, 0, 0, 0, 0, 0, seconds=0.3)
    state = cell.states[-1]
    assert state.mode == CommandState.POLICY and "dead-man button released" in state.text and cell.pose[1] == 0.0
    hand.held = True
    cell.wait(lambda: "dead-man" not in cell.states[-1].text, "the button to be heard")
    follow_plan(cell, chunks, lambda: cell.pose[1] > 0.03)
    assert cell.states[-1].mode == CommandState.POLICY and cell.pose[0] == pytest.approx(0.5, abs=1e-6)
    hand.held = False
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    assert cell.pose[1] < 0.14, "braked before the end of the plan"


def test_a_contact_stops_the_arm_and_a_person_goes_on(cell, start_control, make_hand):
    cell.force = 5.0
    start_control(safety={"force_limit_N": 30.0})
    hand = make_hand()
    assert cell.set_mode(CommandState.TELEOP).success
    time.sleep(0.1)
    hand.push(0, 0, -0.1, 0, 0, 0, seconds=0.3)
    cell.force = 45.0
    cell.wait(lambda: cell.states[-1].mode == CommandState.FAULT, "the fault")
    assert "contact: force 45.0 N (limit 30.0 N)" in cell.states[-1].text
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    cell.force = 0.0
    hand.push(0, 0, 0, 0, 0, 0, seconds=0.1)
    assert cell.resume().success
    hand.close()


def flooded(cell, flood):
    """Control's time that passes in a second with 1,000 bad messages, ns, and the mode in which it ends."""
    message = TwistStamped()
    begin, seen = time.monotonic(), stamp_to_ns(cell.states[-1].header.stamp)
    while time.monotonic() < begin + 1.0:
        for _ in range(5):
            flood.publish(message)  # without a frame: each one is refused
        time.sleep(0.005)
    return stamp_to_ns(cell.states[-1].header.stamp) - seen, cell.states[-1].mode


def test_floods_of_messages_and_requests_starve_neither_the_loop_nor_a_stop(cell, hand):
    flood = cell.node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
    for _ in range(4):
        cell.set_mode(CommandState.TELEOP)
        passed_ns, mode = flooded(cell, flood)
        # By control's own time: how many of its messages this busy process takes is another question.
        assert passed_ns > 800_000_000
        if mode == CommandState.TELEOP:
            break
        # This process plays the robot as well; where it was late with that, the fault is right.
        assert mode == CommandState.FAULT and " s old" in cell.states[-1].text, cell.states[-1].text
        assert cell.resume().success
    else:
        raise AssertionError("four times in vain")
    client = cell.node.create_client(SetMode, "control/set_mode")
    assert client.wait_for_service(5.0)
    calls = [client.call_async(SetMode.Request(mode=CommandState.TELEOP)) for _ in range(8)]  # the depth of a service
    assert cell.stop().success
    cell.wait(lambda: all(call.done() for call in calls), "an answer to each request", 20.0)


def test_diagnostics_name_what_was_refused(cell, hand):
    arrays = []
    cell.node.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, qos.EVENT)
    hand.frame = "camera"
    cell.wait(lambda: len(arrays) >= 3, "diagnostics")
    statuses = {status.name: status for status in arrays[-1].status}
    twist = {item.key: item.value for item in statuses["control: teleop/twist"].values}
    pose = {item.key: item.value for item in statuses["control: robot/ee_pose"].values}
    assert int(twist["refused: frame"]) > 20 and 50 < float(pose["rate_hz"]) < 150
    assert statuses["control: mode"].message.startswith("STOPPED") and "control: loop" in statuses


def test_a_chunk_is_executed_at_its_times_and_reported(cell, control):
    chunks = cell.node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
    reports, grips = [], []
    cell.node.create_subscription(ChunkReport, "control/chunk_report", reports.append, qos.EVENT)
    cell.node.create_subscription(GripperCommand, "gripper/command", grips.append, qos.STATE)
    cell.wait(lambda: chunks.get_subscription_count() > 0, "control's subscription")
    cell.set_mode(CommandState.POLICY)
    message = plan(cell)
    chunks.publish(message)
    cell.wait(lambda: speed(cell.states[-1]) > 0.0, "the plan's motion")
    # The same chunk again is older than the one in execution: refused, and the arm goes on.
    chunks.publish(message)
    cell.wait(lambda: reports, "the report of the refused chunk")
    assert "older than chunk 5" in reports[0].stop_reason
    cell.wait(lambda: any("no newer chunk" in state.text for state in cell.states), "the end of the chunk")
    cell.wait(lambda: cell.states[-1].commanded_twist.linear.y == 0.0, "rest at the end of the chunk")
    assert abs(cell.targets[-1][1] - 0.15) < 1e-3
    assert [g.width for g in grips] == [0.0]
    cell.set_mode(CommandState.STOPPED)
    cell.wait(lambda: len(reports) == 2, "the report of the executed chunk")
    final = reports[1]
    stamps = [stamp_to_ns(stamp) for stamp in message.stamps]
    late = sum(stamp <= stamp_to_ns(final.received) for stamp in stamps)
    assert (final.late, final.executed, final.superseded) == (late, 16 - late, 0) and 1 <= late < 8


def test_a_silent_robot_is_a_fault_and_leaving_it_takes_a_stop(cell, control):
    cell.set_mode(CommandState.HOLD)
    cell.silent = True
    cell.wait(lambda: cell.states[-1].mode == CommandState.FAULT, "the fault")
    assert "robot/ee_pose" in cell.states[-1].text
    cell.silent = False
    assert "cannot follow FAULT" in cell.set_mode(CommandState.TELEOP).message
    assert cell.set_mode(CommandState.STOPPED).success
    assert cell.set_mode(CommandState.HOLD).success


def test_a_pose_in_another_frame_never_starts_a_mode(cell, control):
    cell.frame = "world"
    time.sleep(0.3)
    answer = cell.set_mode(CommandState.HOLD)
    assert not answer.success and "no measured pose on robot/ee_pose" in answer.message
    assert not cell.targets
