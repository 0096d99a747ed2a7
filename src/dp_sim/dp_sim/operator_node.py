"""Operator node: the scripted operator at a SpaceMouse.

Subscribes ``robot/ee_pose``, ``gripper/state``, ``sim/scene_state``, ``recorder/episode_state`` and control's state;
publishes ``spacenav/joy`` at 100 Hz, once for each tick of the simulator: the hand's motion while an episode is being
recorded, a device at rest (zeros) otherwise. When control holds for want of input the hand lets go, as a person would
who sees the arm stand still: control goes on once it has seen the device at rest. Everything runs in callbacks of one
thread.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

from dp_core.poses import pose_problem
from dp_ros.messages import joint_sum, pose_to_array, stamp_to_ns
from dp_ros.node_main import declare, declare_contract, run_node
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState, Joy

from dp_msgs.msg import CommandState, EpisodeState, SceneState
from dp_ros import qos
from dp_sim.operator import REST, DeviceSample, OperatorFeel, ScriptedOperator, felt_lag_s
from dp_sim.task import OperatorView, load_task


class OperatorNode(Node):
    """ROS shell around :class:`dp_sim.operator.ScriptedOperator`; see the module."""

    def __init__(self) -> None:
        super().__init__("operator")
        self._contract = declare_contract(self)
        self._task = load_task(str(declare(self, "task", "place", "Task to do: a file of dp_sim.tasks.")))
        self._seed = int(declare(self, "seed", 0, "Seed of everything random in the operator.", low=0, high=2**31))
        noise = float(
            declare(self, "noise", OperatorFeel().noise, "Noise of the hand, share of full deflection.", low=0, high=1)
        )
        teleop = self._contract.teleop
        self._feel = OperatorFeel(
            noise=noise,
            follow_s=felt_lag_s(self._contract.robot, self._contract.impedance),
            linear_scale_m_s=teleop.linear_scale_m_s,
            angular_scale_rad_s=teleop.angular_scale_rad_s,
            deadband=teleop.deadband,
        )
        self._operator: ScriptedOperator | None = None
        self._episode_id = ""
        self._episodes = 0
        self._released = False
        self._pose: Any = None
        self._width: float | None = None
        self._joy = Joy()
        self._joy.header.frame_id = "spacenav"
        self._joys = self.create_publisher(Joy, "spacenav/joy", qos.STATE)
        streams = self._contract.streams
        self.create_subscription(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        self.create_subscription(JointState, streams["gripper"].topic, self._on_gripper, qos.SENSOR_IN)
        self.create_subscription(CommandState, streams["command"].topic, self._on_command, qos.SENSOR_IN)
        self.create_subscription(EpisodeState, "recorder/episode_state", self._on_episode, qos.LATCHED)
        self.create_subscription(SceneState, "sim/scene_state", self._on_scene, qos.STATE)

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_to_array(message.pose)
        if pose_problem(pose) is None:
            self._pose = pose

    def _on_gripper(self, message: JointState) -> None:
        self._width = joint_sum(message, self._contract.streams["gripper"].joint_names)

    def _on_command(self, message: CommandState) -> None:
        self._released = message.mode == CommandState.TELEOP and not message.input_alive

    def _on_episode(self, message: EpisodeState) -> None:
        """A new recording is a new episode with a seed of its own; anything else takes the hand off."""
        if message.state != EpisodeState.RECORDING:
            self._operator = None
            self._episode_id = ""
        elif message.episode_id != self._episode_id:
            self._episode_id = message.episode_id
            self._operator = ScriptedOperator(self._task, self._seed + 1_000_003 * self._episodes, self._feel)
            self._episodes += 1

    def _on_scene(self, message: SceneState) -> None:
        """One tick of the device."""
        sample: DeviceSample = REST
        operator, pose, width = self._operator, self._pose, self._width
        if operator is not None and pose is not None and width is not None and not self._released:
            objects = {
                name: pose_to_array(pose) for name, pose in zip(message.object_names, message.object_poses, strict=True)
            }
            view = OperatorView(pose, width, objects)
            sample = operator.step(view, stamp_to_ns(message.header.stamp))
        self._joy.header.stamp = message.header.stamp
        self._joy.axes = array("f", sample.axes.tolist())
        self._joy.buttons = array("i", sample.buttons)
        self._joys.publish(self._joy)

    def close(self) -> None:
        """Nothing to stop."""


def main(args: Any = None) -> None:
    """Entry point of the executable ``operator_node``."""
    sys.exit(run_node(OperatorNode, args))


if __name__ == "__main__":
    main()
