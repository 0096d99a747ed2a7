"""Each arm back end moves the simulated arm through its controller: control and simulator over DDS, in lock step."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
import yaml
from dp_core.contract import config_directory
from dp_ros.messages import fill_twist, ns_to_stamp, pose_to_array, stamp_to_ns
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

# Changes to the contract's `robot`; lag is that of impedance without feed-forward, D / K of the velocity.
CASES = {
    "sim": ("sim_franka", {}, 0.02, 3000.0),
    "crisp": ("sim_franka", {"back_end": "pose", "controller": "crisp"}, 0.02, 3000.0),
    "joint_trajectory": ("sim_franka_joint", {"controller": "joint_trajectory"}, 0.005, None),
    "forward_position": ("sim_franka_joint", {}, 0.005, None),
    "forward_effort": ("sim_franka_effort", {}, 0.005, 1500.0),
}


class Person:
    """Drives by twist, asks for modes, pushes; works at the pace of the simulated clock."""

    def __init__(self, cell: str, domain: int) -> None:
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "OPENBLAS_NUM_THREADS": "1",
        }
        os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        common = ["--ros-args", "-p", f"cell:={cell}"]
        simulator = ["task:=reach_around", "rate:=0.0", "lock_step:=true", "cameras:=false"]
        commands = {
            "dp_sim.node": [word for parameter in simulator for word in ("-p", parameter)],
            "dp_control.node": ["-p", "use_sim_time:=true"],
        }
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, *common, *arguments], env=environment, stderr=subprocess.PIPE, text=True
            )
            for module, arguments in commands.items()
        ]
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("person", context=self.context)
        self.executor = rclpy.executors.SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.clock_ns = 0
        self.twist, self.push_N = np.zeros(6), np.zeros(3)
        self.measured: dict[int, np.ndarray] = {}
        self.commanded: dict[int, np.ndarray] = {}
        self.mode, self.text = -1, ""
        create = self.node.create_subscription
        create(Clock, "/clock", self._on_clock, qos.CLOCK)
        create(PoseStamped, "robot/ee_pose", self._on_pose, qos.STATE)
        create(CommandState, "control/command_state", self._on_command, qos.STATE)
        # A SpaceMouse in the graph makes the simulator wait for each twist; else it would outrun this test.
        self._joys = self.node.create_publisher(Joy, "spacenav/joy", qos.STATE)
        self._twists = self.node.create_publisher(TwistStamped, "teleop/twist", qos.STATE)
        self._pushes = self.node.create_publisher(WrenchStamped, "sim/push", qos.COMMAND_OUT)
        self._modes = self.node.create_client(SetMode, "control/set_mode")

    def _on_clock(self, message: Clock) -> None:
        t_ns = stamp_to_ns(message.clock)
        if t_ns // 10_000_000 > self.clock_ns // 10_000_000:
            twist = TwistStamped()
            twist.header.frame_id, twist.header.stamp = "fr3_link0", ns_to_stamp(t_ns)
            fill_twist(twist.twist, self.twist)
            self._twists.publish(twist)
            if self.push_N.any():
                push = WrenchStamped()
                push.header.frame_id = "fr3_link0"
                push.wrench.force.x, push.wrench.force.y, push.wrench.force.z = self.push_N.tolist()
                self._pushes.publish(push)
        self.clock_ns = max(self.clock_ns, t_ns)

    def _on_pose(self, message: PoseStamped) -> None:
        self.measured[stamp_to_ns(message.header.stamp)] = pose_to_array(message.pose)

    def _on_command(self, message: CommandState) -> None:
        self.mode, self.text = message.mode, message.text
        self.commanded[stamp_to_ns(message.header.stamp)] = pose_to_array(message.commanded_pose)

    def spin(self, until, what: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end, f"waited in vain for {what}; mode {self.mode} {self.text}"
            self.executor.spin_once(0.02)

    def run(self, seconds: float) -> None:
        end = self.clock_ns + round(1e9 * seconds)
        self.spin(lambda: self.clock_ns >= end, f"{seconds} s of simulation", 120.0)

    def set_mode(self, mode: int) -> None:
        future = self._modes.call_async(SetMode.Request(mode=mode))
        self.spin(future.done, "the mode")
        assert future.result().success, future.result().message

    def errors(self, since_ns: int) -> np.ndarray:
        """Distance (N,) m between measured and commanded position at the same stamps."""
        stamps = sorted(t for t in self.measured.keys() & self.commanded.keys() if t > since_ns)
        assert len(stamps) > 20
        return np.array([np.linalg.norm(self.measured[t][:3] - self.commanded[t][:3]) for t in stamps])

    def close(self) -> None:
        self.executor.shutdown(timeout_sec=1.0)
        self.node.destroy_node()  # the next simulator must not take it for its partner
        self.context.try_shutdown()
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            _, errors = process.communicate(timeout=30.0)
            assert process.returncode == 0, errors


@pytest.fixture
def person(request: pytest.FixtureRequest, tmp_path: Path, domain_of_simulators: int) -> Iterator[Person]:
    cell, robot, _, _ = CASES[request.param]
    contract = yaml.safe_load((config_directory() / "cells" / f"{cell}.yaml").read_text())
    contract["robot"].update(robot)
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(contract))
    person = Person(str(path), domain_of_simulators)
    try:
        yield person
    finally:
        person.close()


@pytest.mark.parametrize(
    ("person", "lag_m", "stiffness_N_m"),
    [pytest.param(name, *case[2:], id=name) for name, case in CASES.items()],
    indirect=["person"],
)
def test_a_back_end_drives_the_simulated_arm(person, lag_m, stiffness_N_m):
    person.spin(lambda: len(person.measured) > 20 and person.mode == CommandState.STOPPED, "both processes", 120.0)
    person.set_mode(CommandState.TELEOP)
    begun, start = person.clock_ns, person.measured[max(person.measured)]
    person.twist = np.array([0.0, 0.12, 0.06, 0.0, 0.0, 0.3])
    person.run(1.0)
    person.twist = np.zeros(6)
    person.run(1.2)
    assert person.mode == CommandState.TELEOP, person.text
    assert person.errors(begun).max() < lag_m
    moved = person.measured[max(person.measured)] - start
    np.testing.assert_allclose(moved[:3], [0.0, 0.12, 0.06], atol=0.02)
    assert person.errors(person.clock_ns - 300_000_000).max() < 0.001
    before = person.measured[max(person.measured)]
    person.push_N = np.array([0.0, 12.0, 0.0])
    person.run(1.5)
    given = (person.measured[max(person.measured)] - before)[:3]
    if stiffness_N_m is None:
        assert 1e-4 < given[1] < 0.003
    else:
        np.testing.assert_allclose(given, [0.0, 12.0 / stiffness_N_m, 0.0], atol=0.05 * 12.0 / stiffness_N_m)
    person.set_mode(CommandState.STOPPED)
