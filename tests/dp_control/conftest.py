"""A node process under test and a peer that plays the rest of the cell, over real DDS."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from dp_core.contract import load_contract
from dp_ros.messages import ns_to_stamp, stamped_pose
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode
from dp_ros import qos

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])


class Cell:
    """Publishes the measured pose at 100 Hz in real time; the arm follows its target perfectly."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("peer", context=self.context)
        self.pose = START.copy()
        self.frame = CONTRACT.base_frame
        self.width = 0.08
        self.silent = False
        self.targets, self.states, self.kept = [], [], {}
        self._poses = self.node.create_publisher(PoseStamped, "robot/ee_pose", qos.STATE)
        self._fingers = self.node.create_publisher(JointState, "gripper/state", qos.STATE)
        self.node.create_subscription(PoseStamped, "robot/target_pose", self._follow, qos.COMMAND_IN)
        self.node.create_subscription(CommandState, "control/command_state", self.states.append, qos.STATE)
        self._modes = self.node.create_client(SetMode, "control/set_mode")
        self.node.create_timer(0.01, self._measure)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def now_ns(self):
        return self.node.get_clock().now().nanoseconds

    def _follow(self, message):
        p, q = message.pose.position, message.pose.orientation
        self.pose = np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])
        self.targets.append(self.pose)

    def _measure(self):
        if self.silent:
            return
        now = self.now_ns()
        self._poses.publish(stamped_pose(self.pose, self.frame, now))
        fingers = JointState(name=["fr3_finger_joint1", "fr3_finger_joint2"], position=[self.width / 2] * 2)
        fingers.header.stamp = ns_to_stamp(now)
        self._fingers.publish(fingers)

    def set_mode(self, mode):
        assert self._modes.wait_for_service(10.0)
        future = self._modes.call_async(SetMode.Request(mode=mode))
        self.wait(future.done, "an answer to set_mode")
        return future.result()

    def wait(self, ready, what, timeout_s=10.0):
        deadline = time.monotonic() + timeout_s
        while not ready():
            assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
            time.sleep(0.01)

    def close(self):
        self._executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def cell():
    cell = Cell()
    yield cell
    cell.close()


@pytest.fixture
def control(cell):
    process = subprocess.Popen([sys.executable, "-m", "dp_control.node"], stderr=subprocess.PIPE, text=True)
    cell.wait(lambda: cell.states, "the first command state", 20.0)
    yield process
    process.terminate()
    _, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
