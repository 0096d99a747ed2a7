"""Bounds of joint velocity: what the FR3 accepts near its limits, and never an empty interval."""

import dataclasses

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_sim.franka import HOME_RAD
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pinocchio", reason="pinocchio is not installed")

from dp_control.kinematics_limits import JointLimits
from dp_control.robot_model import RobotModel

PERIOD_S = 0.004
ACCELERATION_RAD_S2 = 10.0
HOME = np.array(HOME_RAD)


@pytest.fixture(scope="module")
def model():
    contract = load_contract("sim_franka")
    return RobotModel.from_contract(
        dataclasses.replace(contract, robot=dataclasses.replace(contract.robot, description="fr3"))
    )


# libfranka, rate_limiting.h: speed <= -offset + sqrt(slope * (end - q)), for upper and lower ends of each joint.
FR3_OFFSET = np.array([0.30, 0.20, 0.20, 0.30, 0.35, 0.35, 0.35])
FR3_SLOPE = np.array([12.0, 5.17, 7.0, 8.0, 34.0, 11.0, 34.0])
FR3_UPPER = np.array([2.75010, 1.79180, 2.90650, -0.1458, 2.81010, 4.52050, 3.01960])
FR3_LOWER = np.array([-2.75010, -1.79180, -2.90650, -3.0481, -2.81010, 0.54092, -3.01960])
FR3_TOLERANCE = 0.001


def test_speed_near_joint_limits_is_what_the_fr3_accepts(model):
    limits = JointLimits(model)
    for share in np.linspace(0.0, 1.0, 401):
        joints = model.lower + share * (model.upper - model.lower)
        # A very fast joint: its acceleration bound is none.
        bounds = JointLimits(model, 1000.0).bounds(joints, np.zeros(7), 0.02)
        accepted_up = np.maximum(0.0, -FR3_OFFSET + np.sqrt(np.maximum(0.0, FR3_SLOPE * (FR3_UPPER - joints))))
        accepted_down = np.maximum(0.0, -FR3_OFFSET + np.sqrt(np.maximum(0.0, FR3_SLOPE * (joints - FR3_LOWER))))
        assert np.all(bounds.upper <= np.maximum(0.0, accepted_up - FR3_TOLERANCE))
        assert np.all(-bounds.lower <= np.maximum(0.0, accepted_down - FR3_TOLERANCE))
    assert np.all(limits.bounds(HOME, np.zeros(7), PERIOD_S).upper == ACCELERATION_RAD_S2 * PERIOD_S)


@given(
    st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7),
    st.lists(st.floats(-1.0, 1.0), min_size=200, max_size=200),
    st.sampled_from([0.001, 0.004, 0.02]),
)
@settings(max_examples=30, deadline=None)
def test_bounds_are_never_empty(model, shares, wishes, period_s):
    """Always at one end of the bounds: full speed into a limit and back, however it is mixed."""
    limits = JointLimits(model)
    joints = model.lower + np.array(shares) * (model.upper - model.lower)
    velocity = np.zeros(7)
    for wish in wishes:
        bounds = limits.bounds(joints, velocity, period_s)
        assert np.all(bounds.lower <= bounds.upper)
        following = bounds.upper if wish > 0.0 else bounds.lower
        assert np.abs(following - velocity).max() <= ACCELERATION_RAD_S2 * period_s + 1e-9
        velocity = following
        joints = joints + velocity * period_s
        assert np.all((joints >= model.lower - 1e-12) & (joints <= model.upper + 1e-12))
