"""Recorder node: one bag per episode with every stream of the cell, started and stopped by operator or services.

Subscribes to the streams of the contract and those that explain them (see ``recorded_streams``) and to
``recorder/operator_command``; publishes ``recorder/episode_state`` (latched, twice a second); serves
``recorder/operator`` (the operator's flow with count-down, pause and plan, see ``operator_flow``),
``recorder/start_episode``, ``recorder/stop_episode`` (for programs) and ``recorder/label_episode``. An episode starts
only when every required stream is received, at rate and in time.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from dp_ros.messages import ns_to_stamp, stamp_to_ns
from dp_ros.node_main import declare, declare_contract, run_node
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from dp_msgs.msg import EpisodeState, OperatorCommand, StreamState
from dp_msgs.srv import LabelEpisode, OperatorRequest, StartEpisode, StopEpisode
from dp_recorder.episode import (
    DISCARD,
    FAILURE,
    SUCCESS,
    UNLABELLED,
    EpisodeError,
    EpisodeRequest,
    find_episode,
    set_outcome,
)
from dp_recorder.episode_session import EpisodeSession
from dp_recorder.episode_state import fill_disk, fill_operation, stream_states
from dp_recorder.episode_wish import EpisodeWish
from dp_recorder.episode_writer import EpisodeWriter
from dp_recorder.flow_parameters import FlowParameters
from dp_recorder.gesture_filter import GestureFilter
from dp_recorder.live_warnings import DiskState, LiveWarnings
from dp_recorder.operation import Operation
from dp_recorder.operator_flow import Phase
from dp_recorder.plan_file import PlanProgress
from dp_recorder.recorded_streams import RecordedStream, realsense_streams, recorded_streams, split_installed
from dp_recorder.ros_types import is_installed
from dp_recorder.software_version import software_version
from dp_recorder.storage_space import StorageSpace
from dp_recorder.stream_receiver import StreamReceiver
from dp_recorder.stream_statistics import StreamSummary
from dp_recorder.type_definitions import load_type_definition
from dp_ros import qos

_OUTCOMES = {
    StopEpisode.Request.UNLABELLED: UNLABELLED,
    StopEpisode.Request.SUCCESS: SUCCESS,
    StopEpisode.Request.FAILURE: FAILURE,
    StopEpisode.Request.DISCARD: DISCARD,
}
_STATE_PERIOD_S = 0.5
_WATCH_PERIOD_S = 1.0
_TICK_PERIOD_S = 0.05


class RecorderNode(Node):
    """ROS shell around ``Operation``; see the module.

    Services and timers run on the executor's thread; messages are received and written, and episodes closed, on
    threads of their own.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self._contract = declare_contract(self)
        self._directory = Path(declare(self, "directory", "episodes", "Folder that receives the episodes.")).absolute()
        self._task = str(declare(self, "task", "", "Task of an episode whose request names none."))
        self._operator = str(declare(self, "operator", "", "Operator of an episode whose request names none."))
        compression = str(declare(self, "compression", "none", "Compression of bag chunks: none or zstd."))
        text = "How long a start waits until every required stream is there, at rate and in time, s."
        patience_s = declare(self, "gate_timeout_s", 3.0, text, low=0.0, high=60.0)
        queue_mib = declare(self, "queue_mib", 256, "Most MiB that may wait to be written.", low=1, high=65536)
        text = "Recording stops when less than this is free on the disk, GiB."
        free_gib = declare(self, "min_free_gib", 1.0, text, low=0.0, high=1e6)
        self._space = StorageSpace(self._directory, int(free_gib * 2**30))
        self._simulated = bool(self.get_parameter("use_sim_time").value)
        self._streams = (*recorded_streams(self._contract), *self._realsense_streams())
        for stream in self._streams:
            # Read now, so that a missing definition ends the start and no episode waits for the disk.
            load_type_definition(stream.bag_type_name)
        self._message = EpisodeState()
        self._gestures = GestureFilter()
        self._warnings = LiveWarnings(self._streams, simulated=self._simulated)
        self._summaries: tuple[StreamSummary, ...] | None = None
        self._judged: EpisodeWriter | None = None
        self._warned_refused = 0
        self._warned_unwritable: dict[str, str] = {}
        flow = FlowParameters(self, self._directory)
        self._receiver = StreamReceiver(self, self._streams, simulated=self._simulated)
        closed = self.create_guard_condition(self._on_closed)
        self._session = EpisodeSession(
            self._receiver,
            self._streams,
            self.resolve_topic_name,
            simulated=self._simulated,
            queue_bytes=queue_mib * 2**20,
            compression=compression,
            on_closed=closed.trigger,
        )
        self._operation = Operation(
            self._session,
            self._directory,
            self._describe,
            lambda: self._receiver.failure or self._space.problem(),
            self._receiver.now_ns,
            self._publish,
            self.get_logger(),
            patience_s,
        )
        flow.govern(self._operation, self._publish)
        self._states = self.create_publisher(EpisodeState, "recorder/episode_state", qos.LATCHED)
        self._serve()

    def _realsense_streams(self) -> tuple[RecordedStream, ...]:
        """Metadata of realsense-ros, where its messages are installed."""
        there, absent = split_installed(realsense_streams(self._contract), is_installed)
        if absent and not self._simulated:
            topics = ", ".join(stream.topic for stream in absent)
            text = f"not recorded: {topics}: {absent[0].type_name} is not installed; gaps show by the stamps only"
            self.get_logger().info(text)
        return there

    def _serve(self) -> None:
        """Offer services and timers."""
        group = ReentrantCallbackGroup()  # a start that waits for streams keeps nobody else waiting
        self.create_service(StartEpisode, "recorder/start_episode", self._on_start, callback_group=group)
        self.create_service(StopEpisode, "recorder/stop_episode", self._on_stop, callback_group=group)
        self.create_service(OperatorRequest, "recorder/operator", self._on_operator, callback_group=group)
        self.create_service(LabelEpisode, "recorder/label_episode", self._on_label)
        self.create_subscription(OperatorCommand, "recorder/operator_command", self._on_gesture, 10)
        # Wall time: these watch the recorder itself and must go on when a simulation stands still.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self._ticks = self.create_timer(_TICK_PERIOD_S, self._operation.tick, clock=wall)
        self.create_timer(_STATE_PERIOD_S, self._on_state_timer, clock=wall)
        self.create_timer(_WATCH_PERIOD_S, self._on_watch_timer, clock=wall)
        self._publish()

    def close(self) -> None:
        """Close the open episode, unlabelled, and stop receiving."""
        self._operation.close("closed when the recorder was stopped")
        self._receiver.close()

    async def _on_start(self, request: Any, response: Any) -> Any:
        self._receiver.refresh()
        wish = EpisodeWish(request.task, request.operator_name, request.note)
        answer = await self._operation.start(wish)
        response.success, response.message = answer.accepted, answer.text
        episode = self._session.episode
        if answer.accepted and episode is not None:
            response.episode_id, response.path, response.message = episode.episode_id, str(episode.folder), ""
        return response

    async def _on_stop(self, request: Any, response: Any) -> Any:
        if request.outcome not in _OUTCOMES:
            response.success = False
            response.message = f"outcome {request.outcome} is none of {', '.join(map(str, _OUTCOMES))}"
            return response
        answer = await self._operation.stop(_OUTCOMES[request.outcome], request.note)
        closed = answer.closed
        response.success, response.message = closed is not None, answer.text
        if closed is not None:
            response.episode_id, response.path = closed.episode_id, str(closed.folder)
            response.verdict, response.message = closed.verdict.level, "; ".join(closed.verdict.reasons)
        return response

    async def _on_operator(self, request: Any, response: Any) -> Any:
        self._receiver.refresh()
        answer = await self._operation.command(request.command, request.note)
        response.success, response.message = answer.accepted, answer.text
        return response

    def _on_gesture(self, message: OperatorCommand) -> None:
        """A button of the SpaceMouse; the answer shows in the state."""
        if self._gestures.is_new(message.command, stamp_to_ns(message.header.stamp)):
            self._operation.command(message.command)

    def _on_closed(self) -> None:
        self._operation.take_closed()
        if self._operation.closed is not None and self._session.episode is None:
            self._summaries = self._operation.closed.summaries
        self._publish()
        if self.executor is not None:
            # A suspended service callback goes on at the executor's next event: be that event.
            self.executor.wake()

    def _on_label(self, request: Any, response: Any) -> Any:
        try:
            if request.outcome not in _OUTCOMES:
                raise EpisodeError(f"outcome {request.outcome} is none of {', '.join(map(str, _OUTCOMES))}")
            folder = find_episode(self._directory, request.episode_id)
            folder = set_outcome(folder, _OUTCOMES[request.outcome], request.note)
        except (EpisodeError, OSError) as error:
            response.success, response.message = False, str(error)
        else:
            response.success = True
            self._operation.relabelled(folder, _OUTCOMES[request.outcome])
        return response

    def _describe(self, wish: EpisodeWish, progress: PlanProgress | None) -> EpisodeRequest:
        """What an episode is, by the wish for it, else the plan, else the parameters."""
        plan = progress.plan if progress is not None else None
        item = progress.item if progress is not None else None
        planned_note = plan.note_of(item) if plan is not None and item is not None else ""
        return EpisodeRequest(
            directory=self._directory,
            task=wish.task or (plan.task if plan is not None else self._task),
            operator=wish.operator or (plan.operator if plan is not None else "") or self._operator,
            note="; ".join(text for text in (planned_note, wish.note) if text),
            contract=self._contract.to_dict(),
            contract_hash=self._contract.hash,
            software_version=software_version(),
            namespace=self.get_namespace(),
            simulated=self._simulated,
            plan=plan.describe(item) if plan is not None and item is not None else None,
        )

    def _on_state_timer(self) -> None:
        refused = self._session.refused
        if refused > self._warned_refused:
            self.get_logger().error(f"{refused} messages dropped: the disk is too slow, the episode is spoilt")
        self._warned_refused = refused
        episode = self._session.episode
        unwritable = episode.unwritable if episode is not None else {}
        for topic in unwritable.keys() - self._warned_unwritable.keys():
            self.get_logger().error(f"messages of {topic} dropped, the episode is spoilt: {unwritable[topic]}")
        self._warned_unwritable = unwritable
        self._publish()

    def _on_watch_timer(self) -> None:
        self._receiver.refresh()
        episode = self._session.episode
        if episode is None or self._session.closing:
            return
        problem = self._receiver.failure or episode.failure or self._space.problem()
        if problem is not None:
            self.get_logger().error(f"recording stops: {problem}")
            self._operation.fail(problem)

    def _publish(self) -> None:
        if not self._operation.restless:
            self._ticks.cancel()
        elif self._ticks.is_canceled():
            self._ticks.reset()
        message, now_ns = self._message, self._receiver.now_ns()
        message.header.stamp = ns_to_stamp(now_ns)
        fill_operation(message, self._operation, now_ns)
        message.streams = self._stream_states(now_ns)
        disk = self._disk()
        fill_disk(message, disk)
        message.warnings = [f"{s.topic}: {s.problem}" for s in message.streams if s.problem] + disk.warnings()
        if self.context.ok():
            # After Ctrl-C the middleware is gone, but the episode must still be closed.
            self._states.publish(message)

    def _stream_states(self, now_ns: int) -> list[StreamState]:
        episode, health = self._session.episode, self._session.health.look(now_ns)
        if episode is not None:
            self._summaries = episode.summaries
            if episode is not self._judged:
                self._judged = episode
                self._warnings.begin(health)
        recording = episode is not None and self._operation.state.phase is Phase.RECORDING
        problems = self._warnings.stream_problems(health, self._summaries if recording else None, now_ns)
        name, is_open = self.resolve_topic_name, episode is not None
        return stream_states(self._streams, health, self._summaries, problems, now_ns, name, is_open=is_open)

    def _disk(self) -> DiskState:
        free, least, episode = self._space.free_bytes, self._space.min_free_bytes, self._session.episode
        if episode is None:
            return DiskState(free, least)
        return DiskState(free, least, episode.written_bytes_per_s, episode.queue_share, episode.flush_delay_s)


def main() -> None:
    """Entry point of the executable ``recorder_node``."""
    sys.exit(run_node(RecorderNode))


if __name__ == "__main__":
    main()
