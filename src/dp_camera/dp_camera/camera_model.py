"""Intrinsics as librealsense gives them, in the distortion models of ROS.

The colour sensors of the D400 series say `inverse_brown_conrady`, by whose description the coefficients would lead from
distorted to undistorted points, against `plumb_bob`. librealsense's own projection takes them the other way round, as
those of `plumb_bob`, to some thousandths of a pixel, and its maintainers hold that to be what they are
(librealsense pull request 13833). What is published here projects as librealsense does; a test compares the two.
"""

from __future__ import annotations

from dp_camera.camera_source import CameraModel

PLUMB_BOB, EQUIDISTANT = "plumb_bob", "equidistant"
_BROWN_CONRADY = ("brown_conrady", "modified_brown_conrady", "inverse_brown_conrady")


def camera_model(
    width: int, height: int, K: tuple[float, float, float, float], model: str, coefficients: tuple[float, ...]
) -> CameraModel:
    """The model for sensor_msgs/CameraInfo.

    Args:
        width: pixels.
        height: pixels.
        K: `(fx, fy, cx, cy)`, pixels.
        model: name of librealsense's `rs2_distortion`.
        coefficients: five, in its order `k1 k2 p1 p2 k3`, which is that of plumb_bob (for kannala_brandt4 four and a
            zero).

    Returns:
        Without a distortion model where ROS has none (ftheta).
    """
    if model == "none":
        return CameraModel(width, height, K, PLUMB_BOB, (0.0,) * 5)
    if model in _BROWN_CONRADY:
        return CameraModel(width, height, K, PLUMB_BOB, tuple(coefficients))
    if model == "kannala_brandt4":
        return CameraModel(width, height, K, EQUIDISTANT, tuple(coefficients[:4]))
    return CameraModel(width, height, K, "", ())
