"""The goal tracker against a server whose answers the test gives, on a clock of its own."""

from dataclasses import dataclass, field

import pytest
from dp_control.grippers.goal_tracker import GoalTracker

STEP_NS = 20_000_000


class Answer:
    def __init__(self):
        self.value = None

    def done(self):
        return self.value is not None

    def result(self):
        return self.value


@dataclass
class Ended:
    status: str
    result: str = ""


@dataclass
class Handle:
    accepted: bool = True
    cancelled: bool = False
    ended: Answer = field(default_factory=Answer)

    def get_result_async(self):
        return self.ended

    def cancel_goal_async(self):
        assert not self.cancelled, "cancelled twice"
        self.cancelled = True


class Server:
    """Answers by ``behaviour``: a function of the goal's handle, called when it is sent."""

    name = "hand"

    def __init__(self):
        self.there, self.sent, self.handles, self.answers = True, [], [], []
        self.behaviour = lambda handle: None

    def ready(self):
        return self.there

    def send(self, goal):
        answer, handle = Answer(), Handle()
        self.sent.append(goal)
        self.handles.append(handle)
        self.answers.append(answer)
        answer.value = handle
        self.behaviour(handle)
        return answer

    def judge(self, goal, status, result):
        return "" if status == "ok" else f"failed ({result})"


def succeed(handle):
    handle.ended.value = Ended("ok")


def fail(handle):
    handle.ended.value = Ended("aborted", "no reason")


def refuse(handle):
    handle.accepted = False


@pytest.fixture
def bench():
    server = Server()
    tracker, clock = GoalTracker(server), [0]

    def run(seconds):
        for _ in range(round(1e9 * seconds / STEP_NS)):
            clock[0] += STEP_NS
            tracker.step(clock[0])

    return server, tracker, run, clock


def test_a_goal_is_sent_once_and_not_again_when_reached(bench):
    server, tracker, run, _ = bench
    server.behaviour = succeed
    tracker.want("open")
    assert tracker.busy
    run(10)
    tracker.want("open")
    run(10)
    assert server.sent == ["open"] and not tracker.busy and tracker.problem == ""


def test_a_newer_goal_cancels_and_waits_for_the_end_of_the_old_one(bench):
    server, tracker, run, _ = bench
    tracker.want("close")
    run(0.1)
    tracker.want("open")
    run(0.5)
    assert server.sent == ["close"] and server.handles[0].cancelled, "two goals must never be in flight"
    server.handles[0].ended.value = Ended("cancelled")
    server.behaviour = succeed
    run(0.1)
    assert server.sent == ["close", "open"] and tracker.problem == "" and not tracker.busy


def test_the_first_goal_wanted_again_before_its_end_is_sent_again_only_after_a_cancellation(bench):
    server, tracker, run, _ = bench
    tracker.want("close")
    run(0.1)
    tracker.want("open")
    tracker.want("close")  # before anybody looked
    run(0.1)
    assert server.sent == ["close"] and not server.handles[0].cancelled


def test_a_server_that_does_not_end_a_cancelled_goal_gets_the_new_one_after_2_s(bench):
    server, tracker, run, _ = bench
    tracker.want("close")
    run(0.1)
    tracker.want("open")
    run(1.9)
    assert server.sent == ["close"]
    run(0.3)
    assert server.sent == ["close", "open"]


@pytest.mark.parametrize("behaviour", [refuse, fail])
def test_failures_are_repeated_with_back_off_and_told_after_the_third(bench, behaviour):
    server, tracker, run, _ = bench
    server.behaviour = behaviour
    tracker.want("close")
    run(0.6)  # attempts at 0 and 0.25 s
    assert len(server.sent) == 2 and tracker.problem == ""
    run(0.6)  # at 0.75 s
    assert len(server.sent) == 3 and "hand: close" in tracker.problem and "3 times" in tracker.problem
    run(58.8)  # at 1.75 s, then every 5 s: 11 until 56.75 s, within a few steps
    assert 14 <= len(server.sent) <= 15, "a gripper that refuses must not be flooded"
    server.behaviour = succeed
    run(5.2)
    assert tracker.problem == "" and not tracker.busy


def test_a_new_wish_ends_the_back_off_of_the_old_one(bench):
    server, tracker, run, _ = bench
    server.behaviour = fail
    tracker.want("close")
    run(10)
    server.behaviour = succeed
    tracker.want("open")
    run(0.1)
    assert server.sent[-1] == "open" and tracker.problem == ""


def test_a_missing_server_is_told_at_once_and_used_when_it_comes(bench):
    server, tracker, run, _ = bench
    server.there, server.behaviour = False, succeed
    run(0.02)
    assert "hand is not there" in tracker.problem, "also before anything is wanted"
    tracker.want("open")
    run(60)
    assert server.sent == []
    server.there = True
    run(0.1)
    assert server.sent == ["open"] and tracker.problem == ""


def test_a_server_that_dies_with_a_goal_gets_it_again(bench):
    server, tracker, run, _ = bench
    tracker.want("close")
    run(1)
    server.there = False
    run(1)
    assert "not there" in tracker.problem
    server.there, server.behaviour = True, succeed
    run(0.1)
    assert server.sent == ["close", "close"] and tracker.problem == ""


def test_a_goal_without_an_answer_is_a_failure_after_5_s(bench):
    server, tracker, run, _ = bench
    send = server.send

    def deaf(goal):
        send(goal)
        return Answer()

    server.send = deaf
    tracker.want("close")
    run(4.9)
    assert len(server.sent) == 1
    run(20)
    assert 3 <= len(server.sent) <= 4 and "does not answer" in tracker.problem


def test_a_goal_that_takes_long_is_told_and_left_alone(bench):
    server, tracker, run, _ = bench
    tracker.want("close")
    run(12)
    assert "more than 10 s" in tracker.problem and not server.handles[0].cancelled
    server.handles[0].ended.value = Ended("ok")
    run(0.1)
    assert tracker.problem == "" and server.sent == ["close"]


@pytest.mark.parametrize("jump_ns", [3_600_000_000_000, -3_600_000_000_000])
def test_a_clock_that_jumps_is_not_time(bench, jump_ns):
    server, tracker, run, clock = bench
    tracker.want("close")
    run(0.1)
    clock[0] += jump_ns
    run(0.1)
    assert tracker.problem == "", "the goal has been running for 0.2 s, not for an hour"
    tracker.want("open")
    run(0.1)
    clock[0] += jump_ns
    run(1.0)
    assert server.sent == ["close"], "the cancelled goal still has a second to end"
    server.behaviour = succeed
    run(1.5)
    assert server.sent == ["close", "open"] and not tracker.busy
