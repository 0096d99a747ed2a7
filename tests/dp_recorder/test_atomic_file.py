import os
from pathlib import Path

import pytest
from dp_recorder.atomic_file import write_text_atomically
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import EpisodeWriter


@pytest.fixture
def synced(monkeypatch):
    """Paths that were synced, in order, as the kernel knows the handles."""
    paths = []
    real = os.fsync

    def fsync(handle):
        paths.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        real(handle)

    monkeypatch.setattr("os.fsync", fsync)
    return paths


def test_content_is_synced_before_the_name(tmp_path, synced):
    path = tmp_path / "file"
    write_text_atomically(path, "one")
    write_text_atomically(path, "two")
    assert path.read_text() == "two"
    assert synced == [tmp_path / ".file.part", tmp_path] * 2


def test_a_failed_replacement_leaves_the_old_content_alone(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_text_atomically(path, "old")

    def failing(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", failing)
    with pytest.raises(OSError, match="No space left"):
        write_text_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_an_episode_are_synced_as_well_as_its_files(tmp_path, synced):
    new = tmp_path / "new" / "recordings"
    EpisodeWriter(EpisodeRequest(new, "place"), [], 0).close("discard", 0)
    assert {tmp_path, new.parent, new} <= set(synced), "folders that were made for the first episode too"
    synced.clear()
    writer = EpisodeWriter(EpisodeRequest(tmp_path, "place"), [], 0)
    folder = writer.folder
    assert {tmp_path, folder} <= set(synced), "the episode is there after a power cut, if empty"
    synced.clear()
    assert writer.close("discard", 0).folder == tmp_path / "discarded" / folder.name
    bag = folder / f"{folder.name}_0.mcap"
    assert synced.index(bag) < synced.index(folder), "metadata.yaml is named after the bag is on the disk"
    assert synced[-2:] == [tmp_path / "discarded", tmp_path]
