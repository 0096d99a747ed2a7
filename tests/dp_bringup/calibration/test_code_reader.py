"""Clock codes are read out of pictures as cameras make them, and not out of those that would give a wrong time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from dp_bringup.calibration.code_reader import read_code
from dp_core.clock_code import GRID, code_cells

QUIET = 1


def flat(counter: int, cell_px: int = 40) -> np.ndarray:
    """The code as it is shown: white, with the black square in the middle."""
    square = np.full((GRID + 2 * QUIET, GRID + 2 * QUIET), 255, np.uint8)
    square[QUIET:-QUIET, QUIET:-QUIET] = np.where(code_cells(counter), 255, 0)
    return np.kron(square, np.ones((cell_px, cell_px), np.uint8))


def seen(picture: np.ndarray, corners: list, size: tuple[int, int] = (640, 480), seed: int = 0) -> np.ndarray:
    """The screen (its corners in pixels, clockwise from the upper left) before a cluttered room."""
    rng = np.random.default_rng(seed)
    room = cv2.resize(rng.integers(0, 255, (12, 16), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    height, width = picture.shape
    source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(source, np.array(corners, np.float32))
    screen = cv2.warpPerspective(picture, matrix, size, flags=cv2.INTER_AREA)
    inside = cv2.warpPerspective(np.full_like(picture, 255), matrix, size) > 127
    return np.where(inside, screen, room)


STRAIGHT = [[170, 90], [470, 90], [470, 390], [170, 390]]
VIEWS = {
    "straight": STRAIGHT,
    "from the left": [[180, 60], [430, 110], [430, 370], [180, 430]],
    "from below, turned": [[250, 60], [520, 170], [420, 440], [110, 300]],
    "upside down": [[470, 390], [170, 390], [170, 90], [470, 90]],
    "small": [[300, 200], [360, 204], [356, 264], [298, 258]],
}


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_codes_are_read_from_any_side(view):
    for counter in np.random.default_rng(3).integers(0, 1 << 20, 12).tolist():
        reading = read_code(seen(flat(counter), VIEWS[view]))
        assert reading.counter == counter, reading.problem


def test_blur_noise_and_brightness():
    rng = np.random.default_rng(4)
    for counter in rng.integers(0, 1 << 20, 8).tolist():
        picture = seen(flat(counter), VIEWS["from the left"]).astype(float)
        blurred = cv2.GaussianBlur(picture, (0, 0), 4.0)
        noisy = picture + rng.normal(0.0, 30.0, picture.shape)
        dark = 20.0 + 0.25 * picture
        shaded = picture * np.linspace(0.35, 1.0, picture.shape[1])
        bright = 90.0 + 1.5 * picture
        for name, spoilt in (
            ("blur", blurred),
            ("noise", noisy),
            ("dark", dark),
            ("shade", shaded),
            ("bright", bright),
        ):
            reading = read_code(np.clip(spoilt, 0, 255).astype(np.uint8))
            assert reading.counter == counter, f"{name}: {reading.problem}"


def test_colour_pictures_of_any_order():
    picture = np.repeat(seen(flat(77), STRAIGHT)[..., None], 3, axis=2)
    assert read_code(picture).counter == 77


def test_a_screen_that_changes_while_the_shutter_is_open_is_refused():
    old, new = flat(1000).astype(float), flat(1001).astype(float)
    for share in (0.35, 0.5, 0.65):
        mixed = seen((share * new + (1.0 - share) * old).astype(np.uint8), STRAIGHT)
        reading = read_code(mixed)
        assert (reading.counter, reading.problem) == (None, "changing")


def test_a_rolling_shutter_that_caught_two_codes_is_refused_or_right():
    rng = np.random.default_rng(5)
    refused = 0
    for counter in rng.integers(0, 1 << 20, 40).tolist():
        mixed = flat(counter)
        row = int(rng.integers(0.2 * len(mixed), 0.8 * len(mixed)))
        mixed[row:] = flat(counter + 1)[row:]
        found = read_code(seen(mixed, STRAIGHT)).counter
        assert found in (None, counter, counter + 1)
        refused += found is None
    assert refused >= 8, "where the cut runs between the cells that change"


def test_a_room_without_a_code():
    rng = np.random.default_rng(6)
    room = cv2.resize(rng.integers(0, 255, (12, 16), np.uint8), (640, 480), interpolation=cv2.INTER_CUBIC)
    assert read_code(room).problem == "no code"
    assert read_code(np.zeros((48, 64), np.uint8)).problem == "no code"
    cv2.rectangle(room, (100, 100), (300, 300), 255, -1)
    cv2.rectangle(room, (120, 120), (280, 280), 0, -1)
    assert read_code(room).counter is None
