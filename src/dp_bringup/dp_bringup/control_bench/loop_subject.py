"""A process whose loop is measured: the work of a control cycle, on a plain rclpy timer or in our worker thread.

Both kinds subscribe to the same topics, validate the same messages and publish the same two messages in each cycle;
they differ in who calls the cycle and who spins.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from dp_core.contract import load_contract
from dp_core.poses import pose_problem
from dp_ros.messages import fill_pose, ns_to_stamp, pose_to_array
from dp_ros.node_main import run_node, start_worker
from dp_ros.pacing import Pacer
from dp_ros.real_time import prepare_worker
from geometry_msgs.msg import PoseStamped, WrenchStamped
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState

from dp_msgs.msg import CommandState
from dp_ros import qos

#: Who paces: a timer of rclpy's executor, our worker thread, and the same one without any permission.
LOOPS = ("timer", "unprivileged", "worker")
#: Left out at the start: discovery, first messages, caches.
SETTLING_S = 2.0
_UNPRIVILEGED = {"priority": 0, "lock_memory": False}


class LoopSubject(Node):
    """Has the messages of a control node and notes when each cycle begins."""

    def __init__(self, cell: str, cycles: int, parameters: dict[str, Any] | None = None) -> None:
        overrides = [Parameter(name, value=value) for name, value in (parameters or {}).items()]
        super().__init__("loop_subject", parameter_overrides=overrides)
        self.failure = ""
        self.began_ns = np.zeros(cycles, dtype=np.int64)
        self.count = 0
        self._pose = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
        contract = load_contract(cell)
        streams = contract.streams
        self.create_subscription(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        self.create_subscription(JointState, streams["joint_states"].topic, self._on_joints, qos.SENSOR_IN)
        self.create_subscription(JointState, streams["gripper"].topic, self._on_joints, qos.SENSOR_IN)
        if "wrench" in streams:
            self.create_subscription(WrenchStamped, streams["wrench"].topic, self._on_wrench, qos.SENSOR_IN)
        self._targets = self.create_publisher(PoseStamped, "robot/target_pose", qos.COMMAND_OUT)
        self._states = self.create_publisher(CommandState, streams["command"].topic, qos.STATE)
        self._target, self._state = PoseStamped(), CommandState()

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_to_array(message.pose)
        if pose_problem(pose) is None:
            self._pose = pose

    def _on_joints(self, message: JointState) -> None:
        self._joints = np.array(message.position)

    def _on_wrench(self, message: WrenchStamped) -> None:
        force = message.wrench.force
        self._force = np.array([force.x, force.y, force.z])

    def cycle(self, t_ns: int) -> bool:
        """One cycle at ROS time ``t_ns``; returns False after the last one."""
        self.began_ns[self.count] = time.monotonic_ns()
        self.count += 1
        stamp = ns_to_stamp(t_ns)
        for message, pose in ((self._target, self._target.pose), (self._state, self._state.commanded_pose)):
            message.header.stamp = stamp
            fill_pose(pose, self._pose)
        self._targets.publish(self._target)
        self._states.publish(self._state)
        return self.count < len(self.began_ns)


class WorkerSubject(LoopSubject):
    """Paced by our worker thread."""

    def __init__(self, cell: str, cycles: int, period_ns: int, parameters: dict[str, Any]) -> None:
        super().__init__(cell, cycles, parameters)
        self._pacer = Pacer(self, period_ns)
        self._thread = start_worker(self, "loop", self._run)

    def _run(self) -> None:
        prepare_worker(self)
        while (t_ns := self._pacer.wait()) is not None and self.cycle(t_ns):
            pass
        self.context.try_shutdown()

    def close(self) -> None:
        """Stop the worker."""
        self._pacer.close()
        self._thread.join(timeout=2.0)


def run_worker(args: argparse.Namespace, cycles: int) -> tuple[LoopSubject, int]:
    """Measure our loop; returns the node and the exit status."""
    made: list[WorkerSubject] = []
    parameters = _UNPRIVILEGED if args.loop == "unprivileged" else {}

    def build() -> WorkerSubject:
        made.append(WorkerSubject(args.cell, cycles, round(1e9 / args.rate), parameters))
        return made[0]

    status = run_node(build, [], shared_memory=False)  # as control does
    return made[0], status


def run_timer(args: argparse.Namespace, cycles: int) -> tuple[LoopSubject, int]:
    """Measure a plain rclpy timer, as a tutorial writes it; returns the node and the exit status."""
    rclpy.init(args=[])
    node = LoopSubject(args.cell, cycles)

    def on_timer() -> None:
        if node.count < cycles and not node.cycle(node.get_clock().now().nanoseconds):
            rclpy.try_shutdown()

    node.create_timer(1.0 / args.rate, on_timer)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    rclpy.try_shutdown()
    return node, 0


def main() -> int:
    """Entry point; writes the monotonic times (ns) at which cycles began, settling left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--cell", required=True)
    parser.add_argument("--rate", type=float, required=True, help="Hz")
    parser.add_argument("--seconds", type=float, required=True, help="measured, after settling")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    settling = round(SETTLING_S * args.rate)
    cycles = settling + round(args.seconds * args.rate) + 1
    node, status = (run_timer if args.loop == "timer" else run_worker)(args, cycles)
    np.save(args.out, node.began_ns[settling : node.count])
    return status


if __name__ == "__main__":
    sys.exit(main())
