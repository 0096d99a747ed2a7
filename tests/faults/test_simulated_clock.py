"""A simulated clock (/clock) that jumps while the arm moves; the test itself publishes it."""

from dp_msgs.msg import CommandState

CELL = {"clock": "own"}


def test_a_simulated_clock_that_jumps_back_is_a_fault(cell, driven, table):
    cell.simulated_ns -= 5_003_000_000
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    assert "went back by 5.0" in cell.states[-1].text
    cell.wait(cell.at_rest, "rest")
    table.append(driven.row("/clock jumps back by 5 s", "FAULT at once, brakes", cell.resume()))


def test_a_simulated_clock_that_jumps_ahead_is_a_pause_of_the_loop(cell, driven, table):
    """Time has passed for everybody: the arm goes on from rest if the robot's state is as new, else it is a fault."""
    cell.simulated_ns += 5_003_000_000
    cell.wait_real(0.3)
    if cell.mode == CommandState.FAULT:
        assert "s old (limit" in cell.states[-1].text
        cell.resume()
    cell.drive()
    table.append(driven.row("/clock jumps ahead by 5 s", "from rest, or FAULT where its state is older", "TELEOP"))
