"""`dp bag`: what each action prints, writes and returns."""

import importlib.util
import json
from pathlib import Path

import pytest
from dp_bringup.cli import main
from dp_bringup.commands import bag as command
from dp_bringup.commands.bag import ACTIONS
from dp_recorder.bag_tools import listing
from dp_recorder.episode import OUTCOMES

_SPEC = importlib.util.spec_from_file_location(
    "synthetic_episodes", Path(__file__).resolve().parents[1] / "dp_dataset" / "conftest.py"
)
_EPISODES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EPISODES)
contract, cell, record = _EPISODES.contract, _EPISODES.cell, _EPISODES.record


@pytest.fixture
def bags(record, tmp_path):
    """Two episodes, of which the second was cut off."""
    first, second = (record(tmp_path / "bags", seconds=seconds) for seconds in (1.0, 1.2))
    path = next(second.folder.glob("*.mcap"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (second.folder / "metadata.yaml").unlink()
    described = json.loads((second.folder / "episode.json").read_text())
    (second.folder / "episode.json").write_text(json.dumps(described | {"state": "recording", "verdict": ""}))
    assert first.folder.name == "episode_0001_place"
    return tmp_path / "bags"


@pytest.fixture
def dp(capsys):
    """Runs `dp bag ...`; returns exit status, output and error output."""

    def run(*arguments):
        status = main(["bag", *map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_explains_itself(action, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bag", action, "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"  dp bag {action} " in text.split("examples:")[1]
    assert action in ("ls", "info") or "Exit status: 0 " in text


def test_choices_are_those_of_the_tools():
    """The parser must not import the tools, so it names their choices itself."""
    source = Path(command.__file__).read_text()
    for choices in (OUTCOMES, listing.STATES, listing.SORT_KEYS):
        assert all(f'"{choice}"' in source for choice in choices)


def test_ls(dp, bags, tmp_path):
    status, out, _ = dp("ls", bags, "--json", tmp_path / "ls.json")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[:3]] == [
        ["id", "task"],
        ["episode_0001_place", "place"],
        ["episode_0002_place", "place"],
    ]
    assert "killed" in out.splitlines()[2] and "2 of 2 episodes" in out and "dp bag repair" in out
    written = json.loads((tmp_path / "ls.json").read_text())
    assert [row["state"] for row in written["rows"]] == ["closed", "killed"]
    assert written["summary"]["episodes"] == 2
    assert "1 of 2 episodes" in dp("ls", bags, "--verdict", "good")[1]
    assert dp("ls", tmp_path / "nowhere")[0] == 2


def test_info(dp, bags, tmp_path):
    status, out, _ = dp("info", bags / "episode_0001_place", "--json", tmp_path / "info.json", "--types")
    assert status == 0
    assert "contract: sim_franka (" in out and "span: 0.990 s" in out and "RIHS01_" in out
    line = next(line for line in out.splitlines() if line.startswith("  /robot/ee_pose "))
    assert line.split()[1:5] == ["geometry_msgs/msg/PoseStamped", "100", "100.00", "Hz"]
    rows = {row["topic"]: row for row in json.loads((tmp_path / "info.json").read_text())["rows"]}
    assert rows["/robot/ee_pose"]["messages"] == 100


def test_check(dp, bags, tmp_path):
    status, out, _ = dp("check", bags / "episode_0001_place")
    assert status == 0 and "1 of 1 bags passed" in out and "/camera/front/color/image_raw" in out
    status, out, _ = dp("check", bags, "--brief", "--json", tmp_path / "check.json")
    assert status == 1
    assert "episode_0001_place: passed" not in out
    assert "failed: " in out and "episode_0002_place_0.mcap" in out and "see dp bag repair" in out
    rows = json.loads((tmp_path / "check.json").read_text())["rows"]
    assert [row["passed"] for row in rows] == [True, False]
    assert dp("check", bags / "episode_0001_place", "--cell", "nonsense")[0] == 2


def test_repair(dp, bags):
    status, out, _ = dp("repair", bags, "--dry-run")
    assert status == 1 and "1 intact, 1 needs repair" in out
    status, out, _ = dp("repair", bags)
    assert status == 0 and "1 intact, 1 repaired" in out
    assert "lost: recorder was killed; at most 1." in out and ".mcap.orig" in out
    status, out, _ = dp("repair", bags)
    assert (status, out) == (0, "2 intact\n")


def test_one_bag_that_cannot_be_treated_does_not_keep_the_others(dp, bags):
    (bags / "episode_0002_place" / "second.mcap").touch()
    status, out, err = dp("repair", bags)
    assert status == 1 and "1 intact" in out and "holds 2 MCAP files" in err
    assert dp("repair", bags / "episode_0002_place")[0] == 2


def test_label(dp, bags, tmp_path):
    first = bags / "episode_0001_place"
    assert dp("label", first, "--outcome", "failure", "--note", "too slow")[0] == 0
    assert json.loads((first / "episode.json").read_text())["outcome"] == "failure"
    table = tmp_path / "labels.csv"
    table.write_text("id,outcome\nepisode_0001_place,discard\n")
    assert dp("label", bags, "--csv", table)[0] == 0
    assert (bags / "discarded" / "episode_0001_place").is_dir()
    table.write_text("id,outcome\nepisode_0009_place,discard\n")
    status, _, err = dp("label", bags, "--csv", table)
    assert status == 2 and "names episode_0009_place, not found in" in err
    assert dp("label", bags)[0] == 2


def test_trim(dp, bags, tmp_path):
    source = bags / "episode_0001_place"
    status, out, _ = dp("trim", source, "--start", 0.2, "--end", -0.2, "--out", tmp_path / "cut")
    assert status == 0 and "0.20 s to 0.79 s" in out
    assert dp("check", tmp_path / "cut")[0] == 0
    for wrong in ([], ["--auto", "--start", 1], ["--auto", "--in-place", "--out", tmp_path]):
        assert dp("trim", source, *wrong)[0] == 2


def test_thumb(dp, bags, tmp_path):
    status, out, _ = dp("thumb", bags, "--out", tmp_path / "overview", "--times", 3)
    assert status == 0 and out.count("2 cameras") == 2
    names = sorted(path.name for path in (tmp_path / "overview").iterdir())
    expected = [f"episode_000{number}_place.{ending}" for number in (1, 2) for ending in ("mp4", "png")]
    assert names == expected
    assert dp("thumb", bags, "--times", 0)[0] == 2


def test_play(dp, bags, tmp_path):
    source = bags / "episode_0001_place"
    options = ["--namespace", "bag_command_test", "--rate", 20, "--json", tmp_path / "play.json"]
    status, out, _ = dp("play", source, *options, "--topics", "/robot/.*")
    assert status == 0 and "      100 /bag_command_test/robot/ee_pose" in out
    (row,) = json.loads((tmp_path / "play.json").read_text())["rows"]
    assert row["published"]["/bag_command_test/robot/joint_states"] == 100
    assert "robot/target_pose" not in str(row["published"])
    status, _, err = dp("play", source, "--topics", "/robot/nothing")
    assert status == 2 and "no topic /robot/nothing in the bag" in err
    assert dp("play", source, "--remap", "nonsense")[0] == 2
