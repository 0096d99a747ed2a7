import json

from dp_bringup.delivery import count_delivery, messages_lost


def write(folder, streams):
    folder.mkdir()
    (folder / "episode.json").write_text(json.dumps({"streams": streams}))
    return folder


def test_counts_of_both_ends_are_added_up(tmp_path):
    a = write(tmp_path / "a", {"x": {"received": 9, "published": 10, "lost": 1, "dropped": 0, "missing_stamps": 1}})
    b = write(tmp_path / "b", {"x": {"received": 5, "published": None, "lost": 0, "dropped": 2}, "y": {"received": 0}})
    streams = count_delivery([a, b, tmp_path / "absent"])
    assert [(s.topic, s.published, s.received, s.lost, s.dropped) for s in streams] == [("x", 15, 14, 1, 2)]
    assert messages_lost(streams) == 3
