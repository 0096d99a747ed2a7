"""Plain floats against the array functions of dp_core.poses, and against numerical derivatives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp_core import poses, rotations

component = st.floats(-1.7, 1.7)
vector = st.tuples(component, component, component)
tiny = st.tuples(*[st.floats(-1e-5, 1e-5)] * 3)


@settings(max_examples=50, deadline=None)
@given(vector | tiny, vector)
def test_exp_log_product_and_rotation_agree_with_the_array_functions(a, b):
    p, q = rotations.quat_exp(a), rotations.quat_exp(b)
    assert p == pytest.approx(poses.quat_from_rotvec(a), abs=1e-15)
    assert rotations.quat_product(p, q) == pytest.approx(poses.quat_multiply(p, q), abs=1e-15)
    assert rotations.rotate(p, b) == pytest.approx(poses.quat_rotate(p, b), abs=1e-14)
    turned = rotations.quat_turned(q, a)
    assert turned == pytest.approx(poses.quat_multiply(p, q), abs=1e-14)
    minus = tuple(-x for x in turned)
    for end in (turned, minus):
        back = rotations.rotvec_between(q, end)
        assert rotations.norm(back) <= np.pi + 1e-12
        assert poses.pose_distance(np.r_[0, 0, 0, rotations.quat_turned(q, back)], np.r_[0, 0, 0, end])[1] < 1e-7


@settings(max_examples=50, deadline=None)
@given(vector | tiny, vector)
def test_left_jacobian_is_the_angular_velocity_of_a_changing_rotation_vector(rotvec, rate):
    h = 1e-6
    before, after = (np.array(rotvec) + s * h * np.array(rate) for s in (-1, 1))
    turned = poses.quat_multiply(poses.quat_from_rotvec(after), poses.quat_inverse(poses.quat_from_rotvec(before)))
    assert rotations.left_jacobian_times(rotvec, rate) == pytest.approx(
        poses.rotvec_from_quat(turned) / (2 * h), abs=1e-8
    )
    if rotations.norm(rotvec) < np.pi:
        solved = rotations.left_jacobian_solve(rotvec, rotations.left_jacobian_times(rotvec, rate))
        assert solved == pytest.approx(rate, abs=1e-12)


def test_the_series_near_zero_meets_the_closed_form():
    for angle in (0.99e-3, 1.01e-3):
        w = (angle, 0.0, 0.0)
        # J (0, 1, 0) = (0, sin(t)/t, (1 - cos(t))/t) for a rotation about x.
        expected = (0.0, np.sin(angle) / angle, 2.0 * np.sin(angle / 2) ** 2 / angle)
        assert rotations.left_jacobian_times(w, (0.0, 1.0, 0.0)) == pytest.approx(expected, abs=1e-13)
