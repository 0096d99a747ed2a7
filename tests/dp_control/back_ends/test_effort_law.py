"""The torque law against physics: the simulated arm under torque control, at the law's own rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from dp_control.arms.effort_law import DelayWatch, EffortLaw, JointMeasurement, delay_margin_s
from dp_control.robot_model import RobotModel
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, load_contract
from dp_sim.cell import SimulatedCell

CELL = load_contract("sim_franka_effort")
MODEL = RobotModel.from_contract(CELL)
STIFFNESS = CELL.impedance.translational_stiffness_N_m
REST = np.zeros(6)


def contract_with(rate_hz: float = 1000.0, gravity: str = "robot", **impedance: object) -> Contract:
    return dataclasses.replace(
        CELL,
        control=dataclasses.replace(CELL.control, rate_hz=rate_hz),
        robot=dataclasses.replace(CELL.robot, gravity=gravity),
        impedance=dataclasses.replace(CELL.impedance, **impedance),
    )


class Loop:
    """Law and physics in turn; torques of `delay` periods ago when asked to."""

    def __init__(self, contract: Contract, delay: int = 0) -> None:
        self.law = EffortLaw(contract, MODEL)
        self.cell = SimulatedCell("place", 3, robot=contract.robot)
        self.period_ms = round(1000.0 / contract.control.rate_hz)
        self.torques: list[np.ndarray] = []
        self._delay = delay

    def measure(self) -> JointMeasurement:
        state = self.cell.state()
        return JointMeasurement(state.t_ms * 1_000_000, state.joint_position, state.joint_velocity)

    def run(self, seconds: float, target: Callable[[float], tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Position errors (N, 3) m; `target` gives pose7 and twist at the time since the start."""
        errors = []
        for tick in range(round(1000 * seconds / self.period_ms)):
            pose, twist = target(tick * self.period_ms / 1000.0)
            errors.append(self.cell.ee_pose()[:3] - pose[:3])
            self.torques.append(self.law.follow(self.measure(), pose, twist).copy())
            self.cell.controller.set_effort(self.torques[max(0, len(self.torques) - 1 - self._delay)])
            self.cell.step(self.period_ms)
        return np.array(errors)

    def hold(self, seconds: float, pose: np.ndarray) -> None:
        self.run(seconds, lambda t: (pose, REST))


def test_the_model_carries_the_simulated_arm():
    cell = SimulatedCell("place", 5)
    for _ in range(5):
        cell.step(100)
        joints = cell.state().joint_position
        np.testing.assert_allclose(MODEL.gravity(joints), cell.data.qfrc_bias[:7], atol=0.02)
        np.testing.assert_allclose(MODEL.forward(joints)[:3], cell.ee_pose()[:3], atol=1e-5)


@pytest.mark.parametrize("gravity", ["robot", "controller"])
@pytest.mark.parametrize(("rate_hz", "delay"), [(1000.0, 0), (500.0, 1), (250.0, 1)])
@pytest.mark.parametrize("force", [(12.0, 0.0, 0.0), (0.0, -12.0, 0.0), (0.0, 0.0, 12.0)], ids=["x", "-y", "z"])
def test_displacement_is_force_over_stiffness(gravity, rate_hz, delay, force):
    loop = Loop(contract_with(rate_hz, gravity), delay)
    pose = loop.cell.ee_pose()
    loop.hold(0.8, pose)
    # Where we carry the arm it sags while the torque ramps up from zero, and comes back.
    np.testing.assert_allclose(loop.cell.ee_pose()[:3], pose[:3], atol=2e-4)
    before = loop.cell.ee_pose()
    loop.cell.apply_wrench(force)
    loop.hold(1.5, pose)
    moved = loop.cell.ee_pose()[:3] - before[:3]
    np.testing.assert_allclose(moved, np.array(force) / STIFFNESS, atol=0.05 * 12.0 / STIFFNESS)


@pytest.mark.parametrize(("rate_hz", "delay"), [(1000.0, 0), (500.0, 1), (250.0, 1)])
def test_a_moving_target_is_tracked_without_lag(rate_hz, delay):
    start = None
    errors = {}
    for feed_forward in (True, False):
        loop = Loop(contract_with(rate_hz, feed_forward=feed_forward), delay)
        start = loop.cell.ee_pose()

        def wave(t: float, start: np.ndarray = start) -> tuple[np.ndarray, np.ndarray]:
            pose, twist = start.copy(), np.zeros(6)
            pose[1] += 0.05 * (1.0 - np.cos(3.0 * t))
            twist[1] = 0.15 * np.sin(3.0 * t)
            return pose, twist

        errors[feed_forward] = np.linalg.norm(loop.run(3.0, wave)[200:], axis=1)
    assert errors[True].max() < 0.003
    # At 0.15 m/s a damper against zero lags by D v / K, about a centimetre.
    assert errors[False].max() > 4.0 * errors[True].max()


def test_torque_and_its_rate_stay_within_their_limits():
    limit, rate = 20.0, 300.0
    loop = Loop(contract_with(500.0, torque_limit_Nm=(limit,) * 4 + (5.0,) * 3, torque_rate_limit_Nm_s=rate))
    pose = loop.cell.ee_pose()
    loop.hold(0.2, pose)
    loop.run(1.0, lambda t: (pose + np.r_[0.0, 0.15 * np.sign(np.sin(8.0 * t)), 0, 0, 0, 0, 0], REST))
    torques = np.array(loop.torques)
    changes = np.abs(np.diff(torques, axis=0))
    assert changes.max() == pytest.approx(rate * 0.002, rel=1e-6)
    assert np.abs(torques[:, :4]).max() <= limit and np.abs(torques[:, 4:]).max() <= 5.0


@pytest.mark.parametrize("gravity", ["robot", "controller"])
def test_relaxing_ends_at_what_carries_the_arm_and_following_goes_on_from_there(gravity):
    loop = Loop(contract_with(500.0, gravity))
    pose = loop.cell.ee_pose()
    loop.cell.apply_wrench([0.0, 20.0, 0.0])
    loop.hold(0.5, pose)
    torques = [loop.torques[-1]]
    while not np.allclose(torques[-1], loop.law.rest_torque):
        torques.append(loop.law.relax().copy())
        assert len(torques) < 200
    joints = loop.measure().position
    expected = MODEL.gravity(joints) if gravity == "controller" else np.zeros(7)
    np.testing.assert_allclose(torques[-1], expected, atol=0.2)
    loop.law.restart()
    torques.append(loop.law.follow(loop.measure(), pose, REST))
    assert np.abs(np.diff(torques, axis=0)).max() <= 2.0 + 1e-9


def test_the_posture_is_that_of_the_start_or_of_the_contract():
    for posture in ((), (0.3, -0.2, 0.0, -2.3, 0.0, 2.1, 0.8)):
        contract = dataclasses.replace(CELL, robot=dataclasses.replace(CELL.robot, posture_rad=posture))
        law = EffortLaw(contract, MODEL)
        joints = SimulatedCell("place", 3).state().joint_position
        np.testing.assert_allclose(law.start(joints).posture, posture or joints)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"control": dataclasses.replace(CELL.control, rate_hz=100.0)}, "control.rate_hz: 100 Hz is too slow"),
        ({"robot": dataclasses.replace(CELL.robot, posture_rad=(0.0, 1.0))}, "robot.posture_rad: 2 values for 7"),
        ({"robot": dataclasses.replace(CELL.robot, motor_inertia_kg_m2=(0.1,))}, "motor_inertia_kg_m2: 1 values"),
        ({"impedance": dataclasses.replace(CELL.impedance, torque_limit_Nm=(87.0,) * 7)}, "above the robot's own"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused(change, words):
    with pytest.raises(ConfigurationError, match=words):
        EffortLaw(dataclasses.replace(CELL, **change), MODEL)


def test_hiccups_are_forgiven_and_a_slow_loop_is_not():
    watch = DelayWatch()
    for _ in range(20):
        assert not watch.update(0.04, 0.015)
        assert not any(watch.update(0.006, 0.015) for _ in range(60))
    assert [watch.update(0.02, 0.015) for _ in range(3)] == [False, False, True]
    # It stays too slow until it has been regular for a while.
    regular = [watch.update(0.006, 0.015) for _ in range(200)]
    assert all(regular[:100]) and not any(regular[160:])


@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_a_delayed_mass_is_stable_below_the_margin_and_not_above(ratio):
    stiffness, mass = 900.0, 0.7
    margin_s = delay_margin_s(np.full(6, stiffness), mass * np.eye(6), ratio)
    damping = 2.0 * ratio * np.sqrt(stiffness * mass)
    period_s = 1e-4
    for share, grows in ((0.93, False), (1.07, True)):
        delay = round(share * margin_s / period_s)
        states = [(0.01, 0.0)]
        for _ in range(20000):
            x, v = states[-1]
            old_x, old_v = states[max(0, len(states) - 1 - delay)]
            v += (-stiffness * old_x - damping * old_v) / mass * period_s
            states.append((x + v * period_s, v))
        assert (np.abs(states[-3000:]).max() > np.abs(states[3000:6000]).max()) == grows


def test_the_delay_limit_of_the_simulated_cell_leaves_room_for_two_periods():
    law = EffortLaw(CELL, MODEL)
    law.start(SimulatedCell("place", 3).state().joint_position)
    assert 2.0 / CELL.control.rate_hz < law.delay_limit_s < 0.03
    # And the arm is stable just within it: delayed by all of it but one period.
    contract = contract_with(500.0)
    loop = Loop(contract, delay=int(law.delay_limit_s * 500.0) - 1)
    pose = loop.cell.ee_pose()
    loop.cell.apply_wrench([8.0, 5.0, 0.0], [0.6, 0.3, 0.3])
    loop.hold(0.3, pose)
    loop.cell.apply_wrench(np.zeros(3))
    loop.hold(1.5, pose)
    assert np.abs(loop.cell.state().joint_velocity).max() < 0.01
