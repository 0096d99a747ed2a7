"""Finds and reads a clock code in a picture. Pure.

The black frame of the code is looked for as a dark four-sided region under several thresholds; its sides are fitted by
lines, its corners give the perspective, and each cell is the mean of its middle. A cell that is neither black nor white
(a screen that was changing while the shutter was open) or a check sum that does not fit refuses the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from dp_core.clock_code import GRID, read_cells
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Array = NDArray[np.float64]

SMALLEST_SIDE_PX = 20
# Grey levels between the black of the frame and the white of the corners.
LEAST_CONTRAST = 25.0
# A cell within this share of the contrast from the middle is neither black nor white.
UNDECIDED = 0.15
_CELL_PX = 8
_MIDDLE = slice(2, 6)  # of a cell's pixels: blur and an inexact corner spoil its rim first


@dataclass(frozen=True)
class Reading:
    """What was read in a picture: a counter, or why none: `no code`, `changing` or `check sum`.

    `corners` is (4, 2) pixels of the frame, for drawing; None where no frame was found.
    """

    counter: int | None
    problem: str = ""
    corners: Array | None = None


def read_code(picture: NDArray[np.uint8]) -> Reading:
    """Read the code in a picture (H, W) grey or (H, W, 3) in any order of colours."""
    grey = picture if picture.ndim == 2 else picture[..., 1]
    best = Reading(None, "no code")
    for corners in _squares(np.ascontiguousarray(grey)):
        reading = _read(grey, corners)
        if reading.counter is not None:
            return reading
        if reading.problem != "no code":
            best = reading
    return best


def _squares(grey: Grey) -> Iterator[Array]:
    """Corners (4, 2) of dark four-sided regions, most likely first, clockwise in the picture."""
    for dark in _thresholds(grey):
        contours, _ = cv2.findContours(dark, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:12]:
            if cv2.contourArea(contour) < SMALLEST_SIDE_PX**2:
                break
            quad = cv2.approxPolyDP(contour, 0.04 * cv2.arcLength(contour, True), True)
            if len(quad) == 4 and cv2.isContourConvex(quad):
                corners = _fitted_corners(contour.reshape(-1, 2), quad.reshape(4, 2))
                if corners is not None:
                    yield corners


def _thresholds(grey: Grey) -> Iterator[Grey]:
    """Masks (255 where dark): one threshold for all, then local ones of several widths."""
    _, dark = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    yield np.asarray(dark, np.uint8)
    for share in (2, 4, 8):
        width = max(3, min(grey.shape) // share) | 1
        kind, how = cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV
        yield np.asarray(cv2.adaptiveThreshold(grey, 255, kind, how, width, 7), np.uint8)


def _fitted_corners(contour: NDArray[Any], quad: NDArray[Any]) -> Array | None:
    """Corners where lines through the middle parts of the four sides meet."""
    places = [int(np.argmin(np.sum((contour - corner) ** 2, axis=1))) for corner in quad]
    lines = []
    for begin, end in zip(places, places[1:] + places[:1], strict=True):
        count = (end - begin) % len(contour)
        if count < 8:
            return None
        side = contour[(begin + np.arange(count // 6, count - count // 6)) % len(contour)].astype(np.float32)
        vx, vy, x, y = np.asarray(cv2.fitLine(side, cv2.DIST_HUBER, 0, 0.01, 0.01), float).ravel()
        lines.append(np.cross((x, y, 1.0), (x + vx, y + vy, 1.0)))
    corners = np.array([np.cross(lines[i - 1], lines[i]) for i in range(4)])
    if np.any(np.abs(corners[:, 2]) < 1e-9):
        return None
    corners = corners[:, :2] / corners[:, 2:]
    if np.abs(corners - quad).max() > 0.25 * np.ptp(quad, axis=0).max():
        return None
    # The contour runs along the centres of the outermost dark pixels: the edge is half a pixel farther out.
    centre = corners.mean(axis=0)
    outward = corners - centre
    corners = corners + 0.7 * outward / np.linalg.norm(outward, axis=1, keepdims=True)
    # Clockwise in the picture (y down), so that the code is never mirrored.
    across, down = corners[1] - corners[0], corners[2] - corners[0]
    return corners if across[0] * down[1] - across[1] * down[0] > 0.0 else corners[::-1].copy()


def _read(grey: Grey, corners: Array) -> Reading:
    side = GRID * _CELL_PX
    flat = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32) - 0.5
    to_square = cv2.getPerspectiveTransform(corners.astype(np.float32), flat)
    square = cv2.warpPerspective(grey, to_square, (side, side), flags=cv2.INTER_LINEAR)
    cells = square.reshape(GRID, _CELL_PX, GRID, _CELL_PX)[:, _MIDDLE, :, _MIDDLE].astype(float).mean(axis=(1, 3))
    border = np.ones((GRID, GRID), bool)
    border[1:-1, 1:-1] = False
    black = float(np.median(cells[border]))
    white = float(np.sort(cells[[1, 1, -2, -2], [1, -2, 1, -2]])[1])
    if white - black < LEAST_CONTRAST:
        return Reading(None, "no code")
    level = (cells - black) / (white - black)
    if np.any(level[border] > 0.5 - UNDECIDED):
        return Reading(None, "no code")
    inner = level[1:-1, 1:-1]
    if np.any(np.abs(inner - 0.5) < UNDECIDED):
        return Reading(None, "changing", corners)
    counter = read_cells(level > 0.5)
    return Reading(counter, "" if counter is not None else "check sum", corners)
