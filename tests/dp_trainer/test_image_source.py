from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from dp_dataset.store import StoreError
from dp_trainer.image_source import ChunkedImages, channel_statistics, gather_images, load_images, shuffle_windows

from dp_trainer import image_source

ROWS, CHUNK = 70, 8
CHUNK_BYTES = CHUNK * 4 * 5 * 3


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (ROWS, 4, 5, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stored(pixels: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> zarr.Array:
    folder = tmp_path_factory.mktemp("images") / "front"
    array = zarr.create_array(str(folder), shape=pixels.shape, chunks=(CHUNK, 4, 5, 3), dtype="uint8")
    array[:] = pixels
    return array


def test_disk_and_memory_give_the_same_images(pixels: np.ndarray, stored: zarr.Array) -> None:
    frames = np.array([[69, 0], [7, 8], [8, 8], [64, 63]])
    expected = torch.from_numpy(pixels[frames])
    torch.testing.assert_close(gather_images(ChunkedImages(stored), frames), expected)
    torch.testing.assert_close(gather_images(torch.from_numpy(pixels), frames), expected)


def test_a_damaged_chunk_is_named(pixels: np.ndarray, tmp_path: Path) -> None:
    array = zarr.create_array(str(tmp_path / "front"), shape=pixels.shape, chunks=(CHUNK, 4, 5, 3), dtype="uint8")
    array[:] = pixels
    (tmp_path / "front" / "c" / "2" / "0" / "0" / "0").write_bytes(b"rubbish")
    images = ChunkedImages(array)
    images.gather(np.array([15]))
    with pytest.raises(StoreError, match=r"images 16 to 23 of .*front cannot be read"):
        images.gather(np.array([15, 17]))


def test_chunks_are_kept_while_there_is_room(stored: zarr.Array) -> None:
    images = ChunkedImages(stored, kept_bytes=3 * CHUNK_BYTES)
    for chunk in (0, 1, 2, 0, 3, 0, 1):  # 3 drives out 1, the one not used for longest
        images.gather(np.array([chunk * CHUNK]))
    assert images.chunks_read == 5


def test_threads_read_the_same_images(pixels: np.ndarray, stored: zarr.Array) -> None:
    images = ChunkedImages(stored, kept_bytes=2 * CHUNK_BYTES)
    wanted = [np.random.default_rng(seed).integers(0, ROWS, 20) for seed in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for frames, found in zip(wanted, threads.map(images.gather, wanted), strict=True):
            np.testing.assert_array_equal(found.numpy(), pixels[frames])


def test_memory_decides_where_images_stay(stored: zarr.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ROWS * 4 * 5 * 3
    for free, kind in ((2 * needed, torch.Tensor), (needed, ChunkedImages)):  # 60 % of what is free may be taken
        monkeypatch.setattr(image_source, "available_memory", lambda free=free: free)
        assert isinstance(load_images({"front": stored})["front"], kind)
    monkeypatch.setattr(image_source, "available_memory", lambda: 2 * needed)
    asked: list[bool] = []
    elsewhere = load_images({"front": stored}, lambda fits: bool(asked.append(fits)))["front"]
    assert asked == [True] and isinstance(elsewhere, ChunkedImages), "another process has less memory"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # each process holds its own
    assert isinstance(load_images({"front": stored})["front"], ChunkedImages)


def test_windows_on_disk_are_shuffled_among_few_chunks(stored: zarr.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_source, "SHUFFLED_BYTES", 3 * CHUNK_BYTES)
    images = ChunkedImages(stored, kept_bytes=3 * CHUNK_BYTES)
    windows = np.arange(2, ROWS)
    order = shuffle_windows(windows, [images], np.random.default_rng(0))
    assert sorted(order) == list(windows)
    for group in np.split(order, 24 * np.arange(1, 3)):  # whole chunks come first or last here and there
        assert len(set(group[:20] // CHUNK)) <= 4
    assert len(set(order[:24] // CHUNK)) == 3
    assert (np.abs(np.diff(order[:24])) > 1).any()
    for frame in order:
        images.gather(np.array([frame]))
    assert images.chunks_read == -(-ROWS // CHUNK)  # each chunk once
    np.testing.assert_array_equal(order, shuffle_windows(windows, [images], np.random.default_rng(0)))


def test_windows_in_memory_are_shuffled_freely(pixels: np.ndarray) -> None:
    order = shuffle_windows(np.arange(ROWS), [torch.from_numpy(pixels)], np.random.default_rng(3))
    np.testing.assert_array_equal(order, np.random.default_rng(3).permutation(ROWS))


def test_channel_figures(pixels: np.ndarray, stored: zarr.Array) -> None:
    frames = np.arange(5, ROWS)
    unit = pixels[frames].reshape(-1, 3) / 255
    for images in (torch.from_numpy(pixels), ChunkedImages(stored)):
        mean, std = channel_statistics(images, frames)
        np.testing.assert_allclose(mean, unit.mean(axis=0))
        np.testing.assert_allclose(std, unit.std(axis=0))


def test_channel_figures_of_some_frames(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_source, "STATISTICS_FRAMES", 3)
    mean, _ = channel_statistics(torch.from_numpy(pixels), np.arange(ROWS))
    np.testing.assert_allclose(mean, pixels[[0, 34, 69]].reshape(-1, 3).mean(axis=0) / 255)


def test_memory_is_measured() -> None:
    assert 2**20 < image_source.available_memory() < 2**50


def test_a_container_limits_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"/proc/meminfo": ["MemAvailable: 1000 kB"], "/sys/fs/cgroup/memory.max": ["5000"]}
    files["/sys/fs/cgroup/memory.current"] = ["2000"]
    monkeypatch.setattr(image_source, "_lines", lambda path: files.get(str(path), []))
    assert image_source.available_memory() == 3000
    files["/sys/fs/cgroup/memory.max"] = ["max"]
    assert image_source.available_memory() == 1000 * 1024
