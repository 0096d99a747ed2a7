import json
import subprocess
import sys
from pathlib import Path

import pytest
from dp_dataset.bag_reader import BagError
from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.labelling import Label, label_episode, read_labels
from dp_recorder.bag_tools.listing import list_bag, select
from dp_recorder.episode import EpisodeError

from .conftest import write_poses


@pytest.fixture
def episodes(tmp_path):
    """A closed, a killed and a foreign bag, and one deeper down."""
    for name in ("episode_0001_place", "episode_0002_place", "foreign", "deep/episode_0001_push"):
        write_poses(tmp_path / name, count=8)
        (tmp_path / name / "episode.json").unlink()
    closed = {"state": "closed", "outcome": "success", "verdict": "good", "note": "", "duration_s": 2.5}
    for name, task in (("episode_0001_place", "place"), ("deep/episode_0001_push", "push it")):
        folder = tmp_path / name
        (folder / "episode.json").write_text(json.dumps(closed | {"id": folder.name, "task": task}))
    killed = tmp_path / "episode_0002_place"
    (killed / "metadata.yaml").unlink()
    (killed / "episode.json").write_text(json.dumps({"id": killed.name, "state": "recording", "task": "place"}))
    return tmp_path


def test_bags_are_found_at_any_depth(episodes):
    found = find_bags([episodes])
    names = ["deep/episode_0001_push", "episode_0001_place", "episode_0002_place", "foreign"]
    assert [str(folder.relative_to(episodes)) for folder in found] == names
    (episodes / "discarded").mkdir()
    (episodes / "foreign").rename(episodes / "discarded" / "foreign")
    assert [folder.name for folder in find_bags([episodes])] == [Path(name).name for name in names[:3]]
    assert len(find_bags([episodes], discarded=True)) == 4
    assert len(find_bags([episodes / "discarded"])) == 1
    (episodes / "discarded" / "foreign").rename(episodes / "foreign")
    again = find_bags([episodes / "foreign" / "foreign_0.mcap", episodes / "foreign", episodes / "deep"])
    assert [folder.name for folder in again] == ["foreign", "episode_0001_push"]
    (episodes / "empty").mkdir()
    for place, message in (("empty", "no bags in"), ("absent", "neither a folder nor")):
        with pytest.raises(BagError, match=message):
            find_bags([episodes / place])


def test_states_sizes_and_filters(episodes):
    listed = [list_bag(folder) for folder in find_bags([episodes])]
    assert {bag.folder.name: bag.state for bag in listed} == {
        "episode_0001_push": "closed",
        "episode_0001_place": "closed",
        "episode_0002_place": "killed",
        "foreign": "foreign",
    }
    foreign = next(bag for bag in listed if bag.state == "foreign")
    assert foreign.size_bytes == (foreign.folder / "foreign_0.mcap").stat().st_size
    assert foreign.duration_s == pytest.approx(0.7)  # of metadata.yaml: 8 messages at 10 Hz
    assert [bag.id for bag in select(listed, outcomes=["success"], task="PUSH")] == ["episode_0001_push"]
    assert [bag.id for bag in select(listed, states=["killed"])] == ["episode_0002_place"]
    assert len(select(listed)) == 4


def test_a_whole_file_without_metadata_was_not_killed(tmp_path):
    write_poses(tmp_path / "whole", count=8)
    for name in ("episode.json", "metadata.yaml"):
        (tmp_path / "whole" / name).unlink()
    assert list_bag(tmp_path / "whole").state == "foreign"
    assert list_bag(tmp_path / "whole" / "whole_0.mcap") == list_bag(tmp_path / "whole")
    path = tmp_path / "whole" / "whole_0.mcap"
    path.write_bytes(path.read_bytes()[:-1])
    assert list_bag(tmp_path / "whole").state == "killed"
    path.write_bytes(b"")
    assert list_bag(tmp_path / "whole").state == "killed"


def test_an_episode_that_is_being_written_is_not_called_killed(episodes):
    path = episodes / "episode_0002_place" / "episode_0002_place_0.mcap"
    code = "import sys; f = open(sys.argv[1], 'ab'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"open\n"
        assert list_bag(path.parent).state == "recording"
        writer.communicate()
    assert list_bag(path.parent).state == "killed"


def test_labels_change_what_they_name_only(episodes):
    folder = episodes / "episode_0001_place"
    assert label_episode(folder, Label(note="looked fine", task="put it down")) == folder
    placed = label_episode(folder, Label(outcome="discard", note="no"))
    assert placed == episodes / "discarded" / "episode_0001_place"
    told = json.loads((placed / "episode.json").read_text())
    assert (told["outcome"], told["note"], told["task"]) == ("discard", "looked fine; no", "put it down")
    assert label_episode(placed, Label(outcome="failure")) == folder
    with pytest.raises(EpisodeError, match="is not closed: it is recording; see dp bag repair"):
        label_episode(episodes / "episode_0002_place", Label(outcome="success"))


def test_labels_from_a_table(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("id,outcome,note\nepisode_0001_place,failure,\nepisode_0002_place,,dropped it\n")
    assert read_labels(path) == {
        "episode_0001_place": Label(outcome="failure"),
        "episode_0002_place": Label(note="dropped it"),
    }
    for text, message in (
        ("id,outcom\na,b\n", "columns id, outcom; valid: id, outcome, note, task"),
        ("id,outcome\na,fine\n", "line 2: outcome 'fine' is none of"),
        ("id,outcome\na,success\na,failure\n", "line 3: id 'a' is empty or was given before"),
    ):
        path.write_text(text)
        with pytest.raises(EpisodeError, match=message):
            read_labels(path)
