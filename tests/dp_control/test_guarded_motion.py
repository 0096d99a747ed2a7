"""The command with the arm's inverse kinematics: out of reach it slows and holds, and comes back."""

from dataclasses import replace

import numpy as np
import pytest
from dp_control.core import Stamped
from dp_control.guarded_motion import UNREACHABLE, GuardedMotion
from dp_control.modes import Mode
from dp_core.contract import load_contract

pytest.importorskip("pinocchio", reason="inverse kinematics need pinocchio: pip install pin")
pytest.importorskip("daqp", reason="inverse kinematics need daqp: pip install daqp")

from dp_control.kinematics import QpKinematics

CONTRACT = load_contract("sim_franka_joint")
JOINTS = np.array([0.0, -0.5, 0.0, -2.3, 0.0, 1.8, 0.785])
# A workspace larger than the arm's reach (0.855 m from its shoulder).
WIDE = replace(
    CONTRACT, limits=replace(CONTRACT.limits, workspace_min_m=(-1.2, -1.2, 0.0), workspace_max_m=(1.2, 1.2, 1.5))
)


def started(contract=WIDE):
    kinematics = QpKinematics.from_contract(contract)
    guarded = GuardedMotion(contract, kinematics)
    guarded.start(kinematics.forward(JOINTS), JOINTS)
    return guarded, kinematics


def test_the_joints_follow_the_command():
    guarded, kinematics = started()
    for _ in range(150):
        guarded.follow_twist(np.array([0.0, 0.1, 0.05, 0, 0, 0.3]))
    reached = kinematics.forward(guarded.joints.position)
    np.testing.assert_allclose(reached[:3], guarded.motion.pose[:3], atol=1e-3)


def test_out_of_reach_the_command_slows_and_holds_and_comes_back():
    guarded, kinematics = started()
    h, x0 = 1e-9 * WIDE.control.period_ns, guarded.motion.pose[0]
    path, names, joints = [], set(), []
    for _ in range(600):
        names |= set(guarded.follow_twist(np.array([0.3, 0, 0, 0, 0, 0])))
        path.append(guarded.motion.pose[:3])
        joints.append(guarded.joints.position)
    assert UNREACHABLE in names
    assert path[-1][0] > x0 + 0.1, "it went as far as it could"
    assert np.ptp(np.array(path)[-100:], axis=0).max() < 1e-6 and np.ptp(np.array(joints)[-100:], axis=0).max() < 1e-3
    off = np.linalg.norm(kinematics.forward(joints[-1])[:3] - path[-1])
    assert off < 0.02, "the command must not run away from the arm"
    for _ in range(300):
        guarded.follow_twist(np.array([-0.2, 0, 0, 0, 0, 0]))
        path.append(guarded.motion.pose[:3])
        joints.append(guarded.joints.position)
    assert path[-1][0] < path[599][0] - 0.15
    for order, limit in ((1, 0.6), (2, 6.0), (3, WIDE.limits.linear_jerk_m_s3)):
        found = np.linalg.norm(np.diff(np.array(path), order, axis=0), axis=1).max() / h**order
        assert found <= limit * 1.001, f"a step that was undone must not show in derivative {order}"
    speeds = np.abs(np.diff(np.array(joints), axis=0)).max(axis=0) / h
    assert np.all(speeds <= kinematics.model.velocity_limit * 1.001)


class SeatedBench:
    """The core with kinematics; joints and pose follow the command."""

    def __init__(self, bench, kinematics):
        self.bench, self.kinematics, self.joints = bench, kinematics, JOINTS.copy()
        bench.pose = kinematics.forward(JOINTS)

    def run(self, cycles, **events):
        for i in range(cycles):
            self.bench.extra["joints"] = Stamped(self.bench.t + self.bench.period_ns, self.joints)
            out = self.bench.run(1, **(events if i == 0 else {}))
            if out.pose is not None:
                self.joints = out.joints.position
        return out


@pytest.fixture
def seated(make_bench):
    kinematics = QpKinematics.from_contract(CONTRACT)
    robot = {"back_end": "joint", "description": "fr3"}
    return SeatedBench(make_bench(kinematics, robot=robot), kinematics)


def test_the_core_starts_from_the_measured_joints_and_sends_the_solution(seated):
    out = seated.run(10, mode=Mode.TELEOP)
    assert out.mode == Mode.TELEOP
    np.testing.assert_allclose(out.joints.position, JOINTS, atol=2e-3)
    seated.bench.hand = np.array([0, 0.1, 0, 0, 0, 0])
    out = seated.run(50)
    np.testing.assert_allclose(seated.kinematics.forward(out.joints.position)[:3], out.pose[:3], atol=1e-3)


def test_a_description_that_does_not_fit_the_robot_starts_nothing(seated):
    seated.bench.pose[2] -= 0.1034  # another tool
    seated.run(205, mode=Mode.HOLD)
    refusals = [out.refused for out in seated.bench.outputs if out.refused]
    assert len(refusals) == 1 and "0.103 m" in refusals[0] and "wrong URDF, or wrong ee_frame" in refusals[0]


def test_joints_that_are_not_heard_of_are_a_fault(seated):
    seated.run(10, mode=Mode.HOLD)
    seated.bench.run(30)
    out = seated.bench.outputs[-1]
    assert out.mode == Mode.FAULT and "joint positions on robot/joint_states is" in out.text


def test_after_a_long_pause_the_joints_go_on_from_rest_too():
    guarded, kinematics = started()
    h, limit = 1e-9 * WIDE.control.period_ns, kinematics.limits.acceleration
    for _ in range(60):
        guarded.follow_twist(np.array([0.0, 0.3, 0, 0, 0, 0]))
    before = guarded.joints
    assert np.abs(before.velocity).max() > 0.3
    guarded.rest()
    guarded.brake()
    step = (guarded.joints.position - before.position) / h
    assert np.all(np.abs(step) <= limit * h * 1.001), "the arm has stood still meanwhile"


def test_joints_outside_their_limits_start_no_mode_and_say_which(seated):
    seated.joints = JOINTS.copy()
    seated.joints[1] = -1.99  # lower limit -1.7628
    seated.bench.pose = seated.kinematics.forward(seated.joints)
    seated.run(205, mode=Mode.HOLD)
    refusals = [out.refused for out in seated.bench.outputs if out.refused]
    assert len(refusals) == 1 and "fr3_joint2 = -1.99 rad is outside its limits" in refusals[0]
    assert all(out.pose is None for out in seated.bench.outputs)


def test_an_arm_that_is_to_hold_does_not_move_by_what_description_and_measured_pose_differ(seated):
    seated.bench.pose[1] += 0.015  # within the tolerance of the description
    seated.bench.blocked = True
    out = seated.run(100, mode=Mode.HOLD)
    assert out.mode == Mode.HOLD
    moved = seated.kinematics.forward(seated.joints)[:3] - seated.kinematics.forward(JOINTS)[:3]
    np.testing.assert_allclose(moved, 0.0, atol=1e-4)


def test_joints_from_before_the_request_start_no_mode(seated):
    seated.run(5)
    bench, before = seated.bench, Stamped(seated.bench.t, JOINTS)
    bench.extra["joints"] = before
    bench.run(1, mode=Mode.HOLD)
    for _ in range(20):
        assert bench.run(1).mode == Mode.STOPPED, "the arm may have been guided since"
    bench.extra["joints"] = Stamped(bench.t, JOINTS)
    assert bench.run(1).mode == Mode.HOLD


@pytest.mark.parametrize("fault", [False, True])
def test_a_stop_ends_when_the_joints_rest_too_and_starts_again_within_their_acceleration(seated, fault):
    seated.run(10, mode=Mode.TELEOP)
    seated.bench.hand = np.array([-0.1, 0.3, 0.3, 1.5, 0.5, -1.0])
    seated.run(60)
    if fault:
        seated.bench.extra["robot_problem"] = "reflex"
        seated.run(60)
    else:
        seated.run(60, mode=Mode.STOPPED)
    assert seated.bench.outputs[-1].pose is None
    seated.bench.extra["robot_problem"] = ""
    seated.run(20, resume=True)
    path = [out.joints.position if out.pose is not None else None for out in seated.bench.outputs]
    for i in range(1, len(path)):  # while nothing is sent the joints stand still
        path[i] = path[i - 1] if path[i] is None else path[i]
    moved = np.array([joints for joints in path if joints is not None])
    found = np.abs(np.diff(moved, 2, axis=0)).max() / (1e-9 * seated.bench.period_ns) ** 2
    assert seated.bench.outputs[-1].mode == Mode.HOLD and found <= 10.0 * 1.03


def test_a_controller_that_takes_poses_starts_at_the_measured_pose():
    contract = replace(WIDE, robot=replace(WIDE.robot, back_end="pose", controller="crisp"))
    kinematics = QpKinematics.from_contract(contract)
    guarded = GuardedMotion(contract, kinematics)
    measured = kinematics.forward(JOINTS)
    measured[1] += 0.015  # what a calibration may set apart
    guarded.start(measured, JOINTS)
    for _ in range(50):
        guarded.brake()
    np.testing.assert_allclose(guarded.motion.pose, measured, atol=1e-12)
    for _ in range(100):
        guarded.follow_twist(np.array([0.0, 0.1, 0, 0, 0, 0]))
    assert guarded.motion.pose[1] > measured[1] + 0.03, "the first difference does not count as out of reach"
