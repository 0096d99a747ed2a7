"""The cell's topics: robot state, pictures, ground truth and the clock. Messages are reused between ticks."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from dp_core.contract import Contract
from dp_ros.messages import fill_pose
from geometry_msgs.msg import Pose, PoseStamped, WrenchStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from dp_msgs.msg import SceneState
from dp_ros import qos
from dp_sim.cell import RobotState
from dp_sim.rates import stream_periods_ms
from dp_sim.task import SceneStatus

Array = NDArray[np.float64]
NS_PER_MS = 1_000_000
# The ground truth, whatever the rate of control; at the first tick at or after each multiple.
SCENE_PERIOD_MS = 10


class CellPublisher:
    """Publishes everything of one cell, each stream at its rate in the contract. One thread.

    Attributes:
        scene_due: whether the present tick carries the ground truth.

    Args:
        node: owner of the publishers.
        contract: topics, frames and joint names.
        task: name put into the ground truth.
        objects: names of the objects whose poses are published.
        cameras: names of the cameras that are published.
    """

    def __init__(
        self, node: Node, contract: Contract, task: str, objects: tuple[str, ...], cameras: tuple[str, ...]
    ) -> None:
        self._stamp = Time()
        self._counts: dict[str, int] = {}
        self._periods_ms = stream_periods_ms(contract)
        self._scene_slot = -1
        self.scene_due = False
        self._t_ms = 0
        streams = contract.streams
        self._joints = self._make_joints(contract, "joint_states")
        self._gripper = self._make_joints(contract, "gripper")
        self._pose, self._wrench, self._scene, self._clock = PoseStamped(), WrenchStamped(), SceneState(), Clock()
        for message in (self._joints, self._gripper, self._pose, self._wrench, self._scene):
            message.header.frame_id = contract.base_frame
            message.header.stamp = self._stamp
        self._clock.clock = self._stamp
        self._publishers: dict[str, Any] = {}
        for key, kind in (
            ("joint_states", JointState),
            ("ee_pose", PoseStamped),
            ("wrench", WrenchStamped),
            ("gripper", JointState),
        ):
            if key in streams:
                self._add(node, key, kind, streams[key].topic, qos.STATE)
        self._images = {name: self._make_image(contract, name) for name in cameras}
        for name in cameras:
            self._add(node, f"camera {name}", Image, contract.cameras[name].topic, qos.IMAGE)
        self._add(node, "scene", SceneState, "sim/scene_state", qos.STATE)
        # Reliable, so that no tick is lost in lock step; best-effort subscribers are served as well.
        self._clock_publisher = node.create_publisher(Clock, "/clock", qos.STATE)
        self._scene.task = task
        self._scene.object_names = list(objects)
        self._scene.object_poses = [Pose() for _ in objects]
        self._scene.stream_names = list(self._counts)

    @staticmethod
    def _make_joints(contract: Contract, stream: str) -> JointState:
        message = JointState()
        message.name = list(contract.streams[stream].joint_names)
        return message

    def _make_image(self, contract: Contract, name: str) -> Image:
        camera = contract.cameras[name]
        message = Image()
        message.header.frame_id = f"{name}_color_optical_frame"
        message.height, message.width, message.step = camera.height, camera.width, 3 * camera.width
        message.encoding, message.is_bigendian = "rgb8", 0
        return message

    def _add(self, node: Node, key: str, kind: Any, topic: str, profile: Any) -> None:
        publisher = node.create_publisher(kind, topic, profile)
        self._publishers[key] = (publisher, topic)
        self._counts[topic] = 0

    def _send(self, key: str, message: Any) -> None:
        if key in self._publishers and self._t_ms % self._periods_ms.get(key, 1) == 0:
            publisher, topic = self._publishers[key]
            publisher.publish(message)
            self._counts[topic] += 1

    def begin_tick(self, t_ns: int) -> None:
        """Stamp everything that follows with `t_ns`."""
        self._t_ms = t_ns // NS_PER_MS
        slot = self._t_ms // SCENE_PERIOD_MS
        self.scene_due = slot != self._scene_slot
        self._scene_slot = slot
        self._stamp.sec, self._stamp.nanosec = divmod(t_ns, 1_000_000_000)

    def tool(self, state: RobotState) -> None:
        """Publish tool pose and gripper: what a controller needs before the tick."""
        self._gripper.position = _doubles(state.finger_position)
        fill_pose(self._pose.pose, state.ee_pose.tolist())
        self._send("ee_pose", self._pose)
        self._send("gripper", self._gripper)

    def joints(self, state: RobotState) -> None:
        """Publish joints and wrench."""
        joints = self._joints
        joints.position = _doubles(state.joint_position)
        joints.velocity = _doubles(state.joint_velocity)
        joints.effort = _doubles(state.joint_effort)
        force, torque = self._wrench.wrench.force, self._wrench.wrench.torque
        force.x, force.y, force.z, torque.x, torque.y, torque.z = state.wrench.tolist()
        self._send("joint_states", joints)
        self._send("wrench", self._wrench)

    def image(self, name: str, picture: NDArray[np.uint8], stamp_ms: int) -> None:
        """Publish a picture (H, W, 3) uint8 RGB with a stamp of its own."""
        data = array("B")
        data.frombytes(picture.data)
        self._images[name].data = data
        stamp = self._images[name].header.stamp
        stamp.sec, stamp.nanosec = stamp_ms // 1000, stamp_ms % 1000 * NS_PER_MS
        self._send(f"camera {name}", self._images[name])

    def reset(self, seed: int, t_ns: int) -> None:
        """Remember for the ground truth that the scene of `seed` begins at `t_ns`."""
        self._scene.seed = seed
        self._scene.reset_count += 1
        self._scene.reset_stamp = Time(sec=t_ns // 1_000_000_000, nanosec=t_ns % 1_000_000_000)

    def scene(self, poses: dict[str, Array], status: SceneStatus) -> None:
        """Publish the ground truth."""
        scene = self._scene
        for message, pose in zip(scene.object_poses, poses.values(), strict=True):
            fill_pose(message, pose.tolist())
        scene.success, scene.failure, scene.side = status.success, status.failure, status.side
        scene.collisions = status.collisions
        scene.condition_names = [condition.name for condition in status.conditions]
        scene.conditions_met = [condition.met for condition in status.conditions]
        scene.condition_texts = [condition.text for condition in status.conditions]
        scene.stream_counts = array("Q", self._counts.values())
        self._send("scene", scene)

    def clock(self) -> None:
        """Publish the tick's time on /clock."""
        self._clock_publisher.publish(self._clock)


def _doubles(values: Array) -> array[float]:
    result = array("d")
    result.frombytes(values.tobytes())
    return result
