import pytest
from dp_bringup.progress import Stage, StagePlan, bar, duration_text

from dp_bringup import progress


@pytest.mark.parametrize(("seconds", "text"), [(12, "12 s"), (89.6, "90 s"), (180, "3 min"), (9000, "2.5 h")])
def test_durations_read_well(seconds, text):
    assert duration_text(seconds) == text


def test_forecast_follows_the_pace_of_the_stages_so_far(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    plan = StagePlan([Stage("a", "do a", 60.0), Stage("b", "do b", 300.0)])
    plan.announce()
    assert "about 6 min in all" in capsys.readouterr().out
    plan.begin("a")
    assert "[1/2] do a; about 6 min left" in capsys.readouterr().out
    now[0] = 120.0
    assert plan.end("a") == 120.0
    plan.begin("b")
    assert "[2/2] do b; about 10 min left" in capsys.readouterr().out


def test_finished_stages_of_an_earlier_process_are_not_forecast(capsys):
    StagePlan([Stage("a", "do a", 60.0), Stage("b", "do b", 30.0)], done=["a"]).announce()
    text = capsys.readouterr().out
    assert "do a (done)" in text and "about 30 s in all" in text


def test_bar_counts_what_was_done_before():
    with bar(4, "record", "episode", initial=3) as shown:
        shown.update()
        assert shown.n == 4
