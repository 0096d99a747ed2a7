"""A session with a running cell: ask for modes, resets and recordings, and watch what the topics say.

A node inside the `dp` process. All calls are from one thread, which also runs the callbacks: nothing happens behind
its back, and Ctrl-C ends any wait at once. The scene and command topics are kept at depth one and looked at every
few milliseconds, so that watching costs little beside the nodes that work.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import rclpy
from dp_core.contract import Contract
from dp_ros.messages import stamp_to_ns
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.signals import SignalHandlerOptions

from dp_bringup.errors import CommandError
from dp_bringup.processes import ProcessGroup
from dp_msgs.msg import CommandState, EpisodeState, SceneState
from dp_msgs.srv import ResetScene, SetMode, StartEpisode, StopEpisode
from dp_ros import qos

POLL_S = 0.01
CHECK_PROCESSES_S = 0.5
NEWEST = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
MODE_NAMES = {getattr(CommandState, name): name for name in ("HOLD", "TELEOP", "POLICY", "STOPPED", "FAULT")}


@contextlib.contextmanager
def held_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait until the block has ended.

    rclpy's bindings turn an exception that a signal raises within them into a RuntimeError about an argument, and the
    wish to end would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread only
        return
    noted: list[int] = []
    asks_to_end = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.signal(n, lambda number, _: noted.append(number)) for n in asks_to_end}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        signal.raise_signal(noted[0])


class SessionError(CommandError):
    """The cell did not do what was asked of it; the message says what and why."""


class CellSession:
    """See the module. Use as a context manager.

    Attributes:
        scene: newest SceneState, None before the first.
        command: newest CommandState, None before the first.
        recorder: newest EpisodeState, None before the first.
    """

    def __init__(self, group: ProcessGroup, contract: Contract) -> None:
        self._group = group
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("session")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._events = 0
        self._next_check = 0.0
        self.scene: SceneState | None = None
        self.command: CommandState | None = None
        self.recorder: EpisodeState | None = None
        self._subscribe(SceneState, "sim/scene_state", "scene", NEWEST)
        self._subscribe(CommandState, contract.streams["command"].topic, "command", NEWEST)
        self._subscribe(EpisodeState, "recorder/episode_state", "recorder", qos.LATCHED)
        self._set_mode = self._node.create_client(SetMode, "control/set_mode")
        self._reset = self._node.create_client(ResetScene, "sim/reset")
        self._start = self._node.create_client(StartEpisode, "recorder/start_episode")
        self._stop = self._node.create_client(StopEpisode, "recorder/stop_episode")

    def __enter__(self) -> CellSession:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _subscribe(self, kind: type, topic: str, attribute: str, profile: QoSProfile) -> None:
        self.listen(kind, topic, lambda message: setattr(self, attribute, message), profile)

    def listen(self, kind: type, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        """Take the messages of another topic whenever the session polls."""

        def take(message: Any) -> None:
            self._events += 1
            callback(message)

        self._node.create_subscription(kind, topic, take, profile)

    def poll(self) -> None:
        """Take what has arrived; raise when a process of the group has ended."""
        for _ in range(100):
            before = self._events
            with held_interrupt():
                self._executor.spin_once(timeout_sec=0)
            if self._events == before:
                break
        now = time.monotonic()
        if now >= self._next_check:
            self._next_check = now + CHECK_PROCESSES_S
            self._group.check()

    def wait_for(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Poll until `ready()`.

        Raises:
            SessionError: not within `timeout_s` of wall time; names `what`.
            ProcessDiedError: a process of the group ended.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.poll()
            if ready():
                return
            if time.monotonic() > deadline:
                raise SessionError(f"waited {timeout_s:g} s in vain for {what}")
            time.sleep(POLL_S)

    def wait_until_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until simulator, control and recorder are there."""
        self.wait_for(lambda: self.scene is not None, timeout_s, "sim/scene_state from the simulator")
        self.wait_for(lambda: self.command is not None, timeout_s, "control/command_state from control")
        self.wait_for(lambda: self.recorder is not None, timeout_s, "recorder/episode_state from the recorder")
        for client in (self._set_mode, self._reset, self._start, self._stop):
            self.wait_for(client.service_is_ready, timeout_s, f"service {client.srv_name}")

    def wait_for_recorder(self, timeout_s: float = 60.0) -> None:
        """Wait until a recorder that was started anew can be asked."""
        self.recorder = None
        self.wait_for(lambda: self.recorder is not None, timeout_s, "recorder/episode_state from the recorder")
        for client in (self._start, self._stop):
            self.wait_for(client.service_is_ready, timeout_s, f"service {client.srv_name}")

    def wait_for_operator(self, timeout_s: float = 60.0) -> None:
        """Wait until the SpaceMouse's twist is there: an operator who drives before it is drives in vain."""
        self.wait_for(lambda: self._node.count_publishers("teleop/twist") > 0, timeout_s, "the teleop node")
        self.wait_for(lambda: self._node.count_publishers("spacenav/joy") > 0, timeout_s, "the operator")

    def wait_for_policy(self, timeout_s: float = 60.0) -> None:
        """Wait until a policy node is there; loading the network takes longer than everything else."""
        self.wait_for(lambda: self._node.count_publishers("policy/chunk") > 0, timeout_s, "the policy node")

    def _call(self, client: Client, request: Any, timeout_s: float = 30.0) -> Any:
        future = client.call_async(request)
        try:
            self.wait_for(future.done, timeout_s, f"an answer of {client.srv_name}")
        finally:
            if not future.done():
                client.remove_pending_request(future)
        return future.result()

    def set_mode(self, mode: int, timeout_s: float = 30.0) -> None:
        """Ask control for a mode and wait until it is reached."""
        answer = self._call(self._set_mode, SetMode.Request(mode=mode), timeout_s)
        if not answer.success:
            raise SessionError(f"control refused mode {MODE_NAMES[mode]}: {answer.message}")

    def reset(self, seed: int) -> None:
        """Put the scene into the start state of `seed` and wait until the topics show it."""
        answer = self._call(self._reset, ResetScene.Request(seed=seed))
        if not answer.success:
            raise SessionError(f"the simulator refused to reset to seed {seed}: {answer.message}")
        stamp_ns = stamp_to_ns(answer.stamp)

        def shown() -> bool:
            scene = self.scene
            return scene is not None and scene.seed == seed and stamp_to_ns(scene.header.stamp) >= stamp_ns

        self.wait_for(shown, 30.0, f"the scene of seed {seed}")

    def start_recording(self, task: str, operator: str, note: str, patience_s: float = 10.0) -> str:
        """Start an episode; returns its folder. A stream that is not there yet is waited for a while.

        Raises:
            SessionError: the recorder refused; its message names the missing stream.
        """
        deadline = time.monotonic() + patience_s
        while True:
            request = StartEpisode.Request(task=task, operator_name=operator, note=note)
            answer = self._call(self._start, request)
            if answer.success:
                return str(answer.path)
            if time.monotonic() > deadline:
                raise SessionError(f"the recorder refused to start: {answer.message}")
            self.wait_for(_after(0.2), 5.0, "the next try")

    def stop_recording(self, outcome: int, note: str = "") -> tuple[str, str]:
        """Close the episode; returns its folder and verdict."""
        answer = self._call(self._stop, StopEpisode.Request(outcome=outcome, note=note), 60.0)
        if not answer.success:
            raise SessionError(f"the recorder could not close the episode: {answer.message}")
        return str(answer.path), str(answer.verdict)

    def abandon_recording(self) -> None:
        """Discard the open episode, if any; never raises. For use while another error is on its way."""
        try:
            self._call(self._stop, StopEpisode.Request(outcome=StopEpisode.Request.DISCARD, note="interrupted"), 5.0)
        except CommandError:
            return


def _after(delay_s: float) -> Callable[[], bool]:
    """A condition that becomes true after a delay."""
    deadline = time.monotonic() + delay_s
    return lambda: time.monotonic() >= deadline
