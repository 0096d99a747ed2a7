"""The order of an episode, against a session that only notes what it is asked for."""

from types import SimpleNamespace

import pytest
from dp_bringup.episodes import EpisodeResult, EpisodeRunner
from dp_bringup.session import SessionError
from dp_bringup.summary import describe_episodes

from dp_bringup import episodes
from dp_msgs.msg import CommandState, SceneState
from dp_msgs.srv import StopEpisode


class Recorded:
    """Stands for a session whose scene ends as it is told to, after a few polls."""

    def __init__(self, success=True, mode_after_start=None):
        self.calls = []
        self.success = success
        self.mode_after_start = mode_after_start
        self.scene = SceneState(condition_names=["near"], conditions_met=[success], condition_texts=["0.01 m"])
        self.command = SimpleNamespace(mode=CommandState.STOPPED, text="")
        self.polls = 0

    def set_mode(self, mode):
        self.calls.append(("mode", mode))
        self.command.mode = mode

    def reset(self, seed):
        self.calls.append(("reset", seed))

    def start_recording(self, task, operator, note):
        self.calls.append(("start", note))

    def stop_recording(self, outcome, note=""):
        self.calls.append(("stop", outcome))
        return "folder", "good"

    def abandon_recording(self):
        self.calls.append(("abandon",))

    def poll(self):
        self.polls += 1
        self.scene.header.stamp.nanosec += 10_000_000
        if self.mode_after_start is not None:
            self.command = SimpleNamespace(mode=self.mode_after_start, text="pushed")
        elif self.polls == 5:
            self.scene.success, self.scene.failure = self.success, not self.success
            self.scene.side = "left"


def test_demonstration_is_in_teleop_before_it_is_recorded():
    session = Recorded()
    result = EpisodeRunner(session, "place").demonstrate(7)
    assert session.calls == [
        ("mode", CommandState.STOPPED),
        ("reset", 7),
        ("mode", CommandState.TELEOP),
        ("start", "seed=7"),
        ("stop", StopEpisode.Request.SUCCESS),
        ("mode", CommandState.STOPPED),
    ]
    assert result.success and result.side == "left" and result.path == "folder" and result.reason == ""
    assert result.duration_s == pytest.approx(0.05)


def test_policy_starts_once_the_recorder_runs():
    session = Recorded(success=False)
    result = EpisodeRunner(session, "place").evaluate(9)
    assert [call[0] for call in session.calls] == ["mode", "reset", "start", "mode", "stop", "mode"]
    assert session.calls[3] == ("mode", CommandState.POLICY)
    assert session.calls[4] == ("stop", StopEpisode.Request.FAILURE)
    assert not result.success and result.reason == "0.01 m"


def test_fault_of_control_ends_the_episode_and_is_its_reason(monkeypatch):
    times = iter(range(10_000))
    monkeypatch.setattr(episodes.time, "monotonic", lambda: next(times))
    result = EpisodeRunner(Recorded(mode_after_start=CommandState.FAULT), "place").evaluate(1)
    assert not result.success and "FAULT: pushed" in result.reason


def test_standing_clock_is_an_error_and_the_recording_is_not_left_open(monkeypatch):
    session = Recorded()
    monkeypatch.setattr(session, "poll", lambda: None)
    times = iter(range(10_000))
    monkeypatch.setattr(episodes.time, "monotonic", lambda: next(times))
    with pytest.raises(SessionError, match="stood still"):
        EpisodeRunner(session, "place").demonstrate(1)
    assert session.calls[-1] == ("abandon",)


def test_the_printed_summary_says_what_success_means_and_how_fast_it_ran():
    rows = [
        EpisodeResult(
            7,
            "policy",
            True,
            0,
            "left",
            8.0,
            9.0,
            driving_wall_s=2.0,
            conditions={"a": "cube to target 0.004 m (<= 0.025)"},
        ),
        EpisodeResult(8, "policy", False, 1, "", 4.0, 9.0, driving_wall_s=2.0, reason="touched the obstacle"),
    ]
    text = describe_episodes(rows)
    assert "seed 8: failed: touched the obstacle" in text
    assert "success 1/2 = 50%" in text and "collisions in 50%; 3.0 x real time" in text
    assert "cube to target 0.004 m (<= 0.025)" in text
