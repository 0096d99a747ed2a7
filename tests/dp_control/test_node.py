"""The control node as a process of its own, over real DDS."""

import time
from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_ros.messages import stamp_to_ns
from geometry_msgs.msg import TwistStamped
from sensor_msgs.msg import JointState

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
    hand.drive(0.0, 0.1, 0.0, 0.0, 0.0, 0.0, ready=lambda: cell.pose[1] > 0.03)
    hand.close()
    y, late_s = cell.pose[1], 1e-9 * (cell.now_ns() - cell.target_stamps[-1])
    cell.wait(lambda: not cell.states[-1].input_alive, "the end of input to be noticed")
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    # It drives on until the last sample is too old; what this process has seen of that was late as well.
    assert y <= cell.targets[-1][1] < y + 0.1 * (0.3 + late_s) + 0.02
    resting_ns = stamp_to_ns(cell.states[-1].header.stamp)
    cell.wait(lambda: stamp_to_ns(cell.states[-1].header.stamp) > resting_ns + 200_000_000, "time to pass")
    held = [pose[1] for pose, t in zip(cell.targets, cell.target_stamps, strict=False) if t >= resting_ns]
    assert held and len(set(held)) == 1, "the arm must hold when its input stops"
    cell.wait(lambda: cell.states[-1].mode == CommandState.HOLD, "the end of the mode")
    assert "no teleop/twist" in cell.states[-1].text
    stamps = np.array([s.header.stamp.sec * 10**9 + s.header.stamp.nanosec for s in cell.states])
    steps = np.diff(stamps) / 10_000_000
    whole = np.round(steps)  # more than one where a busy machine has skipped some
    even = np.abs(steps - whole) < 0.02 * np.maximum(whole, 1)
    assert np.all(even), "stamps are those of the schedule, evenly spaced"


def test_bad_twists_do_not_move_the_arm(cell, hand):
    assert cell.set_mode(CommandState.TELEOP).success
    cell.wait(lambda: cell.targets, "the first command")
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
        stamp = hand.sample()
        while not any(state.intervention for state in cell.states[seen:]):
            assert time.monotonic() < begin + 10.0, "no takeover"
            time.sleep(0.0005)
            if time.monotonic() > begin + 0.1:
                hand.sample()  # who pushes goes on pushing; a sample that came too late is not obeyed
        first = next(state for state in cell.states[seen:] if state.intervention)
        # By control's stamp: when this busy process hears of it is another question.
        latencies.append(1e-9 * (stamp_to_ns(first.header.stamp) - stamp_to_ns(stamp)))
        assert first.mode == CommandState.TELEOP
        hand.values = np.zeros(6)
        hand.sample()
    print(f"takeover: median {1e3 * np.median(latencies):.1f} ms, longest {1e3 * max(latencies):.1f} ms")
    assert np.median(latencies) < 0.05


def test_stop_and_resume_services(cell, hand):
    hand.drive(0.1, 0, 0, 0, 0, 0, ready=lambda: cell.pose[0] > 0.52)
    answer = cell.stop()
    assert answer.success, answer.message
    # Answers and states are two queues.
    cell.wait(lambda: cell.states[-1].mode == CommandState.STOPPED, "the state after the stop")
    stopped = next(state for state in reversed(cell.states) if state.mode != CommandState.STOPPED)
    assert speed(cell.states[-1]) == 0.0
    time.sleep(0.2)
    assert not cell.commands_since(stamp_to_ns(stopped.header.stamp) + 10_000_000), "nothing is sent any more"
    assert cell.stop().success, "a second stop finds it done"
    cell.pose = guided = cell.pose + np.array([0, 0.05, 0, 0, 0, 0, 0])  # guided by hand
    time.sleep(0.4)
    assert cell.resume().success
    cell.wait(lambda: cell.states[-1].mode == CommandState.HOLD, "the state after resuming")
    cell.wait(lambda: np.allclose(cell.targets[-1], guided, rtol=0.0, atol=1e-9), "the command where the arm is")
    answer = cell.resume()
    assert not answer.success and "nothing to do in HOLD" in answer.message


def test_the_dead_man_button_over_dds(cell, start_control, make_hand):
    start_control(teleop={"clutch_button": 1}, safety={"dead_man": ["teleop"]})
    hand = make_hand()
    hand.held = False
    assert cell.set_mode(CommandState.TELEOP).success
    hand.push(0.1, 0, 0, 0, 0, 0, seconds=0.3)
    cell.wait(lambda: "dead-man" in cell.states[-1].text, "the missing button to be noticed")
    assert cell.pose[0] == 0.5
    hand.held = True
    hand.drive(0.1, 0, 0, 0, 0, 0, ready=lambda: cell.pose[0] > 0.51)
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
    cell.wait(lambda: "dead-man button released" in cell.states[-1].text, "the missing button to be noticed")
    assert cell.states[-1].mode == CommandState.POLICY and cell.pose[1] == 0.0
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
    hand.drive(0, 0, -0.1, 0, 0, 0, ready=lambda: cell.pose[2] < 0.28)
    cell.force = 45.0
    cell.wait(lambda: cell.states[-1].mode == CommandState.FAULT, "the fault")
    assert "contact: force 45.0 N (limit 30.0 N)" in cell.states[-1].text
    cell.wait(lambda: speed(cell.states[-1]) == 0.0, "rest")
    cell.force = 0.0
    hand.push(0, 0, 0, 0, 0, 0, seconds=0.1)
    assert cell.resume().success
    hand.close()


def flooded(cell, flood):
    """Longest time between two cycles of control in a second with 1,000 bad messages, ns, and the mode it ends in."""
    message = TwistStamped()
    begin, begin_ns, heard = time.monotonic(), cell.now_ns(), len(cell.states)
    while time.monotonic() < begin + 1.0:
        for _ in range(5):
            flood.publish(message)  # without a frame: each one is refused
        time.sleep(0.005)
    end_ns = cell.now_ns()
    # By control's own time: when this busy process hears of its cycles is another question.
    cell.wait(lambda: stamp_to_ns(cell.states[-1].header.stamp) > end_ns, "all states of the flood")
    flooded = [state for state in cell.states[heard:] if begin_ns < stamp_to_ns(state.header.stamp) <= end_ns]
    stamps = [begin_ns, *(stamp_to_ns(state.header.stamp) for state in flooded), end_ns]
    return np.diff(stamps).max(), cell.states[-1].mode


def test_floods_of_messages_and_requests_starve_neither_the_loop_nor_a_stop(cell, hand):
    flood = cell.node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
    for _ in range(4):
        cell.set_mode(CommandState.TELEOP)
        pause_ns, mode = flooded(cell, flood)
        if pause_ns > 200_000_000:
            continue
        if mode == CommandState.TELEOP:
            break
        # This process plays the robot as well; where it was late with that, the fault is right.
        assert mode == CommandState.FAULT and " s old" in cell.states[-1].text, cell.states[-1].text
        assert cell.resume().success
    else:
        raise AssertionError(f"four times in vain: last a pause of {1e-6 * pause_ns:.0f} ms, mode {mode}")
    client = cell.node.create_client(SetMode, "control/set_mode")
    assert client.wait_for_service(20.0)
    calls = [client.call_async(SetMode.Request(mode=CommandState.TELEOP)) for _ in range(8)]  # the depth of a service
    assert cell.stop().success
    cell.wait(lambda: all(call.done() for call in calls), "an answer to each request", 20.0)


def test_it_shares_no_memory_that_a_killed_process_could_have_locked(cell, control):
    assert "/dev/shm/fastrtps_" not in Path(f"/proc/{control.pid}/maps").read_text()


def test_diagnostics_name_what_was_refused(cell, hand):
    arrays = []
    cell.node.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, qos.EVENT)
    hand.frame = "camera"
    cell.wait(lambda: len(arrays) >= 3, "diagnostics")
    statuses = {status.name: status for status in arrays[-1].status}
    assert statuses["control: mode"].message.startswith("STOPPED") and "control: loop" in statuses

    def value(status, key):
        """In the newest diagnostics."""
        (found,) = (found for found in arrays[-1].status if found.name == f"control: {status}")
        return float({item.key: item.value for item in found.values}[key])

    cell.wait(lambda: value("teleop/twist", "refused: frame") > 20, "the refused twists to be counted")
    # In a second in which this busy process sends in time.
    cell.wait(lambda: 50 < value("robot/ee_pose", "rate_hz") < 150, "the rate of the pose")


def test_what_cannot_be_read_is_counted_in_the_diagnostics(cell, control):
    """It never comes to a gate; without a count a policy that sends nothing else would seem to be silent."""
    arrays = []
    chunks = cell.node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
    grips = cell.node.create_publisher(GripperCommand, "teleop/gripper", qos.EVENT)
    fingers = cell.node.create_publisher(JointState, "gripper/state", qos.STATE)
    for publisher in (chunks, grips, fingers):
        cell.wait(lambda it=publisher: it.get_subscription_count() > 0, "control's subscription")
    cell.node.create_subscription(DiagnosticArray, "/diagnostics", arrays.append, qos.EVENT)
    bad = plan(cell)
    bad.poses[3].position.x = float("nan")
    for _ in range(3):
        chunks.publish(bad)
    grips.publish(GripperCommand(width=float("inf")))
    fingers.publish(JointState(name=["another"], position=[0.0]))

    def counts():
        statuses = {status.name: status.values for array in arrays[-1:] for status in array.status}
        names = ("control: mode", "control: gripper/state")
        return {item.key: item.value for name in names for item in statuses.get(name, [])}

    expected = {"chunks malformed": "3", "gripper commands malformed": "1", "refused: joints": "1"}
    cell.wait(lambda: expected.items() <= counts().items(), "the counts")


def test_a_chunk_is_executed_at_its_times_and_reported(cell, control):
    chunks = cell.node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
    reports, grips = [], []
    cell.node.create_subscription(ChunkReport, "control/chunk_report", reports.append, qos.EVENT)
    cell.node.create_subscription(GripperCommand, "gripper/command", grips.append, qos.STATE)
    cell.wait(lambda: chunks.get_subscription_count() > 0, "control's subscription")
    for topic in ("control/chunk_report", "gripper/command"):
        cell.wait(lambda topic=topic: cell.node.count_publishers(topic) > 0, f"control's {topic}")
    assert cell.set_mode(CommandState.POLICY).success
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
    assert cell.set_mode(CommandState.HOLD).success
    cell.silent = True
    cell.wait(lambda: cell.states[-1].mode == CommandState.FAULT, "the fault")
    assert "robot/ee_pose" in cell.states[-1].text
    cell.silent = False
    assert "cannot follow FAULT" in cell.set_mode(CommandState.TELEOP).message
    assert cell.set_mode(CommandState.STOPPED).success
    assert cell.set_mode(CommandState.HOLD).success


def test_a_pose_in_another_frame_never_starts_a_mode(cell, control):
    cell.frame = "world"
    time.sleep(1.5)  # what was sent before is too old by its stamp
    answer = cell.set_mode(CommandState.HOLD)
    assert not answer.success and "no measured pose on robot/ee_pose" in answer.message
    assert not cell.targets
