"""The operator node: a device at rest except while an episode is recorded; a new operator for each recording."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rclpy
from dp_ros.messages import array_to_pose, ns_to_stamp
from dp_sim.operator_node import OperatorNode
from dp_sim.task import load_task, tool_down
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import JointState, Joy

from dp_msgs.msg import CommandState, EpisodeState, SceneState


class Desk:
    """The node with its publisher caught, and time in its scene messages."""

    def __init__(self, node: OperatorNode) -> None:
        self.node = node
        self.sent: list[tuple[int, np.ndarray]] = []
        self.t_ns = 0
        node._joys = self
        node._on_pose(PoseStamped(pose=array_to_pose(tool_down(0.38, 0.0, 0.09))))
        node._on_gripper(JointState(name=["fr3_finger_joint1", "fr3_finger_joint2"], position=[0.0, 0.0]))

    def publish(self, message: Joy) -> None:
        self.sent.append((message.header.stamp.sec * 10**9 + message.header.stamp.nanosec, np.array(message.axes)))

    def episode(self, state: int, name: str = "") -> None:
        self.node._on_episode(EpisodeState(state=state, episode_id=name))

    def ticks(self, count: int) -> np.ndarray:
        """Axes (count, 6) of the next ticks."""
        objects = load_task("reach_around").start(np.random.default_rng(0))[1]
        scene = SceneState(object_names=list(objects), object_poses=[array_to_pose(pose) for pose in objects.values()])
        first = len(self.sent)
        for _ in range(count):
            self.t_ns += 10_000_000
            scene.header.stamp = ns_to_stamp(self.t_ns)
            self.node._on_scene(scene)
        return np.array([axes for _, axes in self.sent[first:]])


@pytest.fixture
def desk() -> Iterator[Desk]:
    rclpy.init(args=["--ros-args", "-p", "task:=reach_around"])
    try:
        node = OperatorNode()
        yield Desk(node)
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_the_device_rests_until_a_recording_and_after_it(desk):
    assert not desk.ticks(50).any()
    desk.episode(EpisodeState.RECORDING, "first")
    assert np.abs(desk.ticks(150)).max() > 0.3
    desk.episode(EpisodeState.CLOSING, "first")
    assert not desk.ticks(50).any()
    stamps = [stamp for stamp, _ in desk.sent]
    assert set(np.diff(stamps)) == {10_000_000}


def test_the_hand_lets_go_while_control_holds_for_want_of_input(desk):
    desk.episode(EpisodeState.RECORDING, "first")
    assert np.abs(desk.ticks(100)).max() > 0.3
    desk.node._on_command(CommandState(mode=CommandState.TELEOP, input_alive=False, text="no teleop/twist"))
    assert not desk.ticks(20).any()
    desk.node._on_command(CommandState(mode=CommandState.TELEOP, input_alive=True))
    assert np.abs(desk.ticks(50)).max() > 0.1


def test_each_recording_has_an_operator_of_its_own_and_repeats_of_the_state_do_not_restart_it(desk):
    runs = []
    for name in ("first", "second"):
        desk.episode(EpisodeState.RECORDING, name)
        before = desk.ticks(40)
        desk.episode(EpisodeState.RECORDING, name)
        runs.append(np.vstack([before, desk.ticks(40)]))
        desk.episode(EpisodeState.IDLE)
    assert np.abs(runs[0][45:60]).min(axis=0).max() > 0.0
    assert np.abs(runs[0] - runs[1]).max() > 0.05
