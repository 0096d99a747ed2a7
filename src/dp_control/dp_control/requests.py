"""Requests of persons and programs: ``control/set_mode``, ``control/stop`` and ``control/resume``.

A request goes to the worker, and its service answers when its mode is reached or refused.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger

from dp_control.interfaces import RobotAdapter
from dp_control.modes import Mode
from dp_control.signals import ControlOutput
from dp_msgs.srv import SetMode

# Calls that wait for their turn, one of which is taken in each cycle; more are answered at once.
MOST_WAITING = 20
RECOVERY_LOOK_S = 0.05


@dataclass
class Request:
    """One call of a service; ``answer`` gets why it failed, or an empty text."""

    mode: int
    resume: bool = False
    answer: Future = field(default_factory=Future)


class ModeRequests:
    """The services, and who waits for what. ``take`` and ``settle`` are called by the worker.

    Args:
        node: owns the services.
        adapter: its error recovery belongs to resuming.
    """

    def __init__(self, node: Node, adapter: RobotAdapter) -> None:
        self._node, self._adapter = node, adapter
        self._lock = threading.Lock()
        self._queue: deque[Request] = deque()
        self._waiting: list[Request] = []
        self._mode = Mode.STOPPED
        self._asked = 0  # modes asked for: they replace a resume that waits for a recovery
        # Its own group: a request that waits for its mode must not keep /clock and the robot's state out.
        self._group = group = ReentrantCallbackGroup()
        node.create_service(SetMode, "control/set_mode", self._on_set_mode, callback_group=group)
        node.create_service(Trigger, "control/stop", self._on_stop, callback_group=group)
        node.create_service(Trigger, "control/resume", self._on_resume, callback_group=group)

    def take(self) -> Request | None:
        """The next request for the core; a stop goes before all others."""
        if not self._queue:
            return None
        with self._lock:
            return self._queue.popleft()

    def settle(self, request: Request | None, output: ControlOutput) -> None:
        """Tell who asked how it went; a refused request leaves the one before it waiting."""
        if output.mode != self._mode:
            self._mode = output.mode
            self._log(output)
        if request is None and not self._waiting:
            return
        if request is not None and output.refused:
            self._answer([request], output.refused)
        elif request is not None:
            replaced = [other for other in self._waiting if other.mode != request.mode]
            self._answer(replaced, "replaced by a newer request")
            self._waiting = [other for other in self._waiting if other.mode == request.mode] + [request]
        elif output.refused:
            waiting, self._waiting = self._waiting, []
            self._answer(waiting, output.refused)
        if output.reached:
            waiting, self._waiting = self._waiting, []
            self._answer(waiting, "")

    def _log(self, output: ControlOutput) -> None:
        """Say that the mode has changed, and how: by itself, by hand, or as asked."""
        logger, text = self._node.get_logger(), f"mode {output.mode.name}"
        if output.mode == Mode.FAULT:
            logger.error(f"{text}: {output.text}; control/resume goes on")
        elif output.intervention:
            logger.warning(f"{text}: taken over from the policy by hand")
        elif output.mode == Mode.HOLD and output.text:
            logger.warning(f"{text}: {output.text}")
        else:
            logger.info(text)

    def _answer(self, requests: list[Request], problem: str) -> None:
        for request in requests:
            if problem:
                self._node.get_logger().error(f"refused: {problem}", throttle_duration_sec=1.0)
            request.answer.set_result(problem)
        if requests and self._node.executor is not None:
            # The suspended service callback goes on at the executor's next event: be that event.
            self._node.executor.wake()

    def _recovered(self) -> Future:
        """Done when the adapter's recovery has ended, well or not."""
        ended: Future = Future()

        def look() -> None:
            if not self._adapter.recovering and not ended.done():
                timer.cancel()
                self._node.destroy_timer(timer)
                ended.set_result(None)

        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self._node.create_timer(RECOVERY_LOOK_S, look, callback_group=self._group, clock=steady)
        return ended

    def _put(self, request: Request, first: bool = False) -> Future:
        with self._lock:
            self._asked += not request.resume
            if first and self._queue and self._queue[0].mode == request.mode:
                return self._queue[0].answer  # a stop that nobody has taken yet serves all who ask for one
            if first:
                self._queue.appendleft(request)
            elif len(self._queue) < MOST_WAITING:
                self._queue.append(request)
            else:
                request.answer.set_result(f"{MOST_WAITING} requests are waiting already")
        return request.answer

    def stop(self) -> None:
        """Ask for STOPPED without waiting for the answer: the process is about to end."""
        self._put(Request(int(Mode.STOPPED)), first=True)

    async def _on_set_mode(self, request: SetMode.Request, response: SetMode.Response) -> SetMode.Response:
        problem = await self._put(Request(int(request.mode)), first=request.mode == Mode.STOPPED)
        response.success, response.mode, response.message = not problem, int(self._mode), str(problem or "")
        return response

    async def _on_stop(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        problem = await self._put(Request(int(Mode.STOPPED)), first=True)
        response.success, response.message = not problem, str(problem or "stopped; control/resume goes on")
        return response

    async def _on_resume(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        problem, asked = "", self._asked
        if self._adapter.problem(int(self._node.get_clock().now().nanoseconds)):
            problem = self._adapter.recover()
        if not problem and self._adapter.recovering:
            # Recoveries of 16 s have been reported: longer than a mode is waited for.
            await self._recovered()
            if self._asked != asked:  # a stop, for one, must not be undone by what was asked for before it
                problem = "replaced by a newer request"
        problem = problem or await self._put(Request(int(Mode.HOLD), resume=True))
        response.success, response.message = not problem, str(problem or "holding at the measured pose")
        return response
