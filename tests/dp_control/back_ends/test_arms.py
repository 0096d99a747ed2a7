"""One contract for all arm back ends: the same expectations through the interface, a peer plays the controller."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from dp_control.arms import make_arm
from dp_control.interfaces import ArmCommand, JointSolution
from dp_ros.messages import pose_to_array
from geometry_msgs.msg import PoseStamped
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

JOINTS = np.array([0.1, -0.7, 0.2, -2.3, 0.3, 1.6, 0.8])
VELOCITY = np.array([0.1, 0.0, -0.2, 0.0, 0.3, 0.0, -0.4])
POSE = np.array([0.5, 0.1, 0.3, 0.6, 0.0, 0.8, 0.0])


def same_pose(message):
    np.testing.assert_allclose(pose_to_array(message.pose), POSE)
    assert message.header.frame_id == "fr3_link0"


def same_joints(message):
    np.testing.assert_allclose(message.data, JOINTS)


def goes_on_and_stops(message):
    assert message.joint_names == [f"fr3_joint{i}" for i in range(1, 8)]
    # The first message of a stream interpolates over 200 ms; then 0.4 rad/s / 5 rad/s^2 = 80 ms to rest.
    ahead, rest = message.points
    assert (ahead.time_from_start.nanosec, rest.time_from_start.nanosec) == (200_000_000, 280_000_000)
    np.testing.assert_allclose(ahead.positions, JOINTS + 0.2 * VELOCITY)
    np.testing.assert_allclose(ahead.velocities, VELOCITY)
    np.testing.assert_allclose(rest.positions, JOINTS + 0.24 * VELOCITY)
    np.testing.assert_allclose(rest.velocities, 0.0)


def torques(message):
    assert len(message.data) == 7 and np.isfinite(message.data).all()


@dataclass
class Case:
    name: str
    topic: str
    message_type: type
    check: object
    robot: dict = field(default_factory=dict)
    # The controller's own subscription, as in its source.
    depth: int = 1


CASES = [
    Case("sim", "robot/target_pose", PoseStamped, same_pose),
    Case("crisp", "target_pose", PoseStamped, same_pose, {"back_end": "pose", "controller": "crisp"}),
    Case(
        "fzi",
        "cartesian_motion_controller/target_frame",
        PoseStamped,
        same_pose,
        {"back_end": "pose", "controller": "fzi"},
        3,
    ),
    Case(
        "joint_trajectory",
        "joint_trajectory_controller/joint_trajectory",
        JointTrajectory,
        goes_on_and_stops,
        {"back_end": "joint", "description": "fr3"},
        10,
    ),
    Case(
        "forward_position",
        "forward_position_controller/commands",
        Float64MultiArray,
        same_joints,
        {"back_end": "joint", "controller": "forward_position", "description": "fr3"},
        10,
    ),
    Case(
        "forward_effort",
        "effort_controller/commands",
        Float64MultiArray,
        torques,
        {"back_end": "effort", "description": "fr3"},
        10,
    ),
]
ALL = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture
def joint_states(bench):
    """The arm's own state, which the effort back end needs."""
    publisher = bench.robot.node.create_publisher(JointState, "robot/joint_states", 10)
    message = JointState(name=[f"fr3_joint{i}" for i in range(1, 8)], position=list(JOINTS), velocity=[0.0] * 7)

    def publish():
        message.header.stamp = bench.robot.node.get_clock().now().to_msg()
        publisher.publish(message)

    bench.robot.node.create_timer(0.01, publish)


def listen(bench, case, received):
    profile = QoSProfile(depth=case.depth, reliability=QoSReliabilityPolicy.RELIABLE)
    return bench.robot.node.create_subscription(case.message_type, case.topic, received.append, profile)


def command(bench, joints=True):
    solution = JointSolution(JOINTS, VELOCITY, 0.0, 0.0) if joints else None
    return ArmCommand(bench.control.now_ns(), POSE, np.zeros(6), solution)


@ALL
def test_every_back_end_finds_its_controller_obeys_and_falls_silent(case, bench, make_contract, joint_states):
    arm = bench.make(make_arm, make_contract(**case.robot))
    bench.cycle(lambda: "nobody listens" in arm.problem(bench.control.now_ns()), "the missing controller")
    received = []
    listen(bench, case, received)
    took_s = bench.cycle(lambda: arm.problem(bench.control.now_ns()) == "", "the controller to be found")
    assert took_s < 2.0
    sent = command(bench)
    arm.send(sent)
    bench.cycle(lambda: received, "the command")
    case.check(received[-1])
    if hasattr(received[-1], "header"):
        stamp = received[-1].header.stamp
        assert stamp.sec * 10**9 + stamp.nanosec == sent.t_ns
    arm.release()
    bench.settle(received)  # the effort back end ramps its torque down
    count = len(received)
    bench.run_for(0.2, lambda _: None)
    assert len(received) == count, "after a release nothing more may be sent"


@ALL
def test_every_back_end_refuses_beside_a_second_publisher(case, bench, make_contract, joint_states):
    arm = bench.make(make_arm, make_contract(**case.robot))
    listen(bench, case, [])
    bench.cycle(lambda: arm.problem(bench.control.now_ns()) == "", "the controller to be found")
    rival = bench.robot.node.create_publisher(case.message_type, case.topic, 1)
    took_s = bench.cycle(lambda: "other publisher" in arm.problem(bench.control.now_ns()), "the second publisher")
    assert took_s < 1.0
    bench.robot.node.destroy_publisher(rival)
    bench.cycle(lambda: arm.problem(bench.control.now_ns()) == "", "the end of the conflict to be noticed")


@ALL
def test_every_back_end_sends_where_the_contract_says(case, bench, make_contract, joint_states):
    arm = bench.make(make_arm, make_contract(**case.robot, topic="left/commands"))
    case.topic, received, default = "left/commands", [], case.topic
    try:
        listen(bench, case, received)
        bench.cycle(lambda: arm.problem(bench.control.now_ns()) == "", "the controller to be found")
        arm.send(command(bench))
        bench.cycle(lambda: received, "the command")
    finally:
        case.topic = default


@pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.name)
def test_a_slow_controller_is_not_replayed_old_commands(case, bench, make_contract, joint_states):
    """A reader that joins late or lags must find the newest command only, whatever its own depth."""
    arm = bench.make(make_arm, make_contract(**case.robot))
    assert arm._topic._publisher.qos_profile.depth == 1
    (info,) = bench.robot.node.get_publishers_info_by_topic(bench.robot.node.resolve_topic_name(case.topic)) or [None]
    assert info is None or info.qos_profile.reliability == QoSReliabilityPolicy.RELIABLE


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.robot.get("back_end") == "joint"], ids=lambda c: c.name
)
def test_joint_back_ends_refuse_a_command_without_joints(case, bench, make_contract):
    arm = bench.make(make_arm, make_contract(**case.robot))
    assert arm.needs_joints
    with pytest.raises(ValueError, match="no joints"):
        arm.send(command(bench, joints=False))
