"""A simulated clock (/clock) that jumps while the arm moves; the test itself publishes it."""

import pytest

from dp_msgs.msg import CommandState

CELL = {"clock": "own"}


@pytest.mark.parametrize(("jump_s", "word"), [(5.003, "s old (limit"), (-5.003, "went back by 5.0")])
def test_a_simulated_clock_that_jumps_is_a_fault(cell, driven, table, jump_s, word):
    cell.simulated_ns += round(1e9 * jump_s)
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    assert word in cell.states[-1].text
    cell.wait(cell.at_rest, "rest")
    direction = "forward" if jump_s > 0 else "back"
    table.append(driven.row(f"/clock jumps {direction} by 5 s", "FAULT at once, brakes", cell.resume()))
