"""The desk's connection to the graph: hears recorder, control and device, and asks them for things without waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from dp_core.contract import Contract
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from dp_bringup.session import MODE_NAMES, NEWEST, SessionError, held_interrupt
from dp_msgs.msg import CommandState, EpisodeState, TeleopState
from dp_msgs.srv import OperatorRequest, ResetScene, SetMode
from dp_ros import qos

_ANSWER_S = 30.0
_SERVICE_S = 2.0
_MOST_CALLBACKS = 100
_RESUME, _TELEOP = "resume", "teleop"


@dataclass
class _Errand:
    """Something asked of another node: what, and when that was."""

    what: str
    client: Client
    request: Any
    asked_s: float = 0.0
    future: Any = None


@dataclass(frozen=True)
class Reply:
    """What became of an errand: ``what`` was asked, whether it was done, and the answer in words."""

    what: str
    ok: bool
    text: str


class RecorderLink:
    """See the module. All calls are from one thread, which also runs the callbacks.

    Attributes:
        state: Newest state of the recorder; None before the first.
        command: Newest state of control; None before the first.
        teleop: Newest state of the device; None before the first.
        replies: Answers that nobody has looked at yet.
    """

    def __init__(self, contract: Contract, check: Callable[[], None] = lambda: None) -> None:
        """Join the graph.

        Args:
            contract: Of the cell.
            check: Raises when a process that must live has ended; called at each poll.
        """
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._check = check
        self._node = Node("record_desk")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._events = 0
        self._errands: deque[_Errand] = deque()
        self._heard_s = time.monotonic()
        self.state: EpisodeState | None = None
        self.command: CommandState | None = None
        self.teleop: TeleopState | None = None
        self.replies: deque[Reply] = deque()
        self._listen(EpisodeState, "recorder/episode_state", self._on_state, qos.LATCHED)
        self._listen(CommandState, contract.streams["command"].topic, self._on_command, NEWEST)
        self._listen(TeleopState, "teleop/state", self._on_teleop, NEWEST)
        self._operator = self._node.create_client(OperatorRequest, "recorder/operator")
        self._mode = self._node.create_client(SetMode, "control/set_mode")
        self._resume = self._node.create_client(Trigger, "control/resume")
        self._scene = self._node.create_client(ResetScene, "sim/reset")

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def silent_s(self) -> float:
        """How long the recorder has not been heard, s."""
        return time.monotonic() - self._heard_s

    @property
    def busy(self) -> bool:
        """Something asked for is not answered yet."""
        return bool(self._errands)

    def poll(self) -> None:
        """Take what has arrived, and go on with what was asked for."""
        for _ in range(_MOST_CALLBACKS):
            before = self._events
            with held_interrupt():
                self._executor.spin_once(timeout_sec=0)
            if self._events == before:
                break
        self._check()
        with held_interrupt():
            self._run_errand()

    def wait_for(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Poll until ``ready()``.

        Raises:
            SessionError: not within ``timeout_s`` of wall time; names ``what``.
        """
        deadline_s = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline_s:
                raise SessionError(f"waited {timeout_s:g} s in vain for {what}")
            self.poll()
            time.sleep(0.01)

    def ask(self, command: str, note: str = "") -> None:
        """Ask the recorder for a command of OperatorRequest; not a second time while the first is under way."""
        if all(errand.what != command for errand in self._errands):
            self._add(command, self._operator, OperatorRequest.Request(command=command, note=note))

    def ask_teleop(self) -> None:
        """Ask control to follow the operator; after a fault that takes a resume first. Only ever on a person's wish."""
        if self.command is not None and self.command.mode == CommandState.FAULT:
            self._add(_RESUME, self._resume, Trigger.Request())
        self._add(_TELEOP, self._mode, SetMode.Request(mode=CommandState.TELEOP))

    def ask_scene(self, seed: int) -> None:
        """Put a simulated cell into the start state of ``seed``, the arm following the operator after that."""
        self._add("stop the arm", self._mode, SetMode.Request(mode=CommandState.STOPPED))
        self._add(f"scene of seed {seed}", self._scene, ResetScene.Request(seed=seed))
        self.ask_teleop()

    @property
    def recorder_name(self) -> str:
        """Full name of the recorder's node; empty while unknown, as for a while after its topics are heard."""
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name("recorder/episode_state"))
        names = [f"{one.node_namespace.rstrip('/')}/{one.node_name}" for one in publishers]
        return next((name for name in names if "_UNKNOWN_" not in name), "")

    def set_recorder(self, **values: str) -> None:
        """Set text parameters of the running recorder, wherever it is; answers come as replies.

        Raises:
            SessionError: there is no recorder.
        """
        recorder = self.recorder_name
        if not recorder:
            raise SessionError("no recorder on this ROS domain; start one: dp up teleop")
        name = f"{recorder}/set_parameters"
        parameters = [
            Parameter(name=key, value=ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value))
            for key, value in values.items()
        ]
        client = self._node.create_client(SetParameters, name)
        self._add("recorder's parameters", client, SetParameters.Request(parameters=parameters))

    def control_text(self) -> str:
        """Mode of control and what it says; empty before it was heard."""
        if self.command is None:
            return ""
        mode = MODE_NAMES.get(self.command.mode, str(self.command.mode))
        return f"{mode}: {self.command.text}" if self.command.text else mode

    def _listen(self, kind: type, topic: str, callback: Callable[[Any], None], profile: Any) -> None:
        def take(message: Any) -> None:
            self._events += 1
            callback(message)

        self._node.create_subscription(kind, topic, take, profile)

    def _on_state(self, message: EpisodeState) -> None:
        self.state, self._heard_s = message, time.monotonic()

    def _on_command(self, message: CommandState) -> None:
        self.command = message

    def _on_teleop(self, message: TeleopState) -> None:
        self.teleop = message

    def _add(self, what: str, client: Client, request: Any) -> None:
        self._errands.append(_Errand(what, client, request))

    def _run_errand(self) -> None:
        """Begin the first errand, or see whether it is done; one after the other, in order."""
        if not self._errands:
            return
        errand, now_s = self._errands[0], time.monotonic()
        errand.asked_s = errand.asked_s or now_s
        if errand.future is None:
            if errand.client.service_is_ready():
                errand.future = errand.client.call_async(errand.request)
            elif now_s - errand.asked_s > _SERVICE_S:
                self._done(Reply(errand.what, False, f"{errand.client.srv_name} is not there"))
            return
        if errand.future.done():
            self._done(_reply(errand))
        elif now_s - errand.asked_s > _ANSWER_S:
            errand.client.remove_pending_request(errand.future)
            self._done(Reply(errand.what, False, f"{errand.client.srv_name} did not answer in {_ANSWER_S:g} s"))

    def _done(self, reply: Reply) -> None:
        errand = self._errands.popleft()
        if errand.what == _RESUME and not reply.ok and self._errands and self._errands[0].what == _TELEOP:
            self._errands.popleft()  # it would be refused, and hide why
        self.replies.append(reply)


def _reply(errand: _Errand) -> Reply:
    answer = errand.future.result()
    if isinstance(answer, SetParameters.Response):
        refused = "; ".join(result.reason for result in answer.results if not result.successful)
        return Reply(errand.what, not refused, refused or "set")
    return Reply(errand.what, bool(answer.success), str(answer.message))
