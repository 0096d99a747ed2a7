"""Subscriptions of all that the policy observes: callbacks check and store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from dp_core.contract import Contract
from dp_core.images import image_from_bytes
from dp_core.poses import pose_problem
from dp_ros.messages import joint_sum, pose_to_array, stamp_to_ns
from geometry_msgs.msg import PoseStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image, JointState

from dp_ros import qos


class SampleSink(Protocol):
    """Where checked samples go; stamps are those of the headers, ns."""

    def push_image(self, camera: str, header_ns: int, frame: NDArray[np.uint8]) -> None:
        """Take a frame (H, W, 3)."""

    def push_pose(self, header_ns: int, pose: NDArray[np.float64]) -> None:
        """Take a pose7 in the base frame."""

    def push_width(self, header_ns: int, width_m: float) -> None:
        """Take a gripper width."""


class ObservationStreams:
    """Subscribes cameras, pose and gripper; see the module.

    Args:
        node: owns the subscriptions.
        contract: topics, frame, joint names.
        sink: takes what is good.
        listening: false while nobody wants samples; they are not even looked at then.
        refuse: told what was refused, and why.

    Attributes:
        refused: samples refused, by topic.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        sink: SampleSink,
        listening: Callable[[], bool],
        refuse: Callable[[str], None],
    ) -> None:
        self._node, self._contract, self._sink = node, contract, sink
        self._listening, self._tell = listening, refuse
        self.refused: Counter[str] = Counter()
        self._pose_topic, self._gripper_topic = contract.streams["ee_pose"].topic, contract.streams["gripper"].topic
        self._subscriptions: list[Subscription] = []
        try:
            for name in contract.observation.cameras:
                self._subscribe(Image, contract.cameras[name].topic, partial(self._on_image, name))
            self._subscribe(PoseStamped, self._pose_topic, self._on_pose)
            self._subscribe(JointState, self._gripper_topic, self._on_gripper)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe(self, message: type, topic: str, callback: Callable[[Any], None]) -> None:
        self._subscriptions.append(self._node.create_subscription(message, topic, callback, qos.SENSOR_IN))

    def _refuse(self, topic: str, problem: str) -> None:
        self.refused[topic] += 1
        self._tell(f"{topic}: {problem}")

    def _on_image(self, name: str, message: Image) -> None:
        if not self._listening():
            return
        try:
            frame = image_from_bytes(message.data, message.width, message.height, message.encoding, message.step)
        except ValueError as error:
            self._refuse(self._contract.cameras[name].topic, str(error))
            return
        self._sink.push_image(name, _stamp_ns(message), frame)

    def _on_pose(self, message: PoseStamped) -> None:
        if not self._listening():
            return
        pose = pose_to_array(message.pose)
        problem = pose_problem(pose)
        if problem is None and message.header.frame_id != self._contract.base_frame:
            problem = f"in frame {message.header.frame_id!r}, expected {self._contract.base_frame!r}"
        if problem is not None:
            self._refuse(self._pose_topic, problem)
            return
        self._sink.push_pose(_stamp_ns(message), pose)

    def _on_gripper(self, message: JointState) -> None:
        if not self._listening():
            return
        try:
            width = joint_sum(message, self._contract.streams["gripper"].joint_names)
        except ValueError as error:
            self._refuse(self._gripper_topic, str(error))
            return
        if not np.isfinite(width):
            self._refuse(self._gripper_topic, "the width is not finite")
            return
        self._sink.push_width(_stamp_ns(message), width)


def _stamp_ns(message: Any) -> int:
    return stamp_to_ns(message.header.stamp)
