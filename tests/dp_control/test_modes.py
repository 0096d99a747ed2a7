"""The table of modes: what the documentation shows is what the code does."""

from pathlib import Path

import pytest
from dp_control.mode_machine import ModeMachine
from dp_control.modes import ALL, RUNNING, TRANSITIONS, Mode, Trigger, request_problem, resume_problem, table_rows

README = Path(__file__).parents[2] / "src" / "dp_control" / "README.md"


def test_the_table_in_the_documentation_is_the_one_in_the_code():
    assert "\n".join(table_rows()) in README.read_text()


def test_values_are_those_of_the_message():
    from dp_msgs.msg import CommandState

    assert {mode.name: mode.value for mode in Mode} == {name: getattr(CommandState, name) for name in Mode.__members__}


def test_every_mode_can_be_stopped_and_left():
    for mode in ALL:
        assert request_problem(mode, Mode.STOPPED) is None
        assert any(mode in row.sources and row.target != mode for row in TRANSITIONS)


def test_a_fault_is_entered_by_control_and_left_by_a_person_only():
    assert {row.trigger for row in TRANSITIONS if row.target == Mode.FAULT} == {Trigger.FAULT}
    leaving = {row.trigger for row in TRANSITIONS if Mode.FAULT in row.sources and row.target != Mode.FAULT}
    assert leaving == {Trigger.REQUEST, Trigger.RESUME}
    assert all(request_problem(Mode.FAULT, mode) is not None for mode in RUNNING)
    assert resume_problem(Mode.FAULT) is None and resume_problem(Mode.STOPPED) is None


def test_a_change_outside_the_table_is_a_programming_error():
    with pytest.raises(RuntimeError, match="no transition from STOPPED to TELEOP by takeover"):
        ModeMachine().enter(Mode.TELEOP, Trigger.TAKEOVER, 0)
