"""The control node as a process of its own, over real DDS."""

import time

import numpy as np
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_ros.messages import fill_twist, ns_to_stamp
from geometry_msgs.msg import TwistStamped

from dp_msgs.msg import ActionChunk, ChunkReport, CommandState, GripperCommand
from dp_ros import qos

CONTRACT = load_contract("sim_franka")


def send_twists(cell, values, seconds, frame="fr3_link0"):
    publisher = cell.kept.setdefault("twist", cell.node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT))
    cell.wait(lambda: publisher.get_subscription_count() > 0, "control's subscription")
    message = TwistStamped()
    message.header.frame_id = frame
    fill_twist(message.twist, values)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        message.header.stamp = ns_to_stamp(cell.now_ns())
        publisher.publish(message)
        time.sleep(0.01)


def test_teleop_moves_the_arm_and_stops_with_its_input(cell, control):
    answer = cell.set_mode(CommandState.TELEOP)
    assert answer.success and answer.mode == CommandState.TELEOP
    send_twists(cell, [0.0] * 6, 0.1)
    send_twists(cell, [0.0, 0.1, 0.0, 0.0, 0.0, 0.0], 0.5)
    cell.wait(lambda: not cell.states[-1].input_alive, "the end of input to be noticed")
    time.sleep(0.2)
    y = cell.targets[-1][1]
    assert 0.02 < y < 0.09
    time.sleep(0.2)
    assert cell.targets[-1][1] == y, "the arm must hold when its input stops"
    stamps = np.array([s.header.stamp.sec + 1e-9 * s.header.stamp.nanosec for s in cell.states])
    assert 80 < (len(stamps) - 1) / (stamps[-1] - stamps[0]) <= 101


def test_bad_twists_do_not_move_the_arm(cell, control):
    cell.set_mode(CommandState.TELEOP)
    start = cell.pose.copy()
    send_twists(cell, [np.nan, 0.1, 0, 0, 0, 0], 0.2)
    send_twists(cell, [0.0, 0.1, 0, 0, 0, 0], 0.2, frame="camera")
    np.testing.assert_allclose(cell.targets[-1], start)


def test_a_chunk_is_executed_at_its_times_and_reported(cell, control):
    chunks = cell.node.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
    reports, grips = [], []
    cell.node.create_subscription(ChunkReport, "control/chunk_report", reports.append, qos.EVENT)
    cell.node.create_subscription(GripperCommand, "gripper/command", grips.append, qos.STATE)
    cell.wait(lambda: chunks.get_subscription_count() > 0, "control's subscription")
    cell.set_mode(CommandState.POLICY)
    poses = np.tile(cell.pose, (16, 1))
    poses[:, 1] += 0.01 * np.arange(16)
    widths = np.where(np.arange(16) < 8, 0.08, 0.0)
    t_obs = cell.now_ns() - 60_000_000
    ledger = Ledger(t_obs, t_obs, t_obs, t_obs, t_obs, t_obs)
    message = chunk_message(encode_action(poses, widths).astype(np.float32), CONTRACT, ledger, 5, 8, "test")
    chunks.publish(message)
    cell.wait(lambda: "no newer chunk" in cell.states[-1].text, "the end of the chunk")
    cell.wait(lambda: cell.states[-1].commanded_twist.linear.y == 0.0, "rest at the end of the chunk")
    assert abs(cell.targets[-1][1] - 0.15) < 1e-3
    assert [g.width for g in grips] == [0.0]
    # The same chunk again is older than the one in execution: refused, and the arm stays.
    chunks.publish(message)
    cell.wait(lambda: reports, "the report of the refused chunk")
    assert "older than chunk 5" in reports[0].stop_reason
    cell.set_mode(CommandState.STOPPED)
    cell.wait(lambda: len(reports) == 2, "the report of the executed chunk")
    final = reports[1]
    assert final.late + final.executed + final.superseded == 16 and final.late == 1 and final.executed == 15


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
