"""Pictures show what the policy needs, and a machine without OpenGL says what to install."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dp_sim.cell import SimulatedCell

from dp_sim import cameras

# Hue ranges on a circle of 180 that is turned by 20, so that red does not wrap.
RED, YELLOW, GREEN = ((10, 30), (40, 52), (70, 95))


@pytest.fixture(scope="module")
def backend() -> str:
    return cameras.choose_backend()


def mask(picture: np.ndarray, hue: tuple[int, int]) -> np.ndarray:
    """Saturated pixels (H, W) bool whose turned hue lies in the range."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(int)
    turned = (hsv[..., 0] + 20) % 180
    return (turned >= hue[0]) & (turned <= hue[1]) & (hsv[..., 1] > 150)


def test_objects_are_in_the_front_picture_at_every_start(backend):
    hues_of = {"place": (RED, YELLOW, GREEN), "reach_around": (RED, YELLOW), "grasp_moving": (RED,)}
    for task, hues in hues_of.items():
        cell = SimulatedCell(task, 0)
        renderer = cameras.CameraRenderer(cell.model, {"front": (96, 96)}, backend)
        for seed in range(12):
            cell.reset(seed)
            picture = renderer.render(cell.data, "front")
            assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
            for hue in hues:
                assert mask(picture, hue).sum() >= 25, f"{task} seed {seed} hue {hue}"
        renderer.close()


def test_front_picture_is_upright_and_follows_the_cube(backend):
    cell = SimulatedCell("place", 0)
    renderer = cameras.CameraRenderer(cell.model, {"front": (96, 96)}, backend)
    rows, columns, positions = [], [], []
    for seed in range(8):
        cell.reset(seed)
        y, x = np.nonzero(mask(renderer.render(cell.data, "front"), RED))
        rows.append(y.mean())
        columns.append(x.mean())
        positions.append(cell.object_poses()["cube"][:2])
    renderer.close()
    # Nearer to the camera (larger x) is lower in the picture; the camera faces the robot, so +y is to the right.
    assert np.corrcoef(rows, np.array(positions)[:, 0])[0, 1] > 0.95
    assert np.corrcoef(columns, np.array(positions)[:, 1])[0, 1] > 0.95


def test_wrist_camera_sees_the_fingers_and_not_the_palm(backend):
    cell = SimulatedCell("place", 0)
    renderer = cameras.CameraRenderer(cell.model, {"wrist": (96, 96), "front": (96, 96)}, backend)
    picture = renderer.render(cell.data, "wrist")
    renderer.close()
    dark = picture.max(axis=2) < 80
    assert 0.01 < dark.mean() < 0.2
    white = picture.min(axis=2) > 170
    assert white.mean() < 0.02


def test_an_unknown_camera_is_named(backend):
    cell = SimulatedCell("place", 0)
    with pytest.raises(cameras.UnknownCameraError, match=r"'side'.*front, wrist"):
        cameras.CameraRenderer(cell.model, {"side": (8, 8)}, backend)


def test_without_opengl_one_line_names_the_packages(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.delenv("DP_SIM_GL_PROBED", raising=False)
    monkeypatch.setattr(cameras, "probe_backend", lambda backend: f"no {backend}")
    with pytest.raises(cameras.RenderingUnavailableError, match=r"libegl1 libgl1-mesa-dri.*libosmesa6"):
        cameras.choose_backend()


def test_a_probe_of_a_missing_back_end_gives_a_reason():
    assert "Error" in cameras.probe_backend("no_such_backend")
