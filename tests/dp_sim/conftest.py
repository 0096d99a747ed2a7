"""Teleop mapping and control limits of the cell, as a stand-in for their nodes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dp_bringup.domain import choose_domain
from dp_core.contract import Contract, load_contract
from dp_core.motion_limits import MotionLimiter
from dp_sim.cell import RobotState
from dp_sim.offline import CONTROL_PERIOD_MS, Controller
from dp_sim.operator import DeviceSample
from dp_teleop.mapping import MappingState, SpaceMouseSample, step


@pytest.fixture(scope="session")
def domain_of_simulators() -> int:
    """A ROS domain that no other run on this machine has, without what earlier tests of this one have left."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("ROS_DOMAIN_ID", raising=False)
        return choose_domain()


@pytest.fixture(scope="session")
def contract() -> Contract:
    return load_contract("sim_franka")


@pytest.fixture
def make_controller(contract) -> Callable[[RobotState], Controller]:
    def make(state: RobotState) -> Controller:
        closed = state.width_m < 0.5 * contract.gripper.max_width_m
        memory = {"mapping": MappingState(gripper_closed=closed)}
        limiter = MotionLimiter(contract.limits, contract.safety, CONTROL_PERIOD_MS / 1000.0)
        limiter.start(state.ee_pose)

        def control(sample: DeviceSample, t_ns: int):
            device = SpaceMouseSample(t_ns, sample.axes, tuple(b > 0 for b in sample.buttons))
            memory["mapping"], command = step(memory["mapping"], device, None, contract.teleop, contract.gripper)
            limiter.follow_twist(command.twist)
            return limiter.motion.pose, (command.width if command.toggled else None)

        return control

    return make
