"""`dp bench control` as a command."""

import json

import pytest
from dp_bringup.cli import main
from dp_bringup.commands import bench


def test_fault_episodes_alone_leave_the_other_figures_empty(tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["--parts", "faults", "--episodes", "3", "--workers", "1", "--out", str(out)]
    assert main(["bench", "control", *arguments, "--json", str(tmp_path / "bench.json")]) == 0
    data = json.loads((tmp_path / "bench.json").read_text())
    assert set(data) == {"command", "versions", "machine", "rows", "summary"} and data["command"] == "bench control"
    assert data["summary"] == {
        "jitter_p99_ratio": None, "jerk_ratio": None, "velocity_step_ratio": None, "limit_violations": 0,
    }  # fmt: skip
    assert data["rows"][0]["episodes"] == 3 and data["rows"][0]["cycles"] > 0
    assert "limit violations" in (out / "table.md").read_text()
    assert "jitter_p99_ratio: not measured" in capsys.readouterr().out


def test_a_violated_limit_is_a_result_below_expectation(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_run_faults", lambda args, out: ([], {"limit_violations": 2}))
    assert main(["bench", "control", "--parts", "faults", "--out", str(tmp_path / "out")]) == 1


def test_tracking_alone_gives_both_ratios(tmp_path):
    out = tmp_path / "out"
    assert main(["bench", "control", "--parts", "tracking", "--motions", "1", "--out", str(out)]) == 0
    summary = json.loads((out / "results.json").read_text())["summary"]
    assert summary["jerk_ratio"] >= 5 and summary["velocity_step_ratio"] >= 5
    assert summary["jitter_p99_ratio"] is None and summary["limit_violations"] is None
    assert (out / "control_tracking.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--parts", "speed"], "jitter, tracking, faults"),
        (["--parts", ""], "jitter, tracking, faults"),
        (["--seconds", "0"], "--seconds 0"),
        (["--policy", "huge"], "paper, small"),
        (["--parts", "tracking", "--task", "juggle"], "place"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(arguments, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "control", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error
