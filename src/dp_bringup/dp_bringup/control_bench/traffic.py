"""A process that sends what a robot's broadcasters send, so that a measured loop has messages to take beside it."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dp_core.contract import load_contract
from dp_ros.messages import ns_to_stamp
from dp_ros.node_main import run_node, start_worker
from dp_ros.pacing import Pacer
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dp_ros import qos

#: Pose within the workspace of the simulated cell, pointing down.
_POSITION_M = (0.5, 0.0, 0.3)
_SLOW_EVERY = 5


class TrafficNode(Node):
    """Publishes pose and joint states at the full rate, wrench and gripper at a fifth of it; the arm stands still."""

    def __init__(self, cell: str, rate_hz: float) -> None:
        super().__init__("traffic")
        self.failure = ""
        contract = load_contract(cell)
        streams = contract.streams
        pose = PoseStamped()
        pose.header.frame_id = contract.base_frame
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = _POSITION_M
        pose.pose.orientation.x, pose.pose.orientation.w = 1.0, 0.0
        joints = JointState(name=list(streams["joint_states"].joint_names))
        joints.position = [0.0, -0.785, 0.0, -2.356, 0.0, 1.571, 0.785]
        joints.velocity = joints.effort = [0.0] * 7
        width = JointState(name=list(streams["gripper"].joint_names))
        width.position = [0.5 * contract.gripper.max_width_m / 2.0] * len(width.name)
        wrench = WrenchStamped()
        wrench.header.frame_id = contract.base_frame
        self._fast = [self._publisher(pose, streams["ee_pose"].topic)]
        self._fast.append(self._publisher(joints, streams["joint_states"].topic))
        self._slow = [self._publisher(width, streams["gripper"].topic)]
        if "wrench" in streams:
            self._slow.append(self._publisher(wrench, streams["wrench"].topic))
        self._pacer = Pacer(self, round(1e9 / rate_hz))
        self._thread = start_worker(self, "traffic", self._run)

    def _publisher(self, message: Any, topic: str) -> tuple[Any, Any]:
        return self.create_publisher(type(message), topic, qos.SENSOR_IN), message

    def _run(self) -> None:
        count = 0
        while (t_ns := self._pacer.wait()) is not None:
            stamp = ns_to_stamp(t_ns)
            for publisher, message in self._fast if count % _SLOW_EVERY else self._fast + self._slow:
                message.header.stamp = stamp
                publisher.publish(message)
            count += 1

    def close(self) -> None:
        """Stop the worker."""
        self._pacer.close()
        self._thread.join(timeout=2.0)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True)
    parser.add_argument("--rate", type=float, required=True, help="pose and joint messages per second")
    args = parser.parse_args()
    return run_node(lambda: TrafficNode(args.cell, args.rate), [])


if __name__ == "__main__":
    sys.exit(main())
