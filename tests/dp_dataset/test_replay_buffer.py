"""Replay buffers written here, file by file, and what is said about damaged ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from dp_dataset.pusht import block_vertices
from dp_dataset.replay_buffer import ReplayBufferError, is_replay_buffer, read_pusht
from numcodecs import Blosc

CHUNK_ROWS = 20
ENDS = np.array([20, 33, 50])


def write_array(folder: Path, values: np.ndarray, chunk_rows: int = CHUNK_ROWS) -> None:
    """A zarr v2 array by hand: a description, and one compressed file for each chunk, the last one filled up."""
    codec = Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE)
    chunks = [chunk_rows, *values.shape[1:]]
    description = {
        "zarr_format": 2,
        "shape": list(values.shape),
        "chunks": chunks,
        "dtype": values.dtype.str,
        "compressor": codec.get_config(),
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }
    folder.mkdir(parents=True)
    (folder / ".zarray").write_text(json.dumps(description))
    for number, start in enumerate(range(0, len(values), chunk_rows)):
        chunk = np.zeros(chunks, values.dtype)
        part = values[start : start + chunk_rows]
        chunk[: len(part)] = part
        (folder / ".".join([str(number)] + ["0"] * (values.ndim - 1))).write_bytes(codec.encode(chunk))


@pytest.fixture(scope="module")
def contents() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "data/state": rng.uniform(1, 500, (50, 5)).astype(np.float32),
        "data/keypoint": rng.uniform(1, 500, (50, 9, 2)).astype(np.float32),
        "data/action": rng.uniform(1, 500, (50, 2)).astype(np.float32),
        "data/img": rng.integers(0, 256, (50, 8, 6, 3)).astype(np.float32),
        "meta/episode_ends": ENDS.astype(np.int64),
    }


@pytest.fixture(scope="module")
def whole(contents: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("buffers") / "whole.zarr"
    for name, values in contents.items():
        write_array(path / name, values)
    return path


def rewrite(path: Path, name: str, values: np.ndarray) -> None:
    shutil.rmtree(path / name)
    write_array(path / name, values)


def test_everything_is_read(whole: Path, contents: dict[str, np.ndarray]) -> None:
    buffer = read_pusht(whole)
    state = contents["data/state"]
    np.testing.assert_array_equal(buffer.images["image"], contents["data/img"])
    assert buffer.images["image"].dtype == np.uint8
    np.testing.assert_array_equal(buffer.action, contents["data/action"])
    np.testing.assert_array_equal(buffer.episode_ends, ENDS)
    np.testing.assert_array_equal(buffer.vectors["agent_position"], state[:, :2])
    np.testing.assert_array_equal(buffer.vectors["keypoints"], contents["data/keypoint"].reshape(50, 18))
    np.testing.assert_allclose(buffer.vectors["vertices"], block_vertices(state[:, 2:]).reshape(50, 16), rtol=1e-5)
    np.testing.assert_allclose(buffer.vectors["block_pose"][:, 3], np.sin(state[:, 4]), atol=1e-5)
    assert buffer.rate_hz == 10.0


def test_vectors_are_joined_in_the_order_asked_for(whole: Path, contents: dict[str, np.ndarray]) -> None:
    buffer = read_pusht(whole, with_images=False)
    assert not buffer.images
    joined = buffer.proprioception(("block_pose", "agent_position"))
    assert joined.shape == (50, 6)
    np.testing.assert_array_equal(joined[:, 4:], contents["data/state"][:, :2])
    assert buffer.proprioception(()).shape == (50, 0)
    with pytest.raises(
        ReplayBufferError, match=r"no vector 'pose'; it has: agent_position, keypoints, vertices, block_pose"
    ):
        buffer.proprioception(("pose",))


def test_statistics_are_those_of_the_columns(whole: Path, contents: dict[str, np.ndarray]) -> None:
    statistics = read_pusht(whole, with_images=False).statistics(("agent_position",))
    action = contents["data/action"].astype(np.float64)
    np.testing.assert_allclose(statistics["action"].minimum, action.min(axis=0))
    np.testing.assert_allclose(statistics["action"].std, action.std(axis=0))
    np.testing.assert_allclose(statistics["proprioception"].mean, contents["data/state"][:, :2].mean(axis=0), rtol=1e-5)


def nan_at(name: str, step: int, column: int) -> Callable[[Path, dict[str, np.ndarray]], None]:
    def change(path: Path, contents: dict[str, np.ndarray]) -> None:
        values = contents[name].copy()
        values.reshape(len(values), -1)[step, column] = np.nan
        rewrite(path, name, values)

    return change


def blank_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[40:-40] = bytes(len(content) - 80)
    file.write_bytes(content)


DAMAGE: list[tuple[Callable[[Path, dict[str, np.ndarray]], object], str]] = [
    (lambda path, _: shutil.rmtree(path / "data/img"), "data/img is missing"),
    (lambda path, _: shutil.rmtree(path / "data/state"), "data/state is missing"),
    (lambda path, _: (path / "data/keypoint/1.0.0").unlink(), "chunk data/keypoint/1.0.0 is missing"),
    (
        lambda path, _: (path / "data/action/1.0").write_bytes(b"rubbish"),
        "chunk data/action/1.0 is damaged or incomplete",
    ),
    (
        lambda path, _: (path / "data/img/2.0.0.0").write_bytes((path / "data/img/2.0.0.0").read_bytes()[:-5]),
        "chunk data/img/2.0.0.0 is damaged or incomplete",
    ),
    (lambda path, _: blank_the_middle(path / "data/img/1.0.0.0"), "data/img is damaged in rows 20 to 39"),
    (lambda path, _: (path / "data/state/.zarray").write_text("{"), "description of data/state is damaged"),
    (
        lambda path, c: rewrite(path, "data/state", c["data/state"][:, :4]),
        r"data/state is \(50, 4\), expected \(50, 5\)",
    ),
    (lambda path, c: rewrite(path, "data/keypoint", c["data/keypoint"][:49]), r"data/keypoint is \(49, 9, 2\)"),
    (
        lambda path, c: rewrite(path, "data/img", c["data/img"][:49]),
        r"data/img is \(49, 8, 6, 3\), expected \(50, height",
    ),
    (lambda path, c: rewrite(path, "data/img", c["data/img"] * 2), "values outside 0..255 in steps 0 to 19"),
    (nan_at("data/img", 25, 7), "values outside 0..255 in steps 20 to 39"),
    (nan_at("data/action", 34, 1), r"data/action is not finite at step 34 \(episode 2, column 1: nan\)"),
    (nan_at("data/state", 20, 4), r"data/state is not finite at step 20 \(episode 1, column 4: nan\)"),
    (
        lambda path, c: rewrite(path, "meta/episode_ends", np.array([20, 20, 50])),
        "must rise to the number of steps, 50",
    ),
    (lambda path, c: rewrite(path, "meta/episode_ends", np.array([20, 40])), "must rise to the number of steps, 50"),
]


@pytest.mark.parametrize(("damage", "words"), DAMAGE)
def test_damage_is_named(
    whole: Path, contents: dict[str, np.ndarray], tmp_path: Path, damage: Callable, words: str
) -> None:
    path = Path(shutil.copytree(whole, tmp_path / "damaged.zarr"))
    damage(path, contents)
    with pytest.raises(ReplayBufferError, match=words):
        read_pusht(path)


def test_other_folders_are_not_replay_buffers(tmp_path: Path) -> None:
    assert not is_replay_buffer(tmp_path)
    with pytest.raises(ReplayBufferError, match="is not a replay buffer"):
        read_pusht(tmp_path)
