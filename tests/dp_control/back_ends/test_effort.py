"""The effort back end over DDS: what it sends when joint states are fresh, old, unusable or too slow, and at the end.

Stamps are made up, so that nothing here depends on how fast the machine is.
"""

from __future__ import annotations

import numpy as np
import pytest
from dp_control.arms.effort import LAST_MESSAGES, EffortBackEnd, read_joints
from dp_control.interfaces import ArmCommand
from dp_control.robot_model import RobotModel
from dp_ros.messages import ns_to_stamp
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

NAMES = tuple(f"fr3_joint{i}" for i in range(1, 8))
JOINTS = np.array([0.1, -0.7, 0.2, -2.3, 0.3, 1.6, 0.8])
PERIOD_NS = 4_000_000
STEP_NM = 1000.0 * 0.004
SECOND = 1_000_000_000


class Robot:
    """Joint states out, torques in."""

    def __init__(self, bench, contract):
        self.bench = bench
        self.torques = []
        self.arm = bench.make(EffortBackEnd, contract)
        node = bench.robot.node
        self._states = node.create_publisher(JointState, "robot/joint_states", 10)
        node.create_subscription(Float64MultiArray, "effort_controller/commands", self._on_torque, 10)
        self.model = RobotModel.from_contract(contract)
        self.pose = self.model.forward(JOINTS)

    def _on_torque(self, message):
        self.torques.append(np.array(message.data))

    def feed(self, t_ns, expect="", names=NAMES, velocity=(0.0,) * 7):
        """Publish a joint state until the back end thinks `expect` of it; more than a second after the last one."""
        message = JointState(name=list(names), position=JOINTS.tolist(), velocity=list(velocity))
        message.header.stamp = ns_to_stamp(t_ns)

        def thinks():
            self._states.publish(message)
            problem = self.arm.problem(t_ns)
            return expect in problem if expect else problem == ""

        self.bench.cycle(thinks, f"the problem to be {expect!r}")

    def send(self, t_ns, offset_m=0.0):
        """One cycle; returns its torques."""
        count = len(self.torques)
        pose = self.pose + np.r_[0.0, offset_m, np.zeros(5)]
        self.arm.send(ArmCommand(t_ns, pose, np.zeros(6)))
        self.bench.cycle(lambda: len(self.torques) > count, "torques")
        return self.torques[-1]


@pytest.fixture
def make_robot(bench, make_contract):
    return lambda **robot: Robot(bench, make_contract(back_end="effort", description="fr3", **robot))


def test_torques_pull_towards_the_target_and_end_when_joint_states_are_old(make_robot):
    robot = make_robot()
    robot.feed(10 * SECOND)
    torques = [robot.send(10 * SECOND, 0.02), robot.send(10 * SECOND + PERIOD_NS, 0.02)]
    force = np.linalg.lstsq(robot.model.jacobian(JOINTS).T, torques[-1], rcond=None)[0]
    assert force[1] > 3.0
    assert "old" in robot.arm.problem(11 * SECOND)
    for cycle in range(4):
        torques.append(robot.send(11 * SECOND + cycle * PERIOD_NS, 0.02))
    np.testing.assert_allclose(torques[-1], 0.0, atol=1e-9)
    assert np.abs(np.diff(torques, axis=0)).max() <= STEP_NM + 1e-9


def test_stamps_from_the_future_are_no_joint_states(make_robot):
    robot = make_robot()
    robot.feed(10 * SECOND)
    assert "joint state" in robot.arm.problem(9 * SECOND)
    np.testing.assert_allclose(robot.send(9 * SECOND, 0.02), 0.0)


def test_joint_states_without_velocity_are_refused_by_name(make_robot):
    robot = make_robot()
    robot.feed(10 * SECOND, expect="7 names, 7 positions, 0 velocities", velocity=())
    robot.feed(10 * SECOND, expect="fr3_joint7 are not in the message", names=(*NAMES[:6], "other"))
    np.testing.assert_allclose(robot.send(10 * SECOND, 0.02), 0.0)


@pytest.mark.parametrize("gravity", ["robot", "controller"])
def test_a_release_ramps_to_what_carries_the_arm(make_robot, bench, gravity):
    robot = make_robot(gravity=gravity)
    robot.feed(10 * SECOND)
    for cycle in range(3):
        robot.send(10 * SECOND + cycle * PERIOD_NS, 0.05)
    assert np.abs(robot.torques[-1]).max() > 5.0
    begin = len(robot.torques) - 1
    robot.arm.release()
    carried = robot.model.gravity(JOINTS) if gravity == "controller" else np.zeros(7)
    bench.cycle(
        lambda: (
            len(robot.torques) > begin + LAST_MESSAGES
            and np.allclose(robot.torques[-LAST_MESSAGES:], carried, atol=1e-6)
        ),
        "the end of the ramp",
    )
    assert np.abs(np.diff(robot.torques[begin:], axis=0)).max() <= STEP_NM + 1e-9


def test_closing_ramps_to_zero_before_it_ends(make_robot, bench):
    robot = make_robot()
    robot.feed(10 * SECOND)
    for cycle in range(3):
        robot.send(10 * SECOND + cycle * PERIOD_NS, 0.05)
    begin = len(robot.torques) - 1
    bench.made.remove(robot.arm)
    robot.arm.close()
    bench.cycle(lambda: np.allclose(robot.torques[-1], 0.0), "zeros")
    assert np.abs(np.diff(robot.torques[begin:], axis=0)).max() <= STEP_NM + 1e-9


def test_a_loop_that_is_too_slow_goes_limp_and_says_so(make_robot):
    robot = make_robot()
    torques = []
    for cycle in range(5):
        t_ns = (10 + 2 * cycle) * SECOND
        robot.feed(t_ns)
        torques.append(robot.send(t_ns, 0.02))
        if "too slow" in robot.arm.problem(t_ns):
            break
    assert "too slow" in robot.arm.problem(t_ns)
    assert len(torques) == 4  # the first has no cycle before it
    last = robot.send(t_ns + PERIOD_NS, 0.02)
    assert np.abs(last).max() < np.abs(torques[2]).max()
    robot.arm.release()
    assert robot.arm.problem(t_ns) == ""  # so that somebody may go on


def test_joints_are_read_by_name():
    order = (3, 1, 0, 2, 6, 5, 4)
    message = JointState(name=[NAMES[i] for i in order], position=JOINTS[list(order)].tolist(), velocity=[0.1] * 7)
    message.velocity[0] = 0.7
    position, velocity = read_joints(message, NAMES)
    np.testing.assert_array_equal(position, JOINTS)
    np.testing.assert_array_equal(velocity, [0.1, 0.1, 0.1, 0.7, 0.1, 0.1, 0.1])
    message.position[2] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        read_joints(message, NAMES)
