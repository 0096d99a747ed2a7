"""The simulator node over DDS: lock step, stamps, resets, refused commands."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.contract import load_contract
from dp_ros.messages import ns_to_stamp, pose_to_array, stamp_to_ns, stamped_pose
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState, Joy

from dp_msgs.msg import CommandState, SceneState, TeleopState
from dp_msgs.srv import ResetScene
from dp_ros import qos

TICK_NS = 10_000_000


class Partner:
    """Stands in for control: answers each tick when told to, and keeps what it hears."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.clock: list[int] = []
        self.poses: list[tuple[int, np.ndarray]] = []
        self.images: list[Image] = []
        self.scene: SceneState | None = None
        self.width = -1.0
        self.target: np.ndarray | None = None
        self.stamp_offset_ns = 0
        self.frame = "fr3_link0"
        self._commands = node.create_publisher(CommandState, "control/command_state", qos.STATE)
        self._targets = node.create_publisher(PoseStamped, "robot/target_pose", qos.COMMAND_OUT)
        self._reset = node.create_client(ResetScene, "sim/reset")
        node.create_subscription(Clock, "/clock", lambda m: self.clock.append(stamp_to_ns(m.clock)), qos.CLOCK)
        node.create_subscription(PoseStamped, "robot/ee_pose", self._on_pose, qos.STATE)
        node.create_subscription(Image, "camera/front/color/image_raw", self.images.append, qos.IMAGE)
        node.create_subscription(JointState, "gripper/state", self._on_gripper, qos.STATE)
        node.create_subscription(SceneState, "sim/scene_state", self._on_scene, qos.STATE)

    def _on_pose(self, message: PoseStamped) -> None:
        self.poses.append((stamp_to_ns(message.header.stamp), pose_to_array(message.pose)))

    def _on_gripper(self, message: JointState) -> None:
        self.width = sum(message.position)

    def _on_scene(self, message: SceneState) -> None:
        self.scene = message

    def answer(self, t_ns: int) -> None:
        """What control sends for the tick of `t_ns`."""
        if self.target is not None:
            self._targets.publish(stamped_pose(self.target, self.frame, t_ns + self.stamp_offset_ns))
        command = CommandState(mode=CommandState.STOPPED if self.target is None else CommandState.TELEOP)
        command.header.stamp = ns_to_stamp(t_ns)
        self._commands.publish(command)

    def listen(self, seconds: float, until: Callable[[], bool] = lambda: False, answering: bool = True) -> None:
        end = time.monotonic() + seconds
        answered = self.clock[-1] if self.clock else 0
        while time.monotonic() < end and not until():
            rclpy.spin_once(self.node, executor=self.executor, timeout_sec=0.02)
            if answering and self.clock and self.clock[-1] > answered:
                answered = self.clock[-1]
                self.answer(answered)

    def run(self, ticks: int) -> None:
        """Answer that many ticks."""
        goal = len(set(self.clock)) + ticks
        self.listen(90.0, lambda: len(set(self.clock)) >= goal)
        assert len(set(self.clock)) >= goal

    def reset(self, seed: int) -> int:
        """Reset the scene; returns the stamp of the new scene, ns."""
        assert self._reset.wait_for_service(timeout_sec=30.0)
        future = self._reset.call_async(ResetScene.Request(seed=seed))
        self.listen(30.0, future.done)
        assert future.result().success
        return stamp_to_ns(future.result().stamp)


@pytest.fixture(scope="module")
def partner(domain_of_simulators: int) -> Iterator[Partner]:
    domain = domain_of_simulators
    environment = {
        **os.environ, "ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "OPENBLAS_NUM_THREADS": "1",
    }  # fmt: skip
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    command = [sys.executable, "-m", "dp_sim.node", "--ros-args"]
    command += ["-p", "task:=reach_around", "-p", "rate:=0.0", "-p", "lock_step:=true"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    context = rclpy.Context()
    try:
        rclpy.init(context=context, domain_id=domain)
        node = rclpy.create_node("partner", context=context)
        partner = Partner(node)
        partner.executor = rclpy.executors.SingleThreadedExecutor(context=context)
        partner.listen(120.0, lambda: bool(partner.images) and partner.scene is not None)
        assert partner.images, "no picture within 120 s"
        yield partner
        node.destroy_node()
    finally:
        context.try_shutdown()
        process.terminate()
        _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 0, errors


def test_in_lock_step_time_stands_still_without_an_answer_and_goes_on_with_one(partner):
    partner.run(20)
    before = partner.clock[-1]
    partner.listen(0.5, answering=False)
    assert partner.clock[-1] - before <= TICK_NS
    partner.answer(partner.clock[-1])
    partner.run(20)
    stamps = sorted(set(partner.clock[-15:]))
    assert set(np.diff(stamps)) == {TICK_NS}


def test_faster_than_real_time_when_answered_at_once(partner):
    partner.run(20)
    for _ in range(6):  # once while nobody else takes the machine
        start, first = time.monotonic(), partner.clock[-1]
        partner.run(150)
        rate = (partner.clock[-1] - first) * 1e-9 / (time.monotonic() - start)
        print(f"{rate:.1f} x real time with a bare partner")
        if rate > 1.05:
            break
    assert rate > 1.05, "paced: 1.0"


def test_pictures_carry_the_physics_time_at_multiples_of_their_period(partner):
    partner.images.clear()
    partner.run(60)
    partner.listen(30.0, lambda: len(partner.images) >= 5)  # they may come later than the clock
    stamps = [stamp_to_ns(image.header.stamp) for image in partner.images]
    assert len(stamps) >= 5
    assert all(stamp % 100_000_000 == 0 for stamp in stamps)
    assert set(np.diff(stamps)) == {100_000_000}
    image = partner.images[0]
    assert (image.width, image.height, image.encoding, len(image.data)) == (96, 96, "rgb8", 96 * 96 * 3)
    assert np.std(np.frombuffer(image.data, np.uint8)) > 10


def test_a_reset_draws_the_seed_and_never_turns_time_back(partner):
    partner.run(5)
    starts = []
    for seed in (41, 42, 41):
        stamp = partner.reset(seed)
        partner.run(4)
        # Scene and poses may come later than the clock.
        partner.listen(30.0, lambda s=stamp: stamp_to_ns(partner.scene.header.stamp) > s and partner.poses[-1][0] >= s)
        assert partner.scene.seed == seed and stamp_to_ns(partner.scene.reset_stamp) == stamp
        starts.append(next(pose for t_ns, pose in partner.poses if t_ns >= stamp))
    np.testing.assert_allclose(starts[0], starts[2], atol=1e-9)
    assert np.abs(starts[0] - starts[1]).max() > 1e-3
    assert np.all(np.diff(partner.clock) >= 0)
    assert partner.scene.reset_count >= 4


def test_targets_move_the_arm_but_not_old_ones_nor_those_in_another_frame(partner):
    partner.reset(7)
    partner.run(5)
    start = partner.poses[-1][1]
    moved = start.copy()
    moved[2] += 0.05
    try:
        partner.target, partner.stamp_offset_ns = moved, -10_000_000_000
        partner.listen(0.3)
        partner.stamp_offset_ns, partner.frame = 0, "world"
        partner.listen(0.3)
        assert np.abs(partner.poses[-1][1][:3] - start[:3]).max() < 1e-4
        partner.frame = "fr3_link0"
        partner.run(150)
        np.testing.assert_allclose(partner.poses[-1][1][:3], moved[:3], atol=2e-3)
    finally:
        partner.target, partner.stamp_offset_ns, partner.frame = None, 0, "fr3_link0"


def test_scene_counts_every_message_it_has_sent(partner):
    partner.run(30)
    counts = dict(zip(partner.scene.stream_names, partner.scene.stream_counts, strict=True))
    contract = load_contract("sim_franka")
    topics = {camera.topic for camera in contract.cameras.values()}
    topics |= {stream.topic for key, stream in contract.streams.items() if key != "command"}
    assert topics <= set(counts)
    ticks = stamp_to_ns(partner.scene.header.stamp) // TICK_NS
    assert counts["robot/ee_pose"] == ticks
    assert counts["camera/front/color/image_raw"] == (ticks - 1) // 10  # a tick's images follow its scene
    assert counts["sim/scene_state"] == ticks - 1


def test_a_device_that_does_not_drive_answers_without_a_twist(partner):
    """One that was lost, or not let go since it came, has no twist; the simulator must not wait for one in vain."""
    unanswered = []
    heard = partner.node.create_subscription(
        DiagnosticArray,
        "/diagnostics",
        lambda m: unanswered.extend(int(pair.value) for pair in m.status[0].values if pair.key == "unanswered_ticks"),
        qos.EVENT,
    )
    partner.listen(60.0, lambda: bool(unanswered))
    joys = partner.node.create_publisher(Joy, "spacenav/joy", qos.STATE)
    twists = partner.node.create_publisher(TwistStamped, "teleop/twist", qos.COMMAND_OUT)
    states = partner.node.create_publisher(TeleopState, "teleop/state", qos.COMMAND_OUT)
    control, answered = partner.answer, []

    def answer(t_ns: int) -> None:
        control(t_ns)
        state = TeleopState(connected=True, engaged=False)
        state.header.stamp = ns_to_stamp(t_ns)
        states.publish(state)
        answered.append(t_ns)

    partner.answer = answer
    try:
        partner.listen(60.0, lambda: states.get_subscription_count() > 0)
        partner.run(300)  # more than enough for the simulator to see who publishes
        reports = len(unanswered) + 2
        partner.listen(60.0, lambda: len(unanswered) >= reports)
        assert len(answered) >= 300 and unanswered[-1] == unanswered[0], "it waited for a twist"
    finally:
        partner.answer = control
        for publisher in (joys, twists, states):
            partner.node.destroy_publisher(publisher)
        partner.node.destroy_subscription(heard)
