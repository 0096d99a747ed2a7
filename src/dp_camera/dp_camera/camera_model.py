"""Intrinsics as librealsense gives them, in the distortion models of ROS.

The `inverse_brown_conrady` that the colour sensors of the D400 series are calibrated with leads from distorted to
undistorted points; `plumb_bob` leads the other way. Copying the coefficients, as is often done, turns a barrel into
a pincushion. The coefficients of the other direction are fitted instead: they enter linearly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp_camera.camera_source import CameraModel

PLUMB_BOB, EQUIDISTANT = "plumb_bob", "equidistant"
#: Points along each side of the picture that the fit looks at.
_GRID = 24


def camera_model(
    width: int, height: int, K: tuple[float, float, float, float], model: str, coefficients: tuple[float, ...]
) -> CameraModel:
    """The model for sensor_msgs/CameraInfo.

    Args:
        width: pixels.
        height: pixels.
        K: `(fx, fy, cx, cy)`, pixels.
        model: name of librealsense's `rs2_distortion`.
        coefficients: five, in its order `k1 k2 p1 p2 k3` (for kannala_brandt4 four and a zero).
    """
    if model == "kannala_brandt4":
        return CameraModel(width, height, K, EQUIDISTANT, coefficients[:4])
    if model == "none" or not any(coefficients):
        return CameraModel(width, height, K, PLUMB_BOB, (0.0,) * 5)
    if model == "inverse_brown_conrady":
        coefficients = _inverted(width, height, K, np.asarray(coefficients))
    elif model not in ("brown_conrady", "modified_brown_conrady"):
        return CameraModel(width, height, K, "", ())
    return CameraModel(width, height, K, PLUMB_BOB, tuple(float(c) for c in coefficients))


def _inverted(
    width: int, height: int, K: tuple[float, float, float, float], inverse: NDArray[np.float64]
) -> tuple[float, ...]:
    """Coefficients from undistorted to distorted points, by least squares over the picture."""
    fx, fy, cx, cy = K
    u, v = np.meshgrid(np.linspace(0, width - 1, _GRID), np.linspace(0, height - 1, _GRID))
    distorted = np.stack([(u.ravel() - cx) / fx, (v.ravel() - cy) / fy])
    terms = _terms(distorted)
    straight = distorted + np.stack([terms[0] @ inverse, terms[1] @ inverse])
    terms = _terms(straight)
    design = np.concatenate([fx * terms[0], fy * terms[1]])
    wanted = np.concatenate([fx * (distorted - straight)[0], fy * (distorted - straight)[1]])
    solution, *_ = np.linalg.lstsq(design, wanted, rcond=None)
    return tuple(float(c) for c in solution)


def _terms(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`(n, 5)` factors of k1 k2 p1 p2 k3 in the displacement along x and along y."""
    x, y = points
    r2 = x * x + y * y
    along_x = np.stack([x * r2, x * r2**2, 2 * x * y, r2 + 2 * x * x, x * r2**3], axis=1)
    along_y = np.stack([y * r2, y * r2**2, r2 + 2 * y * y, 2 * x * y, y * r2**3], axis=1)
    return along_x, along_y
