"""What ROS is told, projected by OpenCV, against librealsense's own projection."""

import cv2
import numpy as np
import pyrealsense2 as rs
import pytest
from dp_camera.camera_model import camera_model

K = (610.0, 612.0, 322.0, 238.0)
COEFFICIENTS = (-0.056, 0.065, -0.0006, 0.0004, -0.021)  # of the order of a D455's colour camera


@pytest.mark.parametrize("name", ["brown_conrady", "modified_brown_conrady", "inverse_brown_conrady"])
def test_the_published_model_projects_as_librealsense_does(name):
    model = camera_model(640, 480, K, name, COEFFICIENTS)
    assert (model.distortion_model, model.K) == ("plumb_bob", K)
    given = rs.intrinsics()
    given.width, given.height = 640, 480
    given.fx, given.fy, given.ppx, given.ppy = K
    given.model, given.coeffs = getattr(rs.distortion, name), list(COEFFICIENTS)
    fx, fy, cx, cy = model.K
    matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    bent = 0.0
    for x in np.linspace(-0.5, 0.5, 7):
        for y in np.linspace(-0.38, 0.38, 7):
            point = np.array([x, y, 1.0])
            theirs = np.array(rs.rs2_project_point_to_pixel(given, list(point)))
            ours = cv2.projectPoints(point[None], np.zeros(3), np.zeros(3), matrix, np.array(model.D))[0].ravel()
            assert np.abs(theirs - ours).max() < 0.01, "pixels"
            bent = max(bent, np.abs(theirs - (fx * x + cx, fy * y + cy)).max())
    assert bent > 3.0, "pixels: the distortion is there"


def test_other_models():
    assert camera_model(640, 480, K, "none", (0.1,) * 5).D == (0.0,) * 5
    fisheye = camera_model(640, 480, K, "kannala_brandt4", (0.1, 0.2, 0.3, 0.4, 0.0))
    assert (fisheye.distortion_model, fisheye.D) == ("equidistant", (0.1, 0.2, 0.3, 0.4))
    assert camera_model(640, 480, K, "ftheta", (0.9, 0, 0, 0, 0)).distortion_model == "", "ROS has no such model"
