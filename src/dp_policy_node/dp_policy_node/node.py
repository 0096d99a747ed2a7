"""Inference node: the last To observations in, receding-horizon chunks of timed actions out.

Active while control is in mode POLICY (``control/command_state``); an activation starts with empty buffers. Frames
and states are stored by acquisition time in callbacks; a worker thread aligns, infers and publishes
``policy/chunk``, so the executor is never blocked by the network. It observes cameras, pose and gripper only.
"""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dp_core.alignment import Observation, ObservationAligner
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, contract_difference
from dp_core.images import image_from_bytes, resize_image
from dp_core.poses import pose_problem
from dp_policy.checkpoint import CheckpointError, LoadedPolicy, load_checkpoint
from dp_policy.engine import Engine
from dp_policy.plan_memory import PlanMemory
from dp_ros.messages import joint_sum, ns_to_stamp, pose_to_array, stamp_to_ns
from dp_ros.node_main import declare, declare_contract, run_node, start_worker
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from dp_msgs.msg import ActionChunk, CommandState
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_policy_node.inference_schedule import InferenceSchedule
from dp_ros import qos

# Samples kept of each stream: seconds of history at any rate that occurs, little memory.
CAPACITY = 400
# Age assumed for the very first chunk on top of the engine's own time: transport and alignment.
FIRST_TRANSPORT_NS = 40_000_000
# Real seconds without a newer observation after which the stream that is missing is named.
STALLED_S = 1.0


def load_matching_checkpoint(folder: str, contract: Contract) -> LoadedPolicy:
    """Load a checkpoint made for this cell.

    Raises:
        ConfigurationError: no checkpoint there, or its contract differs; lists each difference.
    """
    if not folder:
        raise ConfigurationError("checkpoint: missing; give the folder that `dp train` wrote")
    try:
        loaded = load_checkpoint(folder)
    except CheckpointError as error:
        raise ConfigurationError(f"checkpoint: {error}") from error
    if not loaded.contract:
        raise ConfigurationError(
            f"checkpoint {folder} carries no cell contract (trained on data without one, or imported): "
            "it can be evaluated offline, but it cannot drive a robot"
        )
    difference = contract_difference(Contract.from_dict(loaded.contract, source=folder), contract)
    if difference:
        raise ConfigurationError(
            f"checkpoint {folder} was trained for another cell; checkpoint != {contract.name}: {'; '.join(difference)}"
        )
    return loaded


class PolicyNode(Node):
    """ROS shell around the inference engine; see the module."""

    def __init__(self) -> None:
        super().__init__("policy")
        self._contract = declare_contract(self)
        folder = declare(self, "checkpoint", "", "Folder of a trained policy (model.safetensors, checkpoint.json).")
        seed = declare(self, "seed", 0, "Seed of the sampler's noise.", low=0, high=2**31 - 1)
        threads = declare(self, "num_threads", 1, "Torch threads; 1 is steadiest on shared cores.", low=1, high=64)
        self._timeout_s = declare(
            self,
            "stream_timeout_s",
            10.0,
            "A stream silent this long after activation ends the node, s.",
            low=0.5,
            high=60,
        )
        loaded = load_matching_checkpoint(str(folder), self._contract)
        self._engine = Engine(loaded, num_threads=int(threads), seed=int(seed))
        self._loaded = loaded
        config = loaded.config
        steps = declare(
            self, "actions_per_chunk", config.action.steps, "Ta, actions executed of each chunk.",
            low=1, high=config.action.chunk,
        )  # fmt: skip
        self._steps = int(steps)
        self._memory = PlanMemory(self._contract.action.period_ns)
        self._aligner = ObservationAligner(self._contract, config.observation.history, CAPACITY)
        slowest_hz = min(self._contract.cameras[name].rate_hz for name in self._contract.observation.cameras)
        self._schedule = InferenceSchedule(
            self._contract.action.period_ns,
            self._steps,
            round(1e9 / slowest_hz),
            round(1e9 * self._engine.latency_s) + FIRST_TRANSPORT_NS,
        )
        self.failure = ""
        self._condition = threading.Condition()
        self._active = False
        self._activation = self._planned_activation = 0
        self._since_ns = 0
        self._activated_s = self._advanced_s = 0.0
        self._newest_ns: int | None = None
        self._restarts = 0
        self._received_ns = 0
        self._closed = False
        self._chunk_id = 0
        self._last_problem = ""
        self._chunks = self.create_publisher(ActionChunk, "policy/chunk", qos.EVENT)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._subscribe()
        self.create_timer(1.0, self._report)
        self._thread = start_worker(self, "inference", self._run)
        self.get_logger().info(
            f"policy {loaded.policy_id} ready: {config.name}, inference {1e3 * self._engine.latency_s:.1f} ms"
        )

    def _subscribe(self) -> None:
        streams = self._contract.streams
        for name in self._contract.observation.cameras:
            topic = self._contract.cameras[name].topic
            self.create_subscription(Image, topic, partial(self._on_image, name), qos.SENSOR_IN)
        self.create_subscription(PoseStamped, streams["ee_pose"].topic, self._on_pose, qos.SENSOR_IN)
        self.create_subscription(JointState, streams["gripper"].topic, self._on_gripper, qos.SENSOR_IN)
        self.create_subscription(CommandState, streams["command"].topic, self._on_command, qos.SENSOR_IN)

    def _refuse(self, what: str) -> None:
        self.get_logger().error(f"refused: {what}", throttle_duration_sec=1.0)

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _too_old(self, message: Any) -> bool:
        """True for a sample from before the activation, still on its way: it may show another episode."""
        return stamp_to_ns(message.header.stamp) < self._since_ns

    def _on_image(self, name: str, message: Image) -> None:
        if not self._active:
            return
        try:
            frame = image_from_bytes(message.data, message.width, message.height, message.encoding, message.step)
        except ValueError as error:
            self._refuse(f"{self._contract.cameras[name].topic}: {error}")
            return
        if self._too_old(message):
            return
        spec = self._contract.observation
        frame = np.array(resize_image(frame, spec.image_width, spec.image_height))
        with self._condition:
            self._aligner.push_image(name, stamp_to_ns(message.header.stamp), frame)
            self._received_ns = self._now_ns()
            self._condition.notify()

    def _on_pose(self, message: PoseStamped) -> None:
        if not self._active:
            return
        pose = pose_to_array(message.pose)
        problem = pose_problem(pose)
        if problem is not None or message.header.frame_id != self._contract.base_frame:
            self._refuse(f"robot pose {problem or 'is in frame ' + message.header.frame_id}")
            return
        if self._too_old(message):
            return
        with self._condition:
            self._aligner.push_pose(stamp_to_ns(message.header.stamp), pose)
            self._condition.notify()

    def _on_gripper(self, message: JointState) -> None:
        if not self._active:
            return
        try:
            width = joint_sum(message, self._contract.streams["gripper"].joint_names)
        except ValueError as error:
            self._refuse(f"gripper state: {error}")
            return
        if not np.isfinite(width) or self._too_old(message):
            return
        with self._condition:
            self._aligner.push_width(stamp_to_ns(message.header.stamp), width)
            self._condition.notify()

    def _on_command(self, message: CommandState) -> None:
        active = message.mode == CommandState.POLICY
        if active == self._active:
            return
        with self._condition:
            self._active = active
            self._since_ns = stamp_to_ns(message.header.stamp)
            self._aligner.clear()
            self._schedule.start()
            self._activation += 1
            self._activated_s = self._advanced_s = time.monotonic()
            self._newest_ns = None
            self._condition.notify()
        self.get_logger().info("active" if active else "inactive")

    def _run(self) -> None:
        """Worker: one chunk after another while active."""
        while True:
            with self._condition:
                due = self._due()
                while not self._closed and due is None:
                    self._condition.wait(timeout=0.1)
                    due = self._due()
                if self._closed or due is None:
                    return
                observation, received_ns, activation = due, self._received_ns, self._activation
            self._infer(observation, received_ns, activation)

    def _due(self) -> Observation | None:
        """The observation to infer on now, or None. Called with the condition held."""
        if not self._active:
            return None
        if self._aligner.restarts != self._restarts:
            self._restarts = self._aligner.restarts
            self._schedule.start()
        t_obs = self._aligner.newest_observation_ns()
        if t_obs is None:
            self._check_streams()
            return None
        self._watch_progress(t_obs)
        if not self._schedule.due(t_obs):
            return None
        observation = self._aligner.sample(t_obs)
        self._last_problem = "; ".join(observation.problems)
        return observation if observation.valid else None

    def _check_streams(self) -> None:
        # Real seconds: simulated time may begin after the activation, and jump.
        silent_s = time.monotonic() - self._activated_s
        if silent_s > self._timeout_s and not self.failure:
            topics = ", ".join(self._aligner.missing_topics())
            self.failure = f"nothing arrived on {topics} within {self._timeout_s} s of activation; the arm holds"
            self.context.try_shutdown()

    def _watch_progress(self, t_obs: int) -> None:
        """Say which stream has died when observations stop getting newer; control holds meanwhile."""
        now_s = time.monotonic()
        if t_obs != self._newest_ns:
            self._newest_ns, self._advanced_s = t_obs, now_s
            self._last_problem = ""
        elif now_s - self._advanced_s > STALLED_S:
            topics = ", ".join(self._aligner.slowest_topics())
            self._last_problem = f"nothing new on {topics} for {now_s - self._advanced_s:.1f} s"
            self.get_logger().error(f"{self._last_problem}: no plans", throttle_duration_sec=2.0)

    def _infer(self, observation: Observation, received_ns: int, activation: int) -> None:
        started_ns = self._now_ns()
        images = {name: np.stack(frames) for name, frames in observation.images.items()}
        if activation != self._planned_activation:
            # The plan of the last episode says nothing about this one.
            self._memory.clear()
            self._planned_activation = activation
        result = self._engine.infer(images, observation.proprioception, self._memory.remaining(observation.t_ns))
        captures = [stamp for stamps in observation.frame_stamps_ns.values() for stamp in stamps]
        ledger = Ledger(observation.t_ns, min(captures), max(captures), received_ns, started_ns, started_ns, self._now_ns())
        try:
            message = chunk_message(
                result.actions, self._contract, ledger, self._chunk_id, self._steps, self._loaded.policy_id
            )
        except ValueError as error:
            self._refuse(str(error))
            return
        with self._condition:
            # The mode may have changed during inference: then nobody wants this chunk.
            if not self._active or activation != self._activation:
                return
            now_ns = self._now_ns()
            self._schedule.published(observation.t_ns, now_ns)
        message.published = ns_to_stamp(now_ns)
        self._chunks.publish(message)
        self._memory.remember(observation.t_ns, result.actions)
        self._chunk_id += 1

    def _report(self) -> None:
        status = DiagnosticStatus(name="policy: inference", hardware_id=self._loaded.policy_id)
        status.level = DiagnosticStatus.WARN if self._active and self._last_problem else DiagnosticStatus.OK
        status.message = self._last_problem or ("active" if self._active else "inactive")
        status.values = [
            KeyValue(key="inference_ms", value=f"{1e3 * self._engine.latency_s:.1f}"),
            KeyValue(key="budget_ms", value=f"{1e-6 * self._schedule.budget_ns:.1f}"),
            KeyValue(key="chunks", value=str(self._chunk_id)),
        ]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def close(self) -> None:
        """Stop the worker."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join(timeout=5.0)


def main() -> None:
    """Entry point of the executable ``policy_node``."""
    sys.exit(run_node(PolicyNode))


if __name__ == "__main__":
    main()
