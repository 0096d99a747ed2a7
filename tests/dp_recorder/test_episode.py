import json

import pytest
from dp_recorder.episode import (
    NO_OUTCOME,
    EpisodeError,
    EpisodeRequest,
    create_episode_folder,
    find_episode,
    read_episode_file,
    set_outcome,
    write_episode_file,
)


def closed_episode(directory, task="place"):
    folder = create_episode_folder(directory, task)
    description = {**EpisodeRequest(directory, task, note="first").describe(folder.name, 5), "state": "closed"}
    write_episode_file(folder, description)
    return folder


def test_ids_count_up_and_are_never_given_twice(tmp_path):
    first = closed_episode(tmp_path)
    second = closed_episode(tmp_path, "stack the/cubes!")
    assert (first.name, second.name) == ("episode_0001_place", "episode_0002_stack-the-cubes")
    set_outcome(second, "discard")
    assert closed_episode(tmp_path).name == "episode_0003_place"
    assert create_episode_folder(tmp_path, "///").name == "episode_0004_untitled"


@pytest.mark.parametrize(
    ("note", "seed"), [("seed=7", 7), ("practice, seed: 12 left", 12), ("", None), ("reseed=3", None)]
)
def test_seed_is_found_in_the_note(tmp_path, note, seed):
    assert EpisodeRequest(tmp_path, "t", note=note).seed == seed


def test_labels_change_and_discarding_moves_there_and_back(tmp_path):
    folder = closed_episode(tmp_path)
    moved = set_outcome(folder, "discard", "bumped the table")
    assert moved == tmp_path / "discarded" / folder.name and not folder.exists()
    assert find_episode(tmp_path, folder.name) == moved
    assert set_outcome(moved, "success") == folder
    content = read_episode_file(folder)
    assert (content["outcome"], content["note"]) == ("success", "first; bumped the table")


def test_refusals_name_what_is_wrong(tmp_path):
    folder = closed_episode(tmp_path)
    with pytest.raises(EpisodeError, match="'great' is none of unlabelled, success, failure, discard"):
        set_outcome(folder, "great")
    for name in ("episode_0009_place", "", "..", "../" + tmp_path.name):
        with pytest.raises(EpisodeError, match="no episode"):
            find_episode(tmp_path, name)
    description = {**read_episode_file(folder), "state": "recording"}
    write_episode_file(folder, description)
    with pytest.raises(EpisodeError, match="is not closed"):
        set_outcome(folder, "success")
    (folder / "episode.json").write_text("{")
    with pytest.raises(EpisodeError, match="not valid JSON"):
        read_episode_file(folder)
    with pytest.raises(EpisodeError, match="is not an episode"):
        read_episode_file(tmp_path)


def test_the_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    folder = closed_episode(tmp_path)
    before = (folder / "episode.json").read_text()
    monkeypatch.setattr("os.fsync", lambda fd: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        write_episode_file(folder, {"id": "x"})
    assert (folder / "episode.json").read_text() == before
    json.loads(before)


def test_a_label_ends_the_doubt_that_there_was_none(tmp_path):
    first, second = closed_episode(tmp_path), closed_episode(tmp_path)
    for folder, reasons in ((first, [NO_OUTCOME]), (second, ["camera: gap", NO_OUTCOME])):
        write_episode_file(folder, {**read_episode_file(folder), "verdict": "suspect", "reasons": reasons})
    assert set_outcome(first, "unlabelled") == first
    assert read_episode_file(first)["verdict"] == "suspect"
    set_outcome(first, "failure")
    set_outcome(second, "success")
    assert (read_episode_file(first)["verdict"], read_episode_file(first)["reasons"]) == ("good", [])
    assert (read_episode_file(second)["verdict"], read_episode_file(second)["reasons"]) == ("suspect", ["camera: gap"])


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\x00", "not valid JSON"), (b"[]", "no description of an episode"), (b"{}", "is not closed yet")],
)
def test_a_damaged_description_is_named_and_left_alone(tmp_path, content, message):
    folder = closed_episode(tmp_path)
    (folder / "episode.json").write_bytes(content)
    with pytest.raises(EpisodeError, match=message):
        set_outcome(folder, "success", "note")
    assert (folder / "episode.json").read_bytes() == content
