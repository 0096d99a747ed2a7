"""Constraints of place, by hand."""

import math

import numpy as np
import pytest
from dp_core.allowed_region import INSET, ConeRegion, PositionRegion
from dp_core.limits import KeepOutBox, OrientationCone, SafetySpec
from dp_core.rotations import quat_exp, quat_turned, rotate

BOX = KeepOutBox((0.5, -0.1, 0.0), (0.6, 0.1, 0.2))
REGION = PositionRegion((0.2, -0.4, 0.0), (0.8, 0.4, 0.6), SafetySpec(table_height_m=0.02, keep_out={"bin": BOX}))
DOWN = (1.0, 0.0, 0.0, 0.0)
CONE = ConeRegion(OrientationCone(0.5))


def line(*points):
    return np.array(points, dtype=float)


@pytest.mark.parametrize(
    ("points", "name"),
    [
        (line((0.3, 0, 0.3), (0.79, 0, 0.3)), None),
        (line((0.3, 0, 0.3), (0.81, 0, 0.3)), "workspace"),
        (line((0.3, 0, 0.03), (0.3, 0, 0.019)), "table"),
        (line((0.3, 0, 0.01), (0.3, 0.1, 0.01)), None),  # below the table, but not deeper
        (line((0.3, 0, 0.01), (0.3, 0.1, 0.009)), "table"),
        (line((0.3, 0, 0.01), (0.3, 0, 0.1), (0.3, 0, 0.019)), "table"),  # came back, so no way down again
        (line((0.45, 0, 0.1), (0.51, 0, 0.1)), "keep_out:bin"),
        (line((0.45, 0, 0.1), (0.65, 0, 0.1)), "keep_out:bin"),  # jumps over it
        (line((0.45, 0, 0.21), (0.65, 0, 0.21)), None),
        (line((0.51, 0, 0.1), (0.505, 0, 0.1), (0.45, 0, 0.1)), None),  # comes out of it
        (line((0.51, 0, 0.1), (0.52, 0, 0.1)), "keep_out:bin"),
        (line((0.48, 0.05, 0.1), (0.55, 0.12, 0.1)), "keep_out:bin"),  # cuts its corner
    ],
)
def test_samples_may_not_make_a_violation_worse(points, name):
    assert REGION.worsened(points) == name


def test_margin_is_the_distance_to_the_nearest_boundary():
    assert REGION.margin((0.7, 0.3, 0.3)) == pytest.approx(0.1, abs=1e-8)
    assert REGION.margin((0.47, 0.0, 0.1)) == pytest.approx(0.03, abs=1e-8)
    assert REGION.margin((0.55, 0.03, 0.18)) == pytest.approx(-0.02, abs=1e-8)
    # 3-4-5: 0.03 and 0.04 away from an edge of the box.
    assert REGION.margin((0.57, 0.14, 0.23)) == pytest.approx(0.05, abs=1e-8)


def test_only_the_part_towards_a_boundary_is_slowed():
    velocity, names = REGION.slowed((0.79, 0.0, 0.3), (1.0, 0.5, -0.1), lambda distance: 10.0 * max(distance, 0.0))
    assert velocity == pytest.approx((0.1 - 10 * INSET, 0.5, -0.1)) and names == ("workspace",)
    away = (-1.0, 0.5, 0.1)
    assert REGION.slowed((0.79, 0.0, 0.3), away, lambda distance: 10.0 * distance) == (away, ())
    velocity, names = REGION.slowed((0.49, 0.0, 0.1), (0.3, 0.2, 0.1), lambda distance: 10.0 * max(distance, 0.0))
    assert velocity == pytest.approx((0.1 - 10 * INSET, 0.2, 0.1)) and names == ("keep_out:bin",)


def test_targets_move_to_the_nearest_allowed_place():
    target, velocity, names = REGION.projected((0.9, 0.0, 0.01), (0.1, 0.2, -0.3))
    assert target == pytest.approx((0.8 - INSET, 0.0, 0.02 + INSET)) and velocity == (0.0, 0.2, 0.0)
    assert set(names) == {"workspace", "table"}
    target, velocity, names = REGION.projected((0.51, 0.05, 0.1), (0.1, 0.2, 0.3))
    assert target == pytest.approx((0.5 - INSET, 0.05, 0.1)) and velocity == (0.0, 0.2, 0.3)
    assert names == ("keep_out:bin",)
    # The box stands on the floor: its lower face is no way out.
    assert REGION.projected((0.55, 0.0, 0.03), (0, 0, 0))[0][2] > 0.02


def test_the_cone_measures_the_angle_of_the_tool():
    tilted = quat_turned(DOWN, (0.3, 0.0, 0.0))
    assert CONE.margin(tilted) == pytest.approx(0.2, abs=1e-7)
    assert CONE.margin(quat_turned(tilted, (0.0, 0.0, 1.0))) == pytest.approx(0.2, abs=1e-7)
    assert ConeRegion(None).margin(tilted) == math.inf


def test_the_cone_slows_tilting_and_leaves_turning():
    tilted = quat_turned(DOWN, (0.45, 0.0, 0.0))
    velocity, names = CONE.slowed(tilted, (1.0, 0.0, 0.7), lambda angle: 2.0 * angle)
    assert velocity == pytest.approx((0.1, 0.0, 0.7), abs=1e-3) and names == ("orientation_cone",)
    assert CONE.slowed(tilted, (-1.0, 0.0, 0.7), lambda angle: 0.0) == ((-1.0, 0.0, 0.7), ())


def test_a_target_outside_the_cone_is_tilted_back_the_short_way():
    target, velocity, names = CONE.projected(quat_turned(DOWN, (1.2, 0.0, 0.0)), (1.0, 0.5, 0.0))
    assert target == pytest.approx(quat_turned(DOWN, (0.5 - INSET, 0.0, 0.0)), abs=1e-12)
    assert velocity == pytest.approx((0.0, 0.5, 0.0)) and names == ("orientation_cone",)
    # Straight up there is no short way: any will do.
    up, _, _ = CONE.projected(quat_exp((0.0, 0.0, 0.0)), (0.0, 0.0, 0.0))
    assert math.acos(-rotate(up, (0.0, 0.0, 1.0))[2]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("start", "turns", "name"),
    [
        (0.4, [(0.05, 0, 0), (0.04, 0, 0)], None),
        (0.4, [(0.05, 0, 0), (0.06, 0, 0), (-0.2, 0, 0)], "orientation_cone"),
        (0.7, [(-0.05, 0, 0), (-0.1, 0, 0)], None),
        (0.7, [(-0.05, 0, 0), (0.01, 0, 0)], "orientation_cone"),
        (0.7, [(0, 0, 0.3), (0, 0, -0.5)], None),
    ],
)
def test_turns_may_not_make_the_tilt_worse(start, turns, name):
    left = np.linalg.norm(turns, axis=1)[::-1].cumsum()[::-1] - np.linalg.norm(turns, axis=1)
    assert CONE.worsened(quat_turned(DOWN, (start, 0.0, 0.0)), turns, left.tolist()) == name
