"""Simulator node: the MuJoCo cell behind the topics of a real one.

One thread owns the cell and the renderer and runs the loop (one control period of physics, publish, clock); the
executor's thread runs callbacks, which only check and store. Time is physics time, begins with the process and never
goes back. What the arm listens to follows `robot` of the contract: see `arm_input`.

Lock step: after each tick the loop waits until control has answered it (and the SpaceMouse, where one publishes, by its
twist where one is made of it), so results do not depend on how fast the machine is. `rate` then is an upper limit.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from dp_core.configuration import ConfigurationError
from dp_ros.messages import ns_to_stamp, stamp_to_ns
from dp_ros.node_main import declare, declare_contract, run_node, start_worker
from geometry_msgs.msg import TwistStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Joy

from dp_msgs.msg import CommandState, TeleopState
from dp_msgs.srv import ResetScene
from dp_ros import qos
from dp_sim.arm_controllers import EffortArm
from dp_sim.arm_input import ArmInput
from dp_sim.camera_feed import CameraFeed
from dp_sim.cameras import choose_backend
from dp_sim.cell import BadTargetError, SimulatedCell
from dp_sim.delay_parameters import declare_delays
from dp_sim.gripper_input import GripperInput
from dp_sim.lock_step import LockStep, WallPace
from dp_sim.publishing import NS_PER_MS, CellPublisher
from dp_sim.push_input import PushInput
from dp_sim.rates import camera_periods_ms, tick_ms
from dp_sim.task import load_task

LOCK_STEP_TIMEOUT_S = 1.0
PARTNER_CHECK_MS = 200
DIAGNOSTICS_PERIOD_S = 1.0
_SENDING_MODES = frozenset({CommandState.HOLD, CommandState.TELEOP, CommandState.POLICY})


class SimNode(Node):
    """ROS shell around :class:`dp_sim.cell.SimulatedCell`; see the module."""

    def __init__(self) -> None:
        super().__init__("sim")
        self._contract = declare_contract(self)
        task = load_task(str(declare(self, "task", "place", "Task of the cell: a file of dp_sim.tasks.")))
        self._seed = seed = int(declare(self, "seed", 0, "Seed of the first scene.", low=0, high=2**31))
        what = "Simulated seconds per second of wall time; 0 is as fast as possible."
        self._rate = float(declare(self, "rate", 1.0, what, low=0, high=100))
        self._lock_step = bool(declare(self, "lock_step", False, "Wait for control's answer to every tick."))
        with_cameras = bool(declare(self, "cameras", True, "Render and publish the cameras of the contract."))
        self._tick_ms = tick_ms(self._contract)
        camera_periods_ms(self._contract)
        self._delays = declare_delays(self, tuple(self._contract.cameras) if with_cameras else ())
        clock_code = self._delays.clock_code_period_s > 0.0
        self._cell = SimulatedCell(task, seed, self._contract.impedance, self._contract.robot, clock_code)
        # A torque law needs the joints of this tick, not those of the one before.
        self._joints_first = isinstance(self._cell.controller, EffortArm)
        self._check_cameras()
        if self._delays.cameras:
            choose_backend()
        self._publisher = CellPublisher(self, self._contract, task.name, task.objects, tuple(self._delays.cameras))
        self._publisher.reset(seed, self._tick_ms * NS_PER_MS)
        self._lock = threading.Lock()
        self._resets: list[tuple[int, Future]] = []
        self._reset_ns = 0
        self._partners = LockStep()
        self._mode = int(CommandState.STOPPED)
        self._expects_command = False
        self._hand: tuple[str, ...] = ()
        self._lost_ns: int | None = None
        self._lost_answers = 0
        self._closed = threading.Event()
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._make_subscriptions()
        self.failure = ""
        # A crash of the loop must end the process, not leave a silent node.
        self._thread = start_worker(self, "physics", self._loop)

    def _check_cameras(self) -> None:
        """Refuse a camera that the cell does not have."""
        known = [self._cell.model.camera(index).name for index in range(self._cell.model.ncam)]
        for name in self._delays.cameras:
            if name not in known:
                raise ConfigurationError(
                    f"cameras.{name}: the simulated cell has no such camera; valid: {', '.join(known)}"
                )

    def _make_subscriptions(self) -> None:
        partners = self._partners
        delays = self._delays
        self._arm = ArmInput(
            self, self._contract, lambda t_ns: partners.note("target", t_ns), self._refuse, delays.command_ms
        )
        self._gripper = GripperInput(self, delays.gripper_ms)
        self._push = PushInput(self, self._contract.base_frame, self._refuse)
        # Its own group: a reset that waits for the loop must not keep out the answers that the loop waits for.
        self.create_service(ResetScene, "sim/reset", self._on_reset, callback_group=ReentrantCallbackGroup())
        if self._lock_step:
            self._command_topic = self._contract.streams["command"].topic
            self.create_subscription(CommandState, self._command_topic, self._on_command, qos.STATE)
            self.create_subscription(Joy, "spacenav/joy", self._on_hand("joy"), qos.STATE)
            self.create_subscription(TwistStamped, "teleop/twist", self._on_hand("twist"), qos.STATE)
            self.create_subscription(TeleopState, "teleop/state", self._on_device, qos.STATE)

    def _on_command(self, message: CommandState) -> None:
        self._mode = int(message.mode)
        self._partners.note("command", stamp_to_ns(message.header.stamp))

    def _on_hand(self, partner: str) -> Callable[[Any], None]:
        """A callback that notes the answer of the SpaceMouse, or of the twist that is made of it."""
        return lambda message: self._partners.note(partner, stamp_to_ns(message.header.stamp))

    def _on_device(self, message: TeleopState) -> None:
        """A device that does not drive, lost or not let go yet since it came, has no twist to wait for."""
        if not message.engaged:
            self._partners.note("twist", stamp_to_ns(message.header.stamp))

    async def _on_reset(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        """Hand the request to the loop and answer when the new scene stands."""
        future: Future = Future()
        with self._lock:
            self._resets.append((int(request.seed), future))
        response.stamp = ns_to_stamp(await future)
        response.success, response.message = True, f"scene of seed {request.seed}"
        return response

    def _refuse(self, problem: str) -> None:
        self.get_logger().error(f"command refused: {problem}", throttle_duration_sec=2.0)

    def _loop(self) -> None:
        delays = self._delays
        feed = CameraFeed(
            self._cell, self._contract, delays.cameras, self._seed, delays.clock_code_period_s, self._publisher.image
        )
        pace = WallPace(self._tick_ms / 1000.0)
        tick, reported_s, reported_ms = 0, time.monotonic(), 0
        while not self._closed.is_set():
            if self._lock_step and tick % (PARTNER_CHECK_MS // self._tick_ms) == 0:
                self._find_partners()
            self._take_requests()
            self._advance(feed)
            self._publish(feed)
            pace.wait(self._answered_rate())
            tick += 1
            elapsed_s = time.monotonic() - reported_s
            if elapsed_s >= DIAGNOSTICS_PERIOD_S:
                self._report((self._cell.t_ms - reported_ms) / 1000.0 / elapsed_s, pace.restarts)
                reported_s, reported_ms = reported_s + elapsed_s, self._cell.t_ms
        feed.close()

    def _report(self, speed: float, restarts: int) -> None:
        """Publish diagnostics: speed relative to real time, lost schedule, unanswered ticks."""
        behind = self._rate > 0.0 and speed < 0.95 * self._rate
        status = DiagnosticStatus(name="sim: physics", hardware_id=self._contract.name)
        status.level = DiagnosticStatus.WARN if behind else DiagnosticStatus.OK
        status.message = "slower than asked" if behind else ""
        values = {"speed": f"{speed:.2f}", "schedule_restarts": restarts, "unanswered_ticks": self._lost_answers}
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = ns_to_stamp(self._cell.t_ms * NS_PER_MS)
        self._diagnostics.publish(message)

    def _take_requests(self) -> None:
        """Apply resets, take the newest commands in."""
        with self._lock:
            resets, self._resets = self._resets, []
        for seed, future in resets:
            self._cell.reset(seed)
            self._reset_ns = (self._cell.t_ms + self._tick_ms) * NS_PER_MS
            self._publisher.reset(seed, self._reset_ns)
            future.set_result(self._reset_ns)
            if self.executor is not None:
                # A suspended service callback goes on at the executor's next event: be that event.
                self.executor.wake()
        self._arm.take(self._cell.t_ms)
        self._gripper.take(self._cell.t_ms)
        self._push.apply(self._cell)

    def _advance(self, feed: CameraFeed) -> None:
        """One tick of physics, with a stop where a delayed command or an exposure falls within it."""
        cell = self._cell
        end_ms = cell.t_ms + self._tick_ms
        while cell.t_ms < end_ms:
            try:
                self._arm.apply(cell.controller, cell.t_ms, self._reset_ns)
                self._gripper.apply(cell, self._reset_ns)
            except BadTargetError as error:
                self._refuse(str(error))
            next_ms = min(end_ms, self._arm.next_ms, self._gripper.next_ms, feed.next_ms)
            cell.step(max(0, next_ms - cell.t_ms))
            if cell.t_ms < end_ms:
                feed.expose()

    def _publish(self, feed: CameraFeed) -> None:
        """Publish the tick; what control needs and the clock come first, so that it works while the rest is made."""
        cell, publisher = self._cell, self._publisher
        t_ns = cell.t_ms * NS_PER_MS
        self._arm.begin_tick(t_ns)
        publisher.begin_tick(t_ns)
        state = cell.state()
        if self._joints_first:
            publisher.joints(state)
        publisher.tool(state)
        publisher.clock()
        if publisher.scene_due:
            publisher.scene(cell.object_poses(), cell.status)
        if not self._joints_first:
            publisher.joints(state)
        feed.expose()
        feed.deliver()

    def _find_partners(self) -> None:
        self._expects_command = self.count_publishers(self._command_topic) > 0
        self._hand = ()
        if self.count_publishers("spacenav/joy") > 0:
            # Control must not run ahead of the twist: it would take it for lost and hold.
            self._hand = ("twist",) if self.count_publishers("teleop/twist") > 0 else ("joy",)

    def _expected(self) -> tuple[str, ...]:
        """Whose answer this tick needs; the SpaceMouse answers the ground truth."""
        return self._partners_of(self._publisher.scene_due)

    def _partners_of(self, scene: bool) -> tuple[str, ...]:
        names: tuple[str, ...] = ("command",) if self._expects_command else ()
        if self._mode in _SENDING_MODES and self._expects_command:
            names += ("target",)
        return (*names, *self._hand) if scene else names

    def _answered_rate(self) -> float:
        """Wait for the partners in lock step; returns the pace to keep after that."""
        if not self._lock_step:
            return self._rate
        alone = self._rate if self._rate > 0.0 else 1.0
        if not self._expects_command:
            return alone
        t_ns = self._cell.t_ms * NS_PER_MS
        if self._lost_ns is not None:
            if min(self._partners.newest_ns(name) for name in self._partners_of(True)) < self._lost_ns:
                return alone
            self._lost_ns = None
        missing = self._partners.wait(t_ns, self._expected, LOCK_STEP_TIMEOUT_S, self._publisher.clock)
        if missing:
            self._find_partners()
            self._lost_ns = t_ns + self._tick_ms * NS_PER_MS
            self._lost_answers += 1
            self.get_logger().warning(
                f"no answer from {', '.join(missing)} within {LOCK_STEP_TIMEOUT_S:g} s: running on at real time"
            )
            return alone
        return self._rate

    def close(self) -> None:
        """Stop the loop."""
        self._closed.set()
        self._partners.close()
        self._thread.join(timeout=5.0)


def main(args: Any = None) -> None:
    """Entry point of the executable ``sim_node``."""
    sys.exit(run_node(SimNode, args))


if __name__ == "__main__":
    main()
