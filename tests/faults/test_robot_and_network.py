"""An arm that is blocked or in contact, and a network that stalls, while the real control node drives."""

import numpy as np

from dp_msgs.msg import CommandState


def test_a_network_that_stalls_for_a_second_is_a_fault_and_the_burst_moves_nothing(cell, driven, table):
    cell.stall(1.0, lambda: cell.mode == CommandState.FAULT)
    cell.wait(cell.at_rest, "rest")
    did = driven.reaction()
    cell.pause(0.2)
    assert cell.mode == CommandState.FAULT and cell.at_rest(), "the burst must not move the arm"
    table.append(driven.row("network stalls for 1 s, then delivers all at once", did, cell.resume()))


def test_a_stall_while_a_policy_drives_plays_nothing_of_the_past(cell, planned, table):
    cell.stall(1.0, lambda: cell.mode == CommandState.FAULT)
    cell.wait(lambda: cell.mode == CommandState.FAULT and cell.at_rest(), "the fault")
    did = planned.reaction()
    cell.ask_resume()
    cell.plan = None
    cell.pause(0.1)  # a plan that is being sent at this moment is a new one
    cell.ask_mode(CommandState.POLICY)
    cell.pause(0.3)
    assert cell.at_rest(), "a plan from before the fault is executed"
    cell.swing()
    how = "`control/resume`, then POLICY with new plans only"
    table.append(planned.row("network stalls for 1 s during a policy", did, how))


def test_contact_is_a_fault_and_lasts_until_the_arm_is_free(cell, driven, table):
    cell.wrench = np.array([0.0, 60.0, 0.0, 0.0, 0.0, 0.0])
    cell.wait(lambda: cell.mode == CommandState.FAULT and cell.at_rest(), "the fault")
    assert "contact: force 60.0 N" in cell.states[-1].text
    did = driven.reaction()
    assert cell.set_mode(CommandState.STOPPED).success
    refused = cell.set_mode(CommandState.TELEOP)
    assert not refused.success and "in contact" in refused.message
    cell.wrench = np.zeros(6)
    table.append(driven.row("contact: 60 N (limit 40 N)", did, cell.resume()))


def test_one_noisy_wrench_is_no_contact(cell, driven, table):
    cell.spoil["wrench"] = spike_once()
    cell.pause(0.3)
    assert all(s.mode == CommandState.TELEOP for s in driven.since_mark)
    table.append(driven.row("one wrench sample of 500 N", "goes on", "-"))


def spike_once():
    left = [500.0]

    def apply(message):
        message.wrench.force.z = left.pop() if left else 0.0
        return [message]

    return apply


def test_a_blocked_arm_is_not_pushed(cell, driven, table):
    cell.follows = False
    blocked = cell.pose.copy()
    cell.twist = lambda t: np.array([0.0, 0.2, 0.0, 0.0, 0.0, 0.0])
    cell.wait(lambda: cell.mode == CommandState.FAULT and cell.at_rest(), "the fault")
    assert "blocked or pushed" in cell.states[-1].text
    p = cell.states[-1].commanded_pose.position
    assert np.linalg.norm(blocked[:3] - [p.x, p.y, p.z]) < 0.01, "the command pushes on"
    did = f"{driven.reaction()}, command taken back to the arm"
    cell.follows = True
    table.append(driven.row("arm blocked", did, cell.resume()))
