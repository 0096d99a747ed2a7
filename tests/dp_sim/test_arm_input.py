"""Commands to the simulated arm over DDS: one simulator for each kind of controller, in lock step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
import yaml
from builtin_interfaces.msg import Duration
from dp_core.contract import config_directory
from dp_ros.messages import array_to_pose, ns_to_stamp, pose_to_array, stamp_to_ns
from dp_sim.arm_controllers import BadTargetError
from dp_sim.arm_input import trajectory_points
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from dp_msgs.msg import CommandState
from dp_ros import qos

JOINTS = [f"fr3_joint{i}" for i in range(1, 8)]


class Cell:
    """A simulator process, and control's stand-in: answers each tick with what `command` gives."""

    def __init__(self, contract: str, kind: Any, topic: str, domain: int) -> None:
        self.domain = domain
        environment = {**os.environ, "ROS_DOMAIN_ID": str(self.domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        parameters = {"cell": contract, "task": "reach_around", "rate": "0.0", "lock_step": "true", "cameras": "false"}
        arguments = [word for key, value in parameters.items() for word in ("-p", f"{key}:={value}")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dp_sim.node", "--ros-args", *arguments],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=self.domain)
        self.node = rclpy.create_node("partner", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.clock, self.stamps, self.wrench_stamps = -1, [], []
        self.pose = self.joints = self.velocity = self.force = None
        self.command: Callable[[], Any] | None = None
        create = self.node.create_subscription
        create(Clock, "/clock", self._on_clock, qos.CLOCK)
        create(PoseStamped, "robot/ee_pose", self._on_pose, qos.STATE)
        create(JointState, "robot/joint_states", self._on_joints, qos.STATE)
        create(WrenchStamped, "robot/wrench", self._on_wrench, qos.STATE)
        self._commands = self.node.create_publisher(kind, topic, qos.COMMAND_IN)
        self._states = self.node.create_publisher(CommandState, "control/command_state", qos.STATE)
        self.push = self.node.create_publisher(WrenchStamped, "sim/push", qos.COMMAND_OUT)

    def _on_clock(self, message: Clock) -> None:
        self.clock = max(self.clock, stamp_to_ns(message.clock))

    def _on_pose(self, message: PoseStamped) -> None:
        self.pose = pose_to_array(message.pose)

    def _on_joints(self, message: JointState) -> None:
        self.stamps.append(stamp_to_ns(message.header.stamp))
        self.joints, self.velocity = np.array(message.position), np.array(message.velocity)

    def _on_wrench(self, message: WrenchStamped) -> None:
        self.wrench_stamps.append(stamp_to_ns(message.header.stamp))
        force = message.wrench.force
        self.force = np.array([force.x, force.y, force.z])

    def _answer(self) -> None:
        state = CommandState(mode=CommandState.STOPPED)
        if self.command is not None:
            self._commands.publish(self.command())
            state.mode = CommandState.TELEOP
        state.header.stamp = ns_to_stamp(self.clock)
        self._states.publish(state)

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Answer every tick of that much simulated time, until the arm's state of then has come as well."""
        end, answered = self.clock + round(1e9 * seconds), self.clock
        give_up = time.monotonic() + 90.0
        while self.clock < end or min(self.stamps[-1], self.wrench_stamps[-1]) < end - 10_000_000:
            assert time.monotonic() < give_up, f"stuck at {self.clock * 1e-9:.3f} s"
            rclpy.spin_once(self.node, executor=self.executor, timeout_sec=0.02)
            if self.clock > answered:
                answered = self.clock
                each()
                self._answer()

    def start(self) -> None:
        give_up = time.monotonic() + 90.0
        while self.force is None or self.joints is None or self.pose is None or not self._heard():
            assert time.monotonic() < give_up, "no joint states within 90 s"
            rclpy.spin_once(self.node, executor=self.executor, timeout_sec=0.02)
            self._answer()
        self.run(0.3)

    def _heard(self) -> bool:
        """The simulator listens to all that is sent here."""
        senders = (self._commands, self._states, self.push)
        return all(publisher.get_subscription_count() > 0 for publisher in senders)

    def close(self) -> None:
        self.node.destroy_node()
        self.context.try_shutdown()
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30.0)
        assert self.process.returncode == 0, errors


@dataclass(frozen=True)
class Kind:
    """A contract (or changes to sim_franka's `robot`), and what its controller listens to."""

    message: Any
    topic: str
    contract: str = ""
    robot: tuple[tuple[str, str], ...] = ()


KINDS = {
    "crisp": Kind(PoseStamped, "target_pose", robot=(("back_end", "pose"), ("controller", "crisp"))),
    "forward_position": Kind(Float64MultiArray, "forward_position_controller/commands", "sim_franka_joint"),
    "joint_trajectory": Kind(
        JointTrajectory,
        "joint_trajectory_controller/joint_trajectory",
        robot=(("back_end", "joint"), ("description", "fr3")),
    ),
    "forward_effort": Kind(Float64MultiArray, "effort_controller/commands", "sim_franka_effort"),
}


@pytest.fixture
def cell(request, tmp_path: Path, domain_of_simulators: int) -> Iterator[Cell]:
    kind = KINDS[request.param]
    contract = kind.contract
    if not contract:
        data = yaml.safe_load((config_directory() / "cells" / "sim_franka.yaml").read_text())
        data["robot"] = {"gripper": "sim", **dict(kind.robot)}
        path = tmp_path / "cell.yaml"
        path.write_text(yaml.safe_dump(data))
        contract = str(path)
    cell = Cell(contract, kind.message, kind.topic, domain_of_simulators)
    try:
        cell.start()
        yield cell
    finally:
        cell.close()


def use(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("cell", [name], indirect=True)


@use("crisp")
def test_a_pose_is_followed_whatever_its_frame_and_stamp_and_a_push_shows_and_ends(cell):
    goal = cell.pose + np.r_[0.0, 0.0, 0.05, np.zeros(4)]
    message = PoseStamped()
    message.header.frame_id, message.pose = "elsewhere", array_to_pose(goal)
    cell.command = lambda: message
    cell.run(1.5)
    np.testing.assert_allclose(cell.pose[:3], goal[:3], atol=1e-3)

    push = WrenchStamped()
    push.header.frame_id = "fr3_link0"
    push.wrench.force.y = 12.0
    cell.run(1.0, lambda: cell.push.publish(push))
    np.testing.assert_allclose(cell.force, [0.0, 12.0, 0.0], atol=0.5)
    assert cell.pose[1] - goal[1] == pytest.approx(12.0 / 3000.0, rel=0.05)
    # A sender that falls silent pushes no longer than a quarter of a second.
    cell.run(0.2)
    assert cell.force[1] > 8.0
    cell.run(0.8)
    assert np.abs(cell.force).max() < 0.5
    for frame, newtons in (("elsewhere", 12.0), ("fr3_link0", float("nan")), ("fr3_link0", 1e4)):
        push.header.frame_id, push.wrench.force.y = frame, newtons
        cell.run(0.2, lambda: cell.push.publish(push))
        assert np.abs(cell.force).max() < 0.5


@use("forward_position")
def test_joint_positions_are_followed_at_the_rate_of_the_contract(cell):
    start = cell.joints
    goal = start + np.array([0.1, 0.05, -0.1, 0.05, 0.1, -0.05, 0.2])
    cell.command = lambda: Float64MultiArray(data=goal.tolist())
    cell.run(1.0)
    np.testing.assert_allclose(cell.joints, goal, atol=1e-3)
    cell.command = lambda: Float64MultiArray(data=[0.0] * 6)
    cell.run(0.2)
    np.testing.assert_allclose(cell.joints, goal, atol=1e-3)
    assert set(np.diff(sorted(set(cell.stamps[-40:])))) == {5_000_000}
    assert set(np.diff(sorted(set(cell.wrench_stamps[-40:])))) == {10_000_000}


@use("joint_trajectory")
def test_a_trajectory_is_followed_from_its_stamp(cell):
    start, begun = cell.joints, cell.clock
    goal = start + np.array([0.2, 0.0, -0.2, 0.1, 0.0, 0.1, 0.3])
    order = list(reversed(range(7)))
    point = JointTrajectoryPoint(positions=goal[order].tolist(), velocities=[0.0] * 7)
    point.time_from_start = Duration(sec=1)
    message = JointTrajectory(joint_names=[JOINTS[i] for i in order], points=[point])
    message.header.stamp = ns_to_stamp(begun)
    sent = []

    def once() -> JointTrajectory:
        sent.append(message)
        return message if len(sent) == 1 else JointTrajectory()

    cell.command = once
    cell.run(0.51)
    np.testing.assert_allclose(cell.joints, 0.5 * (start + goal), atol=0.02)
    cell.run(0.8)
    np.testing.assert_allclose(cell.joints, goal, atol=1e-3)


@use("forward_effort")
def test_torques_move_the_arm_come_on_top_of_gravity_and_end_with_their_sender(cell):
    cell.command = lambda: Float64MultiArray(data=[0.0] * 7)
    start = cell.joints
    cell.run(0.3)
    np.testing.assert_allclose(cell.joints, start, atol=1e-3)
    cell.command = lambda: Float64MultiArray(data=[0.5] + [0.0] * 6)
    cell.run(0.3)
    assert cell.velocity[0] > 0.05
    moving = cell.velocity[0]
    cell.command = None
    cell.run(1.5)
    assert abs(cell.velocity[0]) < 0.1 * moving
    assert set(np.diff(sorted(set(cell.stamps[-40:])))) == {4_000_000}


def test_trajectories_are_for_the_joints_of_this_arm():
    point = JointTrajectoryPoint(positions=[0.1 * i for i in range(7)])
    point.time_from_start = Duration(nanosec=250_000_000)
    message = JointTrajectory(joint_names=list(JOINTS), points=[point])
    # A zero stamp is now.
    (read,) = trajectory_points(message, 2_000_000_000)
    assert read.t_s == pytest.approx(2.25) and read.velocity is None
    message.joint_names[3] = "elbow"
    with pytest.raises(BadTargetError, match=r"a trajectory is for fr3_joint1, .* got .*elbow"):
        trajectory_points(message, 0)
    message.joint_names[3] = JOINTS[3]
    point.velocities = [0.0]
    with pytest.raises(BadTargetError, match="7 positions and 1 velocities"):
        trajectory_points(message, 0)
