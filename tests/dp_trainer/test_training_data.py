"""What is said about stores that are damaged or do not fit, and what follows from those that do."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from dp_policy.config import ObservationConfig, PolicyConfig
from dp_policy.policy import build_policy
from dp_policy.pretrained_trunk import PretrainedTrunk
from dp_trainer.training_data import (
    TrainingData,
    TrainingDataError,
    fitting_statistics,
    load_training_data,
    resolve_config,
)
from dp_trainer.training_run import TrainingRun


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, write_blobs: Callable[..., Path]) -> Path:
    """Five episodes of 20 steps."""
    return write_blobs(tmp_path_factory.mktemp("stores") / "few.zarr", 5)


def policy_config(**sections: dict) -> PolicyConfig:
    small = {
        "encoder": {"kind": "compact", "width": 8, "features": 8, "keypoints": 4, "blocks": 1},
        "denoiser": {"sizes": [16, 32], "step_features": 16},
        "training": {"batch_size": 8, "warmup_steps": 1},
    }
    return PolicyConfig.from_dict({"name": "test", **small, **sections})


def change(name: str, edit: Callable[[np.ndarray], None]) -> Callable[[Path], None]:
    def apply(store: Path) -> None:
        group = zarr.open_group(str(store), mode="r+")
        values = np.asarray(group[name][:])
        edit(values)
        group[name][:] = values

    return apply


def replace(name: str, values: np.ndarray) -> Callable[[Path], None]:
    def apply(store: Path) -> None:
        shutil.rmtree(store / name)
        array = zarr.open_group(str(store), mode="r+").create_array(name, shape=values.shape, dtype=values.dtype)
        array[:] = values

    return apply


def put(row: int, column: int, value: float) -> Callable[[np.ndarray], None]:
    def edit(values: np.ndarray) -> None:
        values[row, column] = value

    return edit


def put_end(episode: int, end: int) -> Callable[[np.ndarray], None]:
    def edit(ends: np.ndarray) -> None:
        ends[episode] = end

    return edit


def ruin_a_chunk(store: Path) -> None:
    chunk = next(path for path in sorted((store / "data/image/front/c").rglob("*")) if path.is_file())
    chunk.write_bytes(b"rubbish")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change("data/action", put(7, 2, np.nan)), r"data/action is not finite at step 7 \(episode 0, column 2: nan\)"),
        (
            change("data/proprioception", put(41, 0, -np.inf)),
            r"data/proprioception is not finite at step 41 \(episode 2, column 0: -inf\)",
        ),
        (change("meta/episode_ends", put_end(1, 20)), "episode 1 has 0 steps"),
        (change("meta/episode_ends", put_end(-1, 90)), "episodes end at step 90, but there are 100 steps"),
        (
            replace("data/action", np.zeros((99, 10), np.float32)),
            r"data/action is \(99, 10\), expected \(100, columns\)",
        ),
        (
            replace("data/image/front", np.zeros((99, 32, 32, 3), np.uint8)),
            r"data/image/front is uint8 \(99, 32, 32, 3\), expected uint8 \(100, height, width, 3\)",
        ),
        (
            replace("data/image/front", np.zeros((100, 4, 4, 3), np.float32)),
            r"data/image/front is float32 \(100, 4, 4, 3\), expected uint8",
        ),
        (lambda store: shutil.rmtree(store / "data/image/front"), r"is damaged: KeyError.*front"),
        (lambda store: shutil.rmtree(store / "data/valid"), r"is damaged: KeyError.*valid"),
        (ruin_a_chunk, "is damaged: "),
        (lambda store: (store / "zarr.json").write_text("{"), "is damaged: "),
    ],
)
def test_damaged_stores_are_named(store: Path, tmp_path: Path, damage: Callable[[Path], None], words: str) -> None:
    bad = Path(shutil.copytree(store, tmp_path / "bad.zarr"))
    damage(bad)
    with pytest.raises(TrainingDataError, match=words) as found:
        load_training_data(bad)
    assert str(bad) in str(found.value)


def test_invalid_steps_may_hold_anything(store: Path, tmp_path: Path) -> None:
    gap = Path(shutil.copytree(store, tmp_path / "gap.zarr"))
    change("data/action", put(7, 2, np.nan))(gap)
    group = zarr.open_group(str(gap), mode="r+")
    valid = group["data/valid"][:]
    valid[7] = False
    group["data/valid"][:] = valid
    assert not load_training_data(gap).valid[7]


def test_images_are_read_only_if_seen(store: Path) -> None:
    assert load_training_data(store, ObservationConfig(images=False)).images == {}
    assert load_training_data(store).image_size == (32, 32)


def made_up(**changes: Any) -> TrainingData:
    """Ten steps in one episode, two cameras."""
    figures = {key: [0.0] * 10 for key in ("min", "max", "mean", "std")}
    colours = torch.tensor([[0, 51, 255], [102, 51, 255]], dtype=torch.uint8)
    images = colours.repeat(5, 1).view(10, 1, 1, 3).expand(10, 16, 16, 3)
    data = TrainingData(
        images={"front": images, "wrist": torch.zeros(10, 16, 16, 3, dtype=torch.uint8)},
        proprioception=torch.randn(10, 10),
        actions=torch.randn(10, 10),
        valid=np.ones(10, bool),
        episode_ends=np.array([10]),
        statistics={"proprioception": figures, "action": figures},
        contract={},
        rate_hz=10.0,
        source="made up",
    )
    return dataclasses.replace(data, **changes)


@pytest.mark.parametrize(
    ("sections", "data", "words"),
    [
        ({"observation": {"cameras": ["side"]}}, {}, "made up has no camera 'side'; it has: front, wrist"),
        ({"observation": {"image_width": 96}}, {}, "image_width = 96 but the images of made up have 16"),
        ({"observation": {"proprioception_dim": 3}}, {}, "observation.proprioception_dim = 3 but made up has 10"),
        ({"action": {"dim": 2}}, {}, "action.dim = 2 but made up has 10"),
        ({}, {"images": {}}, "made up has no images; set observation.images to false"),
        (
            {},
            {"images": {"front": torch.zeros(10, 16, 16, 3), "wrist": torch.zeros(10, 12, 16, 3)}},
            "must have one image size; found front 16x16, wrist 12x16",
        ),
    ],
)
def test_data_that_does_not_fit_is_named(sections: dict, data: dict, words: str) -> None:
    with pytest.raises(TrainingDataError, match=words):
        resolve_config(policy_config(**sections), made_up(**data))


def test_cameras_of_other_sizes_are_fine_if_not_seen() -> None:
    images = {"front": torch.zeros(10, 16, 16, 3), "wrist": torch.zeros(10, 12, 20, 3)}
    resolved = resolve_config(policy_config(observation={"cameras": ["wrist"]}), made_up(images=images))
    assert (resolved.observation.image_height, resolved.observation.image_width) == (12, 20)


def test_a_blind_policy_needs_no_images() -> None:
    resolved = resolve_config(policy_config(observation={"images": False}), made_up(images={}))
    assert resolved.observation.cameras == ()


def test_figures_of_the_images_are_taken_when_asked_for() -> None:
    data = made_up()
    assert "images" not in fitting_statistics(data, resolve_config(policy_config(), data))
    config = resolve_config(policy_config(normaliser={"images": "channels"}), data)
    images = fitting_statistics(data, config)["images"]
    np.testing.assert_allclose(images["mean"], [[0.2, 0.2, 1.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(images["std"], [[0.2, 0.0, 0.0], [0.0, 0.0, 0.0]], atol=1e-9)
    policy = build_policy(config)
    policy.normaliser.fit(fitting_statistics(data, config))
    pixels = policy.normaliser.images(data.images["front"][:2].permute(0, 3, 1, 2))
    torch.testing.assert_close(pixels[:, 0, 0, 0], torch.tensor([-1.0, 1.0]))


def test_training_starts_from_pretrained_weights(tmp_path: Path) -> None:
    """From the file to the policy in training and to the averaged one, images as the weights want them."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    model = transformers.ViTModel(transformers.ViTConfig(**small, image_size=16, patch_size=8), add_pooling_layer=False)
    model.save_pretrained(tmp_path)
    figures = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(figures))
    encoder = {"kind": "pretrained", "weights": str(tmp_path), "pooling": "token"}
    data = made_up(valid=np.ones(10, bool))
    config = resolve_config(
        policy_config(encoder=encoder, training={"batch_size": 4, "validation_fraction": 0.0}), data
    )
    run = TrainingRun(data, config, seed=0)
    for policy in (run.policy, run.averaged):
        trunks = [module for module in policy.modules() if isinstance(module, PretrainedTrunk)]
        assert len(trunks) == 2
        for trunk in trunks:
            found = trunk.model.state_dict()
            assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
        torch.testing.assert_close(policy.normaliser.image_std, torch.tensor([[0.2, 0.2, 0.1]] * 2))
    with run.loader(0, 1) as loader:
        assert torch.isfinite(run.step(0, loader.take()).loss)
