"""Teleoperation node: samples of a SpaceMouse in, a wanted twist, gripper and recorder commands out.

Reads a device (:mod:`dp_teleop.devices`) or ``spacenav/joy`` and, for the tool frame, ``robot/ee_pose``; publishes
``teleop/twist``, ``teleop/gripper``, ``teleop/state`` (the dead-man button) and ``recorder/operator_command``. It
publishes only what the device says: when samples stop, it stops, and control brakes. It never repeats an old sample and
never invents zeros; while there is no device, ``teleop/state`` says so five times a second. After a loss, and at the
start, the cap must be seen at rest and the clutch be let go before anything moves.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from dp_core.poses import pose_problem
from dp_core.teleop_spec import TeleopSpec
from dp_ros.messages import ns_to_stamp, pose_to_array, stamp_to_ns
from dp_ros.node_main import declare_contract, run_node, start_worker
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState, EpisodeState
from dp_ros import qos
from dp_teleop.connection import LOOK_S, Connection
from dp_teleop.device_reader import DeviceReader
from dp_teleop.devices import SpaceMouseDevice, open_device
from dp_teleop.live_parameters import BUTTON_KNOBS, LiveMapping
from dp_teleop.liveness import LivenessState, watch_liveness
from dp_teleop.mapping import MappingState, TeleopCommand, choose_command, step
from dp_teleop.outputs import TeleopOutputs
from dp_teleop.report import device_status
from dp_teleop.sample import REPEAT_NS, VIRTUAL_FRAME_ID, SpaceMouseSample, is_repetition, sample_problem

TOPIC = "spacenav/joy"
# Periods of what is said without a sample.
LOST_STATE_S = 0.2
DIAGNOSTICS_S = 1.0
# A deflection of a device that nothing confirms for so long is that of one that hangs or is out of reach. Control has
# braked before, for its stamp grows old; this says so, and has the cap be at rest before it moves anything again.
UNCONFIRMED_NS = 500_000_000


class TeleopNode(Node):
    """ROS shell around :mod:`dp_teleop.mapping`; see the module.

    Samples come by the thread of the device or by the topic; all state is guarded by one lock.
    """

    def __init__(self) -> None:
        super().__init__("teleop")
        self._contract = declare_contract(self)
        self._lock = threading.Lock()
        self._mapping = LiveMapping(self, self._contract, self._apply)
        self._spec = self._mapping.spec
        self._state = MappingState.at_start(self._spec)
        self._command: TeleopCommand | None = None
        self._taken: SpaceMouseSample | None = None
        self._joy_ns, self._joy = 0, (None, None)
        self._liveness = LivenessState()
        self._connection = Connection(name=self._spec.device)
        self._tool_quat: np.ndarray | None = None
        self._poses: object = None
        self._mode: int | None = None
        self._recording = False
        self.failure = ""
        self._out = TeleopOutputs(self, self._contract)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._said: tuple[object, ...] = ()
        self._said_s = self._lost_said_s = 0.0
        self._subscribe()
        self._searched = self._search_said = False
        self._reader: DeviceReader | None = None
        if self._spec.device != "topic":
            self._reader = DeviceReader(self._open, self._on_device, self._on_lost)
            self._thread = start_worker(self, "spacemouse", self._reader.run)
        self.create_timer(LOOK_S, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _subscribe(self) -> None:
        streams = self._contract.streams
        self.create_subscription(CommandState, streams["command"].topic, self._on_command, qos.SENSOR_IN)
        self.create_subscription(EpisodeState, "recorder/episode_state", self._on_episode, qos.LATCHED)
        if self._spec.device in ("topic", "auto"):
            self.create_subscription(Joy, TOPIC, self._on_joy, qos.SENSOR_IN)
        self._follow_tool(self._spec)

    def _follow_tool(self, spec: TeleopSpec) -> None:
        """The pose comes often and is needed in the tool frame only."""
        if spec.frame == "tool" and self._poses is None:
            topic = self._contract.streams["ee_pose"].topic
            self._poses = self.create_subscription(PoseStamped, topic, self._on_pose, qos.SENSOR_IN)

    def _apply(self, spec: TeleopSpec, changed: frozenset[str]) -> None:
        """Parameters were changed: the next sample is mapped by the new ones."""
        self._follow_tool(spec)
        with self._lock:
            self._spec, state = spec, self._state
            if changed & {"dominant_axis"}:
                state = replace(state, gains=replace(state.gains, only_dominant=spec.dominant_axis))
            if changed & {"speed_tier"} or state.gains.tier >= len(spec.speed_tiers):
                state = replace(state, gains=replace(state.gains, tier=spec.speed_tier))
            self._state = state.without_device() if changed & set(BUTTON_KNOBS) else state

    def _on_pose(self, message: PoseStamped) -> None:
        pose = pose_to_array(message.pose)
        self._tool_quat = pose[3:] if pose_problem(pose) is None else None

    def _on_command(self, message: CommandState) -> None:
        """Start each teleoperation with the toggle in the state that the gripper is really in."""
        if message.mode == CommandState.TELEOP and self._mode != CommandState.TELEOP:
            gripper = self._contract.gripper
            half_open = 0.5 * (gripper.min_width_m + gripper.max_width_m)
            with self._lock:
                self._state = replace(self._state, gripper_closed=message.commanded_width < half_open)
        self._mode = message.mode

    def _on_episode(self, message: EpisodeState) -> None:
        self._recording = message.state == EpisodeState.RECORDING

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _open(self) -> SpaceMouseDevice | None:
        """For the reader's thread: open the device, unless the topic stands in for it (auto)."""
        with self._lock:
            if self._connection.connected:
                return None
        spec = self._spec
        return open_device(spec.device, spec.device_path, self._now_ns, spec.highest_button + 1, spec.clutch_button)

    def _on_joy(self, message: Joy) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        reading = (message.axes, message.buttons)
        with self._lock:
            if self._spec.device == "auto" and not (self._searched and self._connection.open_to("topic")):
                return
            # A thousand messages a second, most of them equal: what costs time is left to those that are taken.
            if 0 <= stamp_ns - self._joy_ns < REPEAT_NS and reading == self._joy and self._connection.connected:
                self._connection.repeat()
                return
            self._joy_ns, self._joy = stamp_ns, reading
            buttons = tuple(button > 0 for button in message.buttons)
            sample = SpaceMouseSample(stamp_ns, np.array(message.axes, dtype=float), buttons)
            self._connection.figures = {}
            self._offer("topic", TOPIC, sample, watched=message.header.frame_id != VIRTUAL_FRAME_ID)

    def _on_device(self, device: SpaceMouseDevice, sample: SpaceMouseSample) -> None:
        with self._lock:
            if not self._connection.open_to("device"):
                return  # the topic came in while the device was silent
            self._connection.figures = device.figures
            if self._now_ns() - sample.t_ns > UNCONFIRMED_NS:
                self._lose(f"{device.name} has not confirmed its deflection for {1e-9 * UNCONFIRMED_NS:g} s")
                return
            self._offer("device", device.name, sample, watched=not device.tells_every_loss)

    def _on_lost(self, reason: str) -> None:
        with self._lock:
            self._searched = True
            if not self._connection.open_to("device"):
                return  # the topic came in between
            if self._spec.device == "auto":
                reason = f"{reason}; and nothing comes by {TOPIC}"
            self._lose(reason)
            if not self._search_said:
                self._search_said = True
                self.get_logger().warning(f"looking for a SpaceMouse: {reason}")

    def _offer(self, source: str, name: str, sample: SpaceMouseSample, watched: bool) -> None:
        """Take a sample unless something is wrong with it, or with the device. The lock is held."""
        problem = sample_problem(sample, self._spec)
        if problem is not None:
            self._connection.refuse(problem)
            self.get_logger().error(f"SpaceMouse sample {problem}: ignored", throttle_duration_sec=2.0)
            return
        lost = ""
        if watched:
            self._liveness, lost = watch_liveness(self._liveness, sample, self._spec)
        if lost:
            self._lose(lost)
        else:
            self._take(source, name, sample)

    def _lose(self, reason: str) -> None:
        if self._connection.lose(reason):
            self.get_logger().error(f"SpaceMouse lost: {reason}; the arm stops until it is back")
            self._taken = None
            self._say_lost()

    def _say_lost(self) -> None:
        self._lost_said_s = time.monotonic()
        factor = self._spec.speed_tiers[min(self._state.gains.tier, len(self._spec.speed_tiers) - 1)]
        self._out.lost(self._now_ns(), self._connection.name, factor)

    def _take(self, source: str, name: str, sample: SpaceMouseSample) -> None:
        """Map a good sample and publish what it says. The lock is held."""
        if self._connection.arrive(source, name, self._now_ns()):
            self._search_said = False
            self.get_logger().info(f"SpaceMouse: {name}")
            self._state = self._state.without_device()
        if is_repetition(self._taken, sample):
            return
        self._taken = sample
        if self._spec.frame == "tool" and self._tool_quat is None:
            self.get_logger().warning("no measured pose yet, which frame: tool needs", throttle_duration_sec=2.0)
        self._state, command = step(self._state, sample, self._tool_quat, self._spec, self._contract.gripper)
        self._command = command
        self._out.publish(sample, name, command)
        if command.commands:
            asked = choose_command(command.commands, self._recording)
            self.get_logger().info(f"recorder command: {asked}")
            self._out.ask_recorder(sample.t_ns, asked)

    def _look(self) -> None:
        """Timer: silence of the device, its state while it is lost, and diagnostics."""
        now_ns, now_s = self._now_ns(), time.monotonic()
        with self._lock:
            silence = self._connection.silence(now_ns)
            if silence:
                self._lose(silence)
            if not self._connection.connected and now_s - self._lost_said_s >= LOST_STATE_S - 0.5 * LOOK_S:
                self._say_lost()
            status = device_status(self._connection, self._command, self._state.gains, self._spec, now_ns)
            gains = self._state.gains
            shown = (status.level, status.hardware_id, gains.tier, gains.only_dominant, self._spec.frame)
        if shown != self._said or now_s - self._said_s >= DIAGNOSTICS_S:
            self._said, self._said_s = shown, now_s
            message = DiagnosticArray(status=[status])
            message.header.stamp = ns_to_stamp(now_ns)
            self._diagnostics.publish(message)

    def close(self) -> None:
        """Stop the device thread."""
        if self._reader is not None:
            self._reader.close()
            self._thread.join(timeout=2.0)


def main() -> None:
    """Entry point of the executable ``teleop_node``."""
    sys.exit(run_node(TeleopNode, shared_memory=False))


if __name__ == "__main__":
    main()
