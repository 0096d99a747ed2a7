"""Interpolation between trajectory points."""

from __future__ import annotations

import numpy as np
from dp_sim.joint_path import JointPath, JointPoint

START = JointPoint(1.0, np.array([0.2, -1.0]), np.array([0.5, 0.0]))


def test_a_segment_between_velocities_is_the_cubic_through_them():
    end = JointPoint(1.5, np.array([0.4, -1.3]), np.array([-0.2, 0.3]))
    path = JointPath(START, [end])
    # The cubic by solving for its coefficients in (t - 1).
    matrix = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0.5, 0.25, 0.125], [0, 1, 1.0, 0.75]])
    for joint in range(2):
        ends = [START.position[joint], START.velocity[joint], end.position[joint], end.velocity[joint]]
        coefficients = np.linalg.solve(matrix, ends)
        for t in (1.0, 1.1, 1.33, 1.499):
            expected = np.polynomial.polynomial.polyval(t - 1.0, coefficients)
            np.testing.assert_allclose(path.sample(t)[joint], expected, atol=1e-12)


def test_points_without_velocities_are_joined_by_straight_lines():
    path = JointPath(START, [JointPoint(2.0, np.array([1.2, -1.0])), JointPoint(3.0, np.array([1.2, 0.0]))])
    np.testing.assert_allclose(path.sample(1.5), [0.7, -1.0])
    np.testing.assert_allclose(path.sample(2.25), [1.2, -0.75])


def test_past_points_are_passed_over_and_the_last_one_is_held():
    path = JointPath(START, [JointPoint(0.5, np.array([9.0, 9.0])), JointPoint(2.0, np.array([1.2, -1.0]))])
    np.testing.assert_allclose(path.sample(1.5), [0.7, -1.0])
    np.testing.assert_allclose(path.sample(7.0), [1.2, -1.0])
    np.testing.assert_allclose(path.sample(0.0), START.position)
