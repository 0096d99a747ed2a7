"""The simulated robot as a process: pushed by a force, and killed while it makes the clock."""

import signal

import pytest
from fault_rows import Watch
from geometry_msgs.msg import WrenchStamped

from dp_msgs.msg import CommandState
from dp_ros import qos

# Above 45 N the torques of the wrist saturate, and a push throws the arm about.
SAFETY = {"force_limit_N": 20.0}
CELL = {"clock": "followed", "sends": ("twist", "engaged")}


@pytest.fixture(scope="module")
def simulator(start_node, cell_file):
    return start_node("dp_sim.node", cell=cell_file, task="place", seed=1)


@pytest.fixture
def driven(simulator, cell):
    """The simulated arm is driven to and fro, and watched."""
    watch = Watch(cell)
    cell.drive()
    watch.mark()
    return watch


@pytest.fixture(scope="module")
def control(simulator, control):
    return control


def test_a_pushed_arm_yields_and_goes_on_when_it_is_free(cell, driven, table):
    pushes = cell.node.create_publisher(WrenchStamped, "sim/push", qos.COMMAND_OUT)
    cell.wait(lambda: pushes.get_subscription_count() > 0, "the simulator's ear")
    push = WrenchStamped()
    push.header.frame_id = cell.contract.base_frame
    push.wrench.force.x = -30.0

    def fault():
        pushes.publish(push)
        return cell.mode == CommandState.FAULT and cell.at_rest()

    cell.wait(fault, "the fault")
    assert "contact: force 30" in cell.states[-1].text, cell.states[-1].text
    did = driven.reaction()
    cell.pause(0.5)  # the push ends with its messages
    table.append(driven.row("simulated arm pushed with 30 N (limit 20 N)", did, cell.resume()))


def test_without_the_simulator_there_is_no_time_and_no_command(cell, simulator, driven, table):
    simulator.send(signal.SIGKILL)
    try:
        cell.wait_real(1.0)  # what is on its way arrives
        sent = len(cell.targets)
        cell.wait_real(0.5)
        assert len(cell.targets) == sent
        how = "restart: FAULT, resume, TELEOP"
        row = driven.row("simulator killed (it makes the clock)", "no time, no command", how)
        cell.twist = None
    finally:
        simulator.start()  # without it all other tests of this file would fail
    # The new clock begins at zero. One that is first heard when it shows the time of the old, or a little more, has not
    # gone back: then the input ends the mode, or a pose that is too old, or the new arm, which starts elsewhere.
    cell.wait(lambda: cell.mode in (CommandState.FAULT, CommandState.HOLD), "the end of the mode", 60.0)
    text = cell.states[-1].text
    reasons = ("clock went back", "robot/ee_pose is", "from its command")
    assert cell.mode == CommandState.HOLD or any(reason in text for reason in reasons), text
    cell.wait(cell.at_rest, "rest")
    again = Watch(cell)
    cell.drive()
    again.judge()
    table.append(row)
