import re

import pytest
from dp_bringup.operator_desk.line_log import LineLog
from dp_bringup.operator_desk.panel import DeskView, clock_text, render
from dp_bringup.operator_desk.style import display_width, shorten, shorten_middle
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_msgs.msg import EpisodeState, StreamState

GIB = 2**30
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def stream(topic, **changes):
    values = {"rate_hz": 29.97, "expected_rate_hz": 30.0, "jitter_s": 0.0012, "delay_s": 0.041, "max_gap_s": 0.067}
    values["age_s"] = 0.05
    return StreamState(topic=topic, required=True, received=100, **{**values, **changes})


def state(**changes):
    values = {
        "state": EpisodeState.RECORDING, "episode_id": "episode_0003_place", "task": "place", "duration_s": 67.3,
        "plan_number": 3, "plan_length": 20, "prompt": "Cube on the left mark.", "episodes_recorded": 2,
        "free_bytes": 100 * GIB, "written_bytes_per_s": 26e6, "queue_share": 0.02,
        "streams": [stream("/camera/front/color/image_raw"), stream("/camera/wrist/color/image_raw")],
    }  # fmt: skip
    return EpisodeState(**{**values, **changes})


def plain(view, columns=80, rows=30):
    return [ANSI.sub("", line) for line in render(view, columns, rows)]


def text(view, **size):
    return "\n".join(plain(view, **size))


def test_recording_shows_time_plan_streams_and_disk():
    shown = text(DeskView("fr3_crisp", state(), control="TELEOP", device="SpaceMouse Wireless (hid)"))
    assert "fr3_crisp  place  kept 2" in shown and "RECORDING 1:07.3" in shown
    assert "item 3 of 20" in shown and "arm TELEOP" in shown and "SpaceMouse Wireless (hid)" in shown
    row = next(line for line in shown.splitlines() if "camera/front" in line)
    assert row.split() == ["+", "camera/front/color/image_raw", "30.0", "30", "1.2ms", "41ms", "0.07s", "0.05s", "0"]
    # 100 GiB at 26 MB/s are 68.8 minutes.
    assert "disk 100.0 GiB free, 26.0 MB/s, 69 min left, queue 2 %" in shown
    assert "Cube on the left mark." not in shown, "while recording nobody moves objects"


def test_between_episodes_prompt_and_verdict_are_shown_worst_first():
    after = state(
        state=EpisodeState.RESET, countdown_s=7.4, outcome="failure", verdict="suspect",
        path="/data/episode_0002_place", reasons=["camera/front: gap of 0.3 s", "b", "c", "d"],
    )  # fmt: skip
    shown = text(DeskView("cell", after))
    assert "RESET 7 s" in shown and "> Cube on the left mark." in shown
    assert "last episode_0002_place: failure, suspect" in shown
    assert shown.index("gap of 0.3 s") < shown.index("- b") and "- and 1 more" in shown and "- d" not in shown


def test_problems_are_marked_and_coloured():
    bad = state(streams=[stream("/camera/front/color/image_raw", problem="5.0 Hz"), stream("/robot/ee_pose", lost=3)])
    lines = render(DeskView("cell", bad), 80, 30)
    front = next(line for line in lines if "camera/front" in line)
    pose = next(line for line in lines if "ee_pose" in line)
    assert "\x1b[31" in front and ANSI.sub("", front).startswith("! ")
    assert "\x1b[33" in pose and ANSI.sub("", pose).split()[-1] == "3"
    uncoloured = render(DeskView("cell", bad), 80, 30, colour=False)
    assert not any("\x1b" in line for line in uncoloured)


def test_warnings_messages_and_questions_are_shown():
    view = DeskView("cell", state(warnings=["/camera/front: 2 messages lost"]), message="no", asks_to_quit=True)
    shown = text(view)
    assert "! /camera/front: 2 messages lost" in shown and "q again" in shown
    assert "start: count-down" in text(DeskView("cell", state(), shows_help=True))
    assert "RECORDER SILENT 5 s" in text(DeskView("cell", state(), silent_s=5.0))
    assert "waiting for the recorder" in text(DeskView("cell"))


def test_on_a_low_terminal_streams_that_are_well_give_way():
    many = [stream(f"/robot/stream_{index}") for index in range(20)]
    many[17] = stream("/robot/stream_17", problem="silent")
    lines = plain(DeskView("cell", state(streams=many)), rows=16)
    assert len(lines) <= 16 and any("stream_17" in line for line in lines) and any("more" in line for line in lines)
    assert "[y] success" in lines[-1]


def test_what_others_send_cannot_move_the_cursor():
    shown = render(DeskView("cell", state(prompt="", text="\x1b[2J\x07gone", task="a\nb")), 80, 30)
    assert not any(re.search(r"[\x00-\x1a\x1c-\x1f]", line) for line in shown)
    assert not any("\x1b[2J" in line for line in shown)


@settings(deadline=None)
@given(
    st.integers(20, 200), st.integers(5, 60), st.sampled_from(range(6)), st.text(max_size=200),
    st.lists(st.text(max_size=120), max_size=8), st.floats(-1e9, 1e9),
)  # fmt: skip
def test_lines_never_exceed_the_terminal(columns, rows, number, words, warnings, figure):
    times = dict.fromkeys(("delay_s", "age_s", "max_gap_s"), figure)
    streams = [
        stream("/a/" + words, problem=words, rate_hz=abs(figure), jitter_s=abs(figure), **times),
        stream("/robot/ee_pose", lost=10**9),
    ]
    shown = state(
        state=number, task=words, prompt=words, text=words, warnings=warnings, reasons=warnings, verdict="bad",
        path=words, outcome=words, streams=streams, countdown_s=abs(figure), duration_s=abs(figure),
    )  # fmt: skip
    view = DeskView(words, shown, message=words, control=words, device=words)
    lines = plain(view, columns, rows)
    assert len(lines) <= rows
    assert all(display_width(line) <= columns for line in lines), lines


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, "0:00.0"), (67.34, "1:07.3"), (3600.0, "60:00.0")])
def test_clock(seconds, expected):
    assert clock_text(seconds) == expected


def test_shortening():
    assert shorten("abcdef", 5) == "ab..." and shorten("abc", 3) == "abc"
    assert shorten("立方体を左に", 9) == "立方体..." and shorten("立方体", 6) == "立方体", "two columns each"
    name = shorten_middle("franka_robot_state_broadcaster/measured_joint_states", 34)
    assert len(name) == 34 and name.endswith("measured_joint_states")


def test_without_a_terminal_each_new_thing_is_one_line():
    log = LineLog()
    assert log.lines(state(state=EpisodeState.IDLE)) == ["READY, item 3 of 20", "  place: Cube on the left mark."]
    assert log.lines(state(state=EpisodeState.IDLE)) == []
    assert log.lines(state()) == ["RECORDING episode_0003_place, item 3 of 20"]
    assert log.lines(state(warnings=["/a: 1 lost"])) == ["warning: /a: 1 lost"]
    assert log.lines(state(warnings=["/a: 2 lost"])) == [], "the same warning with another figure"
    closed = state(
        state=EpisodeState.IDLE, outcome="success", verdict="suspect", reasons=["gap"], path="/d/e1", prompt=""
    )
    assert log.lines(closed) == ["READY, item 3 of 20", "e1: success, suspect; gap"]
