"""A simulated clock (/clock) that jumps while the arm moves; the test itself publishes it."""

import re

from dp_msgs.msg import CommandState

CELL = {"clock": "own"}


def test_a_simulated_clock_that_jumps_back_is_a_fault(cell, driven, table):
    cell.jump(-5.003)
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    back = re.search(r"went back by (\d+\.\d+) s", cell.states[-1].text)
    assert back and 4.5 < float(back[1]) < 5.1, cell.states[-1].text  # less by the ticks that control has missed
    cell.wait(cell.at_rest, "rest")
    table.append(driven.row("/clock jumps back by 5 s", "FAULT at once, brakes", cell.resume()))


def test_a_simulated_clock_that_jumps_ahead_is_a_pause_of_the_loop(cell, driven, table):
    """Time has passed for everybody: the arm goes on from rest if the robot's state is as new, else it is a fault."""
    cell.jump(5.003)
    cell.wait_real(0.3)
    if cell.mode == CommandState.FAULT:
        assert "s old (limit" in cell.states[-1].text
        cell.resume()
    cell.drive()
    table.append(driven.row("/clock jumps ahead by 5 s", "from rest, or FAULT where its state is older", "TELEOP"))
