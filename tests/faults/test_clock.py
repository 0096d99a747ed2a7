"""A machine whose clock is set while the arm moves: the loop is paced on, stamps jump in control and in its peers."""

import struct
from pathlib import Path

import pytest
from fault_rows import Watch

from dp_msgs.msg import CommandState

SCRIPT = str(Path(__file__).with_name("control_with_settable_clock.py"))


@pytest.fixture(scope="module")
def offset_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("clock") / "offset"
    path.write_bytes(struct.pack("q", 0))
    return path


@pytest.fixture(scope="module")
def control_command(offset_file):
    return SCRIPT, offset_file


@pytest.fixture
def set_clock(cell, offset_file):
    """Moves the clocks of control and of the rest of the cell by some seconds."""

    def step(seconds):
        cell.offset_ns += round(1e9 * seconds)
        with offset_file.open("r+b") as file:
            file.write(struct.pack("q", cell.offset_ns))

    return step


@pytest.mark.parametrize(("jump_s", "word"), [(5.0, "jumped ahead by 5.0"), (-5.0, "went back by 5.0")])
def test_a_clock_that_jumps_is_a_fault(cell, driven, table, set_clock, jump_s, word):
    driven.clock_step_ns = round(1e9 * jump_s)
    set_clock(jump_s)
    cell.wait(lambda: cell.mode == CommandState.FAULT, "the fault")
    assert word in cell.states[-1].text or "in the future" in cell.states[-1].text, cell.states[-1].text
    cell.wait(cell.at_rest, "rest")
    direction = "forward" if jump_s > 0 else "back"
    table.append(driven.row(f"clock jumps {direction} by 5 s", "FAULT at once, brakes", cell.resume()))


@pytest.mark.parametrize("jump_s", [0.053, -0.053])
def test_a_small_step_of_the_clock_is_no_fault_and_the_plan_never_goes_back(cell, planned, table, set_clock, jump_s):
    """Under the tolerance of 0.1 s: the plan waits for the time to come back, or is caught up within the limits."""
    for _ in range(4):
        planned.clock_step_ns = round(1e9 * jump_s)
        set_clock(jump_s)
        cell.wait_real(0.6)
        modes = {s.mode for s in planned.since_mark}
        if modes == {CommandState.POLICY} or planned.late_s() < 0.1:
            break
        cell.heal()  # this process or control was late, which is a fault of its own
        cell.stop()
        planned = Watch(cell)
        cell.begin_policy()
        planned.mark()
    assert modes == {CommandState.POLICY}, cell.states[-1].text
    table.append(planned.row(f"clock steps by {1000 * jump_s:+.0f} ms during a policy", "goes on", "-"))
