"""The simulated robot as a process: pushed by a force, and killed while it makes the clock."""

import signal

import pytest
from fault_rows import Watch
from geometry_msgs.msg import WrenchStamped

from dp_msgs.msg import CommandState
from dp_ros import qos

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
    push.wrench.force.x = -80.0

    def fault():
        pushes.publish(push)
        return cell.mode == CommandState.FAULT and cell.at_rest()

    cell.wait(fault, "the fault")
    assert "contact" in cell.states[-1].text or "blocked or pushed" in cell.states[-1].text
    did = driven.reaction()
    cell.pause(0.5)  # the push ends with its messages
    table.append(driven.row("simulated arm pushed with 80 N", did, cell.resume()))


def test_without_the_simulator_there_is_no_time_and_no_command(cell, simulator, driven, table):
    simulator.send(signal.SIGKILL)
    cell.wait_real(0.3)
    sent = len(cell.targets)
    cell.wait_real(0.5)
    assert len(cell.targets) == sent
    row = driven.row("simulator killed (it makes the clock)", "no time, no command", "restart: FAULT, resume, TELEOP")
    cell.twist = None
    simulator.start()
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault of a clock that went back", 30.0)
    assert "clock went back" in cell.states[-1].text
    cell.wait(cell.at_rest, "rest")
    again = Watch(cell)
    cell.resume()
    again.judge()
    table.append(row)
