import numpy as np
import pytest
import zarr
from dp_dataset.aligned import AlignedEpisode
from dp_dataset.store import CHUNK_ROWS, EpisodeEntry, StoreError, StoreWriter, open_store


def make_episode(steps: int, seed: int, cameras=("front", "wrist")) -> AlignedEpisode:
    rng = np.random.default_rng(seed)
    return AlignedEpisode(
        images={c: rng.integers(0, 256, (steps, 64, 64, 3), np.uint8) for c in cameras},
        proprioception=rng.normal(size=(steps, 10)).astype(np.float32),
        action=rng.normal(size=(steps, 10)).astype(np.float32),
        stamp_ns=np.arange(steps, dtype=np.int64) * 100_000_000,
        valid=rng.random(steps) > 0.1,
    )


def entry(name: str, steps: int) -> EpisodeEntry:
    return EpisodeEntry(name, name, "0" * 64, "success", "place", steps, steps)


def test_reads_back_what_was_written_across_chunk_borders(contract, tmp_path):
    lengths = [CHUNK_ROWS - 5, 3, 2 * CHUNK_ROWS + 7, 1]
    episodes = [make_episode(n, i) for i, n in enumerate(lengths)]
    writer = StoreWriter(tmp_path / "s.zarr", contract)
    for index, episode in enumerate(episodes):
        writer.append(episode, entry(f"e{index}", len(episode)))
    assert not (tmp_path / "s.zarr").exists(), "an unfinished store must not be visible"
    writer.finish()
    for in_memory in (False, True):
        store = open_store(tmp_path / "s.zarr", in_memory)
        assert len(store) == sum(lengths)
        assert store.episode_ends.tolist() == np.cumsum(lengths).tolist()
        for index, episode in enumerate(episodes):
            read = store.read_episode(index)
            for camera in episode.images:
                np.testing.assert_array_equal(read.images[camera], episode.images[camera])
            for name in ("proprioception", "action", "stamp_ns", "valid"):
                np.testing.assert_array_equal(getattr(read, name), getattr(episode, name))
    assert store.contract == contract
    assert [e.id for e in store.episodes] == ["e0", "e1", "e2", "e3"]


def test_statistics_ignore_invalid_rows(contract, tmp_path):
    episode = make_episode(50, 0)
    episode.action[~episode.valid] = 1e6
    writer = StoreWriter(tmp_path / "s.zarr", contract)
    writer.append(episode, entry("e", 50))
    writer.finish()
    statistics = open_store(tmp_path / "s.zarr").statistics["action"]
    rows = episode.action[episode.valid].astype(np.float64)
    np.testing.assert_allclose(statistics.maximum, rows.max(axis=0))
    np.testing.assert_allclose(statistics.mean, rows.mean(axis=0))
    np.testing.assert_allclose(statistics.std, rows.std(axis=0))


def test_layout_is_what_other_zarr_readers_expect(contract, tmp_path):
    writer = StoreWriter(tmp_path / "s.zarr", contract)
    writer.append(make_episode(10, 0), entry("e", 10))
    writer.finish()
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="r")
    assert group.metadata.zarr_format == 3
    shapes = {name: array.shape for name, array in group["data"].members(max_depth=2) if hasattr(array, "shape")}
    assert shapes == {
        "image/front": (10, 64, 64, 3),
        "image/wrist": (10, 64, 64, 3),
        "proprioception": (10, 10),
        "action": (10, 10),
        "stamp_ns": (10,),
        "valid": (10,),
    }
    assert group["meta/episode_ends"][:].tolist() == [10]
    assert group.attrs["rate_hz"] == 10.0


def test_a_failed_build_leaves_the_old_store(contract, tmp_path):
    path = tmp_path / "s.zarr"
    writer = StoreWriter(path, contract)
    writer.append(make_episode(10, 0), entry("old", 10))
    writer.finish()
    second = StoreWriter(path, contract)
    second.append(make_episode(10, 1), entry("new", 10))
    second.abandon()
    assert open_store(path).episodes[0].id == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_what_is_not_a_store_is_refused_by_name(contract, tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.zarr is not a finished dataset store"):
        open_store(tmp_path / "nothing.zarr")
    with pytest.raises(StoreError, match="no episode was added"):
        StoreWriter(tmp_path / "s.zarr", contract).finish()
    with pytest.raises(StoreError, match="has cameras front, expected front, wrist"):
        StoreWriter(tmp_path / "s.zarr", contract).append(make_episode(3, 0, ("front",)), entry("e", 3))
