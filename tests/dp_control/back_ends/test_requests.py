"""Resuming waits for the robot's own error recovery, however long that takes; over real DDS."""

import pytest
from dp_control.modes import Mode
from dp_control.requests import ModeRequests
from std_srvs.srv import Trigger


class SlowRobot:
    """A robot in error, whose recovery ends when the test says so."""

    def __init__(self):
        self.recovering, self.recoveries = False, 0

    def problem(self, t_ns):
        return "a reflex"

    def recover(self):
        self.recovering, self.recoveries = True, self.recoveries + 1
        return ""

    def close(self):
        pass


@pytest.fixture
def resume(bench):
    """The services beside a robot in error, asked to resume; gives requests, robot and the answer to come."""
    robot = SlowRobot()
    requests = ModeRequests(bench.control.node, robot)
    client = bench.robot.node.create_client(Trigger, "control/resume")
    bench.cycle(client.service_is_ready, "control/resume")
    answer = client.call_async(Trigger.Request())
    bench.cycle(lambda: robot.recovering, "the recovery to begin")
    return requests, robot, answer


def test_the_request_to_hold_comes_when_the_recovery_has_ended(resume, bench):
    requests, robot, _ = resume
    bench.run_for(0.5, lambda t_ns: None)
    assert requests.take() is None, "its patience must not run out while the robot recovers"
    robot.recovering = False
    taken = []
    bench.cycle(lambda: taken.append(requests.take()) or taken[-1] is not None, "the request")
    assert (taken[-1].mode, taken[-1].resume, robot.recoveries) == (Mode.HOLD, True, 1)


def test_who_asks_to_resume_twice_gets_it(resume, bench):
    requests, robot, _ = resume
    second = bench.robot.node.create_client(Trigger, "control/resume")
    bench.cycle(second.service_is_ready, "control/resume")
    second.call_async(Trigger.Request())
    bench.cycle(lambda: robot.recoveries == 2, "the second request")
    robot.recovering = False
    taken = []
    bench.cycle(lambda: taken.append(requests.take()) or len([r for r in taken if r]) == 2, "both requests")
    assert all(request.resume for request in taken if request)


def test_a_stop_during_the_recovery_is_not_undone_by_it(resume, bench):
    requests, robot, answer = resume
    requests.stop()
    assert requests.take().mode == Mode.STOPPED
    robot.recovering = False
    bench.cycle(answer.done, "the answer")
    assert not answer.result().success and "newer request" in answer.result().message
    assert requests.take() is None
