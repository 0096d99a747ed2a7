from __future__ import annotations

import numpy as np
import pytest
import torch
from dp_policy.config import NormaliserConfig
from dp_policy.normaliser import Normaliser, VectorNormaliser


def statistics(values: np.ndarray) -> dict[str, list[float]]:
    return {name: getattr(values, name)(axis=0).tolist() for name in ("min", "max", "mean", "std")}


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(500, 10)) * np.linspace(0.1, 3, 10) + 5
    data[:, 9] = 0.08  # a gripper that never moved
    return data


@pytest.mark.parametrize("mode", ["limits", "gaussian", "identity"])
def test_round_trip(values: np.ndarray, mode: str) -> None:
    normaliser = VectorNormaliser(10)
    normaliser.fit(statistics(values), mode, unscaled=(3, 4))
    data = torch.from_numpy(values).float()
    torch.testing.assert_close(normaliser.restore(normaliser.normalise(data)), data)


def test_limits_fill_the_range_and_leave_rotations_alone(values: np.ndarray) -> None:
    normaliser = VectorNormaliser(10)
    normaliser.fit(statistics(values), "limits", unscaled=(3, 4, 5, 6, 7, 8))
    data = torch.from_numpy(values).float()
    scaled = normaliser.normalise(data)
    torch.testing.assert_close(scaled[:, :3].amin(0), torch.full((3,), -1.0))
    torch.testing.assert_close(scaled[:, :3].amax(0), torch.full((3,), 1.0))
    torch.testing.assert_close(scaled[:, 3:9], data[:, 3:9])


def test_gaussian_has_zero_mean_and_unit_spread(values: np.ndarray) -> None:
    normaliser = VectorNormaliser(10)
    normaliser.fit(statistics(values), "gaussian")
    scaled = normaliser.normalise(torch.from_numpy(values))[:, :9]
    torch.testing.assert_close(scaled.mean(0), torch.zeros(9), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(9), atol=1e-4, rtol=0)


def test_constant_columns_are_not_blown_up(values: np.ndarray) -> None:
    normaliser = VectorNormaliser(10)
    normaliser.fit(statistics(values), "limits")
    noisy = torch.from_numpy(values).float()[:1].clone()
    noisy[0, 9] += 1e-4
    assert abs(float(normaliser.normalise(noisy)[0, 9])) < 1e-3


def test_statistics_must_fit() -> None:
    with pytest.raises(ValueError, match="'min' must be 3 finite numbers"):
        VectorNormaliser(3).fit({key: [0.0, float("nan"), 0.0] for key in ("min", "max", "mean", "std")}, "limits")


@pytest.mark.parametrize(("mode", "low"), [("signed", -1.0), ("unit", 0.0)])
def test_images(mode: str, low: float) -> None:
    normaliser = Normaliser(NormaliserConfig(images=mode), 10, 10)
    scaled = normaliser.images(torch.tensor([0, 255], dtype=torch.uint8))
    torch.testing.assert_close(scaled, torch.tensor([low, 1.0]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_imagenet_by_hand(dtype: torch.dtype) -> None:
    """From 0..255 in one step: never through [-1, 1] first."""
    normaliser = Normaliser(NormaliserConfig(images="imagenet"), 10, 10)
    pixel = torch.tensor([0, 128, 255], dtype=dtype).view(1, 3, 1, 1)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(normaliser.images(pixel).flatten(), torch.tensor(expected))


def test_channels_have_figures_per_camera() -> None:
    normaliser = Normaliser(NormaliserConfig(images="channels", unscaled_columns=()), 1, 1, cameras=2)
    mean, std = [[0.5, 0.25, 0.0], [0.1, 0.2, 0.3]], [[0.1, 0.2, 0.0], [1.0, 0.5, 0.25]]
    ones = {key: [1.0] for key in ("min", "max", "mean", "std")}
    normaliser.fit({"proprioception": ones, "action": ones, "images": {"mean": mean, "std": std}})
    pixel = torch.tensor([51, 102, 255], dtype=torch.uint8).view(1, 3, 1, 1)  # 0.2, 0.4, 1.0
    front = normaliser.images(pixel, camera=0).flatten()
    torch.testing.assert_close(front, torch.tensor([-3.0, 0.75, 1.0]))  # the constant channel is not blown up
    wrist = normaliser.images(pixel, camera=1).flatten()
    torch.testing.assert_close(wrist, torch.tensor([0.1, 0.4, 2.8]))


def test_only_channels_have_image_buffers() -> None:
    """Older checkpoints have no such entries and must still load."""
    names = set(Normaliser(NormaliserConfig(images="imagenet"), 2, 2, cameras=1).state_dict())
    assert names == {"proprioception.offset", "proprioception.scale", "action.offset", "action.scale"}
    channels = Normaliser(NormaliserConfig(images="channels"), 2, 2, cameras=1)
    assert set(channels.state_dict()) - names == {"image_mean", "image_std"}


def test_channel_figures_must_fit() -> None:
    normaliser = Normaliser(NormaliserConfig(images="channels"), 1, 1, cameras=2)
    with pytest.raises(ValueError, match=r"image_mean must be \(2, 3\) finite numbers"):
        normaliser.fit_images([[0.1, 0.2, 0.3]], [[1.0, 1.0, 1.0]])
    ones = {key: [1.0] for key in ("min", "max", "mean", "std")}
    with pytest.raises(ValueError, match="needs the statistics 'images'"):
        normaliser.fit({"proprioception": ones, "action": ones})


@pytest.mark.parametrize("mode", ["signed", "unit", "imagenet"])
def test_uint8_and_floats_agree(mode: str) -> None:
    normaliser = Normaliser(NormaliserConfig(images=mode), 10, 10)
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    kept = pixels.float()
    torch.testing.assert_close(normaliser.images(kept), normaliser.images(pixels))
    torch.testing.assert_close(kept, pixels.float())  # the input is not written to
