"""A soak is judged by what was seen, and told whole."""

import errno
import json
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dp_bringup.cli import main
from dp_bringup.delivery import StreamDelivery
from dp_bringup.episodes import EpisodeResult
from dp_bringup.soak import command, operation, tables
from dp_bringup.soak.diagnostics_watch import INFERENCE, MODE, DiagnosticsWatch
from dp_bringup.soak.episode_audit import FIRST_CHUNK, EpisodeAudit, Hold
from dp_bringup.soak.operation import SoakRecord
from dp_bringup.soak.process_samples import ProcessSample
from dp_bringup.soak.verdict import judge, soak_figures, soak_rows, unexplained

START = Hold(0.0, 0.2, "POLICY", "no policy/chunk yet: holding", FIRST_CHUNK)
ODD = Hold(2.5, 0.4, "POLICY", "last action of the chunk reached and no newer chunk: holding", "")


def episode(seed=7, driving_wall_s=10.0, **audit):
    result = EpisodeResult(seed, "policy", True, 0, "left", 10.0, 12.0, driving_wall_s=driving_wall_s)
    fields = {"policy_s": 10.0, "chunks": 101, "deadlines": 100, "missed": (), "overdue": 3}
    fields |= {"cycles": 1000, "skipped": 2, "overruns": 1, "holds": (START,)}
    return result, EpisodeAudit(**(fields | audit))


def grown(mib_per_h, name="policy_node", pid=3, threads=lambda t: 20, files=lambda t: 40):
    return [
        ProcessSample(float(t), name, pid, 400.0 + mib_per_h * t / 3600.0, 300.0, None, threads(t), files(t), 0.2 * t)
        for t in range(0, 1801, 5)
    ]


UNWATCHED = [f"{what} of each process, second half" for what in ("memory", "threads", "open files")]


def record(*episodes, samples=None, **more):
    found = SoakRecord(list(episodes) or [episode()] * 20, samples=grown(2.0) if samples is None else samples, **more)
    found.operated_s = more.get("operated_s", 1800.0)
    return found


def broken(found):
    return [judgement.what for judgement in judge(soak_figures(found), 30.0) if not judgement.kept]


def test_a_run_in_order_keeps_all_limits():
    found = record(streams={"a": StreamDelivery("a", published=50, received=50)})
    assert broken(found) == []
    figures = soak_figures(found)
    assert figures["deadlines"] == 2000 and figures["missed_deadline_share"] == 0.0
    assert figures["holds"] == {FIRST_CHUNK: 20} and figures["unexplained_holds"] == 0
    assert figures["memory_growth_mib_per_h"] == pytest.approx(2.0) and figures["policy_minutes"] == pytest.approx(
        200 / 60
    )
    assert figures["messages_lost"] == 0 and figures["after_committed_actions"] == 60
    assert [figures[f"control_{what}"] for what in ("cycles", "skipped", "overruns")] == [20000, 40, 20]


@pytest.mark.parametrize(
    ("found", "limit"),
    [
        # 25 MiB/h are 6.2 MiB in the second half of 30 minutes; 8 in a run of 4 minutes would be no growth yet.
        (record(samples=[*grown(2.0), *grown(25.0, "control_node", 4)]), "memory of each process, second half"),
        (record(samples=[]), "unwatched"),
        # The sampler ended after 20 of 30 minutes.
        (record(samples=[s for s in grown(2.0) if s.t_s <= 1200.0]), "unwatched"),
        (record(samples=grown(2.0, threads=lambda t: 20 + t // 300)), "threads of each process, second half"),
        (record(samples=grown(2.0, files=lambda t: 40 + t // 100)), "open files of each process, second half"),
        # 2 of 2000 are 0.1 %: not below it.
        (record(*[episode()] * 19, episode(missed=(0.1, 0.2))), "missed deadlines"),
        (record(episode(deadlines=0)), "missed deadlines"),
        (record(episode(), episode(holds=(START, ODD))), "unexplained holds"),
        (record(interruptions=["seed 7: control refused"]), "episodes or processes that broke off"),
        (record(episode(driving_wall_s=10.5)), "real-time factor"),
        (record(operated_s=1799.0, ended_early="ended by Ctrl-C"), "duration"),
    ],
)
def test_each_limit_can_be_broken(found, limit):
    assert broken(found) == (UNWATCHED if limit == "unwatched" else [limit])


def test_fast_growth_that_is_small_in_all_is_none():
    short = record(samples=[s for s in grown(90.0) if s.t_s <= 300.0], operated_s=300.0)
    assert all(judgement.kept for judgement in judge(soak_figures(short), 5.0))
    assert soak_figures(record(samples=grown(25.0)))["growing_processes"] == ["policy_node"]


def test_a_file_opened_late_is_no_leak():
    found = record(samples=grown(2.0, files=lambda t: 40 + 2 * (t > 1345) + t % 2))
    assert broken(found) == [] and soak_figures(found)["file_growth"] == {}
    leak = soak_figures(record(samples=grown(2.0, files=lambda t: 40 + t // 100)))["file_growth"]
    assert leak == {"policy_node": 4}


def test_one_missed_of_two_thousand_is_within_the_limit():
    assert broken(record(*[episode()] * 19, episode(missed=(0.1,)))) == []


def test_what_has_no_reason_is_told_with_its_place():
    rows = soak_rows(record(episode(holds=(START, ODD)), interruptions=["seed 8: control refused"]))
    assert unexplained(rows) == [
        f"seed 7, 2.50 s: held for 0.40 s in POLICY: {ODD.text}",
        "broke off: seed 8: control refused",
    ]
    json.dumps(rows)


def diagnostics(chunks, inference_ms, **counters):
    ours = DiagnosticStatus(name=INFERENCE, level=DiagnosticStatus.OK)
    ours.values = [KeyValue(key="chunks", value=str(chunks)), KeyValue(key="inference_ms", value=str(inference_ms))]
    mode = DiagnosticStatus(name=MODE, level=DiagnosticStatus.WARN, message="POLICY: holding")
    mode.values = [KeyValue(key=key, value=str(value)) for key, value in {"mode": "POLICY", **counters}.items()]
    return DiagnosticArray(status=[ours, mode])


def test_counters_are_those_since_the_watch_began():
    watch = DiagnosticsWatch()
    for message in (diagnostics(500, 41.5), diagnostics(600, 60.5), diagnostics(700, 44.0, late=3)):
        watch.add(message)
    assert watch.counted(INFERENCE, "chunks") == 200
    assert watch.counted(MODE, "late") == 3 and watch.counted(MODE, "never") == 0
    assert watch.worst(INFERENCE, "inference_ms") == 60.5 and watch.worst(INFERENCE, "never") is None
    assert watch.warnings == {f"{MODE}: POLICY: holding": 3}


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (record(), 0),
        (record(episode(holds=(ODD,))), 1),
        (record(operated_s=60.0, ended_early="ended by Ctrl-C"), 130),
        (record(episode(holds=(ODD,)), operated_s=60.0, ended_early="ended by Ctrl-C"), 1),
        (SoakRecord(ended_early="ended by Ctrl-C"), 1),
    ],
)
def test_the_report_is_written_whatever_came_of_it(found, status, tmp_path, capsys):
    file = tmp_path / "soak.json"
    assert command.report(found, 30.0, tmp_path, file) == status
    data = json.loads(file.read_text())
    assert data["command"] == "bench soak" and data["summary"]["kept"] == (status == 0)
    assert {"age_p50_s", "age_p99_s", "missed_deadline_share", "unexplained_holds"} <= data["summary"].keys()
    assert (tmp_path / "soak_memory.png").is_file() and "missed deadlines" in (tmp_path / "table.md").read_text()
    assert ("kept all limits" in capsys.readouterr().out) == (status == 0)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere is no checkpoint"),
        (["nowhere", "--minutes", "0"], "--minutes 0"),
        (["policy", "--seed", "-1"], "--seed -1"),
        (["policy", "--task", "dance"], "no task 'dance'"),
        (["policy", "--cell", "moon"], "moon"),
    ],
)
def test_what_cannot_be_operated_is_refused_in_one_line(arguments, named, capsys, tmp_path, monkeypatch):
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "checkpoint.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "soak", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("dp: error:") and named in error and not (tmp_path / "runs").exists()


def test_figures_of_half_an_hour_are_kept_where_the_picture_fails(tmp_path, monkeypatch):
    def no_room(samples, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "plot_memory", no_room)
    with pytest.raises(OSError, match="No space"):
        command.report(record(), 30.0, tmp_path, tmp_path / "soak.json")
    assert json.loads((tmp_path / "soak.json").read_text())["summary"]["kept"]


def test_ctrl_c_leaves_what_there_was(monkeypatch, tmp_path):
    """The graph itself is not started: whatever raises, the record says how it ended."""

    class Interrupted:
        def __init__(self, folder):
            self.children = [SimpleNamespace(name="control_node", process=SimpleNamespace(pid=1))]

        def __enter__(self):
            return self

        def __exit__(self, *reason):
            self.left = True

        def start_graph(self, nodes):
            raise KeyboardInterrupt

    monkeypatch.setattr(operation, "ProcessGroup", Interrupted)
    found = SoakRecord([episode()])
    operation.operate(operation.SoakSettings(tmp_path, 1.0), tmp_path, found, lambda s, n: None)
    assert found.ended_early == "ended by Ctrl-C" and len(found.episodes) == 1
