"""Recorder node: one bag per episode with every stream of the cell, started and stopped by services.

Subscribes to the streams of the contract and those that explain them (see ``recorded_streams``); publishes
``recorder/episode_state`` (latched); serves ``recorder/start_episode``, ``recorder/stop_episode`` and
``recorder/label_episode``. An episode starts only when every required stream is being received.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from dp_ros.messages import ns_to_stamp
from dp_ros.node_main import declare, declare_contract, run_node
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.serialization import deserialize_message

from dp_msgs.msg import EpisodeState, SceneState, StreamState
from dp_msgs.srv import LabelEpisode, StartEpisode, StopEpisode
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
from dp_recorder.episode_writer import ClosedEpisode, EpisodeWriter
from dp_recorder.memory_reuse import keep_freed_memory
from dp_recorder.message_queue import MessageQueue
from dp_recorder.recorded_streams import SCENE_TOPIC, RecordedStream, recorded_streams
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


class RecorderNode(Node):
    """ROS shell around ``EpisodeWriter``; see the module.

    Services and timers run on the executor's thread; messages are received and written on threads of their own.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self._contract = declare_contract(self)
        self._directory = Path(declare(self, "directory", "episodes", "Folder that receives the episodes.")).absolute()
        self._task = str(declare(self, "task", "", "Task of an episode whose request names none."))
        self._operator = str(declare(self, "operator", "", "Operator of an episode whose request names none."))
        self._compression = str(declare(self, "compression", "none", "Compression of bag chunks: none or zstd."))
        text = "How long a start waits for missing streams, s."
        self._patience_s = declare(self, "gate_timeout_s", 3.0, text, low=0.0, high=60.0)
        self._queue_mib = declare(self, "queue_mib", 256, "Most MiB that may wait to be written.", low=1, high=65536)
        text = "Recording stops when less than this is free on the disk, GiB."
        free_gib = declare(self, "min_free_gib", 1.0, text, low=0.0, high=1e6)
        self._space = StorageSpace(self._directory, int(free_gib * 2**30))
        self._streams = recorded_streams(self._contract)
        for stream in self._streams:
            # Read now, so that a missing definition ends the start and no episode waits for the disk.
            load_type_definition(stream.bag_type_name)
        self._scene = next(i for i, s in enumerate(self._streams) if s.topic == SCENE_TOPIC)
        simulated = bool(self.get_parameter("use_sim_time").value)
        self._receiver = StreamReceiver(self, self._streams, simulated=simulated)
        self._episode: EpisodeWriter | None = None
        self._refused = 0
        self._warned_refused = 0
        self._recorded = 0
        self._state = EpisodeState(state=EpisodeState.IDLE)
        self._states = self.create_publisher(EpisodeState, "recorder/episode_state", qos.LATCHED)
        self.create_service(StartEpisode, "recorder/start_episode", self._on_start)
        self.create_service(StopEpisode, "recorder/stop_episode", self._on_stop)
        self.create_service(LabelEpisode, "recorder/label_episode", self._on_label)
        # Wall time: these watch the recorder itself and must go on when a simulation stands still.
        wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_STATE_PERIOD_S, self._on_state_timer, clock=wall)
        self.create_timer(_WATCH_PERIOD_S, self._on_watch_timer, clock=wall)
        self._publish(EpisodeState.IDLE)

    def close(self) -> None:
        """Close the open episode, unlabelled, and stop receiving."""
        if self._episode is not None:
            self._finish(UNLABELLED, "closed when the recorder was stopped")
        self._receiver.close()

    def _on_start(self, request: Any, response: Any) -> Any:
        problem = self._start_problem()
        if problem is None:
            try:
                episode = self._begin(request)
            except (OSError, ValueError, LookupError) as error:
                problem = f"the episode could not be created: {error}"
        if problem is not None:
            response.success, response.message = False, problem
            self.get_logger().warning(f"no episode started: {problem}")
            return response
        response.success, response.episode_id, response.path = True, episode.episode_id, str(episode.folder)
        self.get_logger().info(f"recording {episode.episode_id}")
        return response

    def _start_problem(self) -> str | None:
        """Why no episode can start; waits a little for streams that are about to come."""
        if self._episode is not None:
            return f"{self._episode.episode_id} is being recorded; stop it first"
        if problem := self._receiver.failure or self._space.problem():
            return problem
        self._receiver.refresh()
        deadline_s = time.monotonic() + self._patience_s
        while (missing := self._receiver.missing()) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        return "; ".join(self._describe_missing(stream) for stream in missing) or None

    def _describe_missing(self, stream: RecordedStream) -> str:
        index = self._streams.index(stream)
        topic = self.resolve_topic_name(stream.topic)
        if self._receiver.ever_received(index):
            return f"{topic} has stopped publishing"
        return f"{topic} never published ({self._receiver.publisher_count(index)} publishers)"

    def _begin(self, request: Any) -> EpisodeWriter:
        description = EpisodeRequest(
            directory=self._directory,
            task=request.task or self._task,
            operator=request.operator_name or self._operator,
            note=request.note,
            contract=self._contract.to_dict(),
            contract_hash=self._contract.hash,
            software_version=software_version(),
            namespace=self.get_namespace(),
        )
        started: list[EpisodeWriter] = []

        def build(sequences: Any) -> EpisodeWriter:
            episode = EpisodeWriter(
                description,
                self._streams,
                self._receiver.now_ns(),
                sequences_before=sequences,
                offered_qos=self._receiver.offered_qos,
                queue=MessageQueue(max_bytes=self._queue_mib * 2**20),
                compression=self._compression,
            )
            started.append(episode)
            return episode

        self._refused = self._warned_refused = 0
        self._receiver.attach(build, self._on_refused)
        self._episode = started[0]
        self._state.verdict, self._state.reasons = "", []
        self._publish(EpisodeState.RECORDING)
        return self._episode

    def _on_refused(self, count: int) -> None:
        self._refused += count

    def _on_stop(self, request: Any, response: Any) -> Any:
        if self._episode is None:
            response.success, response.message = False, "no episode is being recorded"
            return response
        if request.outcome not in _OUTCOMES:
            response.success = False
            response.message = f"outcome {request.outcome} is none of {', '.join(map(str, _OUTCOMES))}"
            return response
        closed = self._finish(_OUTCOMES[request.outcome], request.note)
        response.success, response.episode_id, response.path = True, closed.episode_id, str(closed.folder)
        response.verdict, response.message = closed.verdict.level, "; ".join(closed.verdict.reasons)
        return response

    def _finish(self, outcome: str, note: str, failed: str = "") -> ClosedEpisode:
        """Close the open episode and report it; ``failed`` says why it did not end by request."""
        episode = self._episode
        assert episode is not None
        self._publish(EpisodeState.CLOSING)
        ended_ns = self._receiver.now_ns()
        scene = self._receiver.last_message(self._scene)
        self._receiver.settle()
        self._receiver.detach()
        self._compare_counts(episode, scene)
        closed = episode.close(outcome, ended_ns, note)
        self._episode = None
        self._recorded += outcome != DISCARD
        self._state.path, self._state.verdict = str(closed.folder), closed.verdict.level
        self._state.reasons = list(closed.verdict.reasons)
        self._fill_streams(closed.summaries)
        self._publish(EpisodeState.FAILED if failed else EpisodeState.IDLE, failed)
        text = f"{closed.episode_id}: {outcome}, {closed.verdict.level}"
        if closed.verdict.reasons:
            self.get_logger().warning(f"{text}: {'; '.join(closed.verdict.reasons)}")
        else:
            self.get_logger().info(text)
        return closed

    def _compare_counts(self, episode: EpisodeWriter, scene: bytes | None) -> None:
        """Hold the counters of the publishers against what was received."""
        for index, statistics in enumerate(episode.statistics):
            if self._receiver.publisher_count(index) > 1:
                statistics.publisher_ambiguous()
        if scene is None:
            return
        message = deserialize_message(scene, SceneState)
        published = {
            self.resolve_topic_name(name): int(count)
            for name, count in zip(message.stream_names, message.stream_counts, strict=True)
        }
        for stream, statistics in zip(self._streams, episode.statistics, strict=True):
            count = published.get(self.resolve_topic_name(stream.topic))
            if count is not None:
                statistics.published_at_least(count)

    def _on_label(self, request: Any, response: Any) -> Any:
        try:
            if request.outcome not in _OUTCOMES:
                raise EpisodeError(f"outcome {request.outcome} is none of {', '.join(map(str, _OUTCOMES))}")
            folder = find_episode(self._directory, request.episode_id)
            set_outcome(folder, _OUTCOMES[request.outcome], request.note)
        except (EpisodeError, OSError) as error:
            response.success, response.message = False, str(error)
        else:
            response.success = True
        return response

    def _on_state_timer(self) -> None:
        if self._episode is None:
            return
        if self._refused > self._warned_refused:
            self.get_logger().error(f"{self._refused} messages dropped: the disk is too slow, the episode is spoilt")
            self._warned_refused = self._refused
        self._publish(EpisodeState.RECORDING)

    def _on_watch_timer(self) -> None:
        self._receiver.refresh()
        if self._episode is None:
            return
        problem = self._receiver.failure or self._episode.failure or self._space.problem()
        if problem is not None:
            self.get_logger().error(f"recording stops: {problem}")
            self._finish(UNLABELLED, problem, failed=problem)

    def _publish(self, state: int, text: str = "") -> None:
        message = self._state
        message.header.stamp = ns_to_stamp(self._receiver.now_ns())
        message.state, message.text = state, text
        message.episodes_recorded = self._recorded
        if self._episode is not None:
            message.episode_id, message.path = self._episode.episode_id, str(self._episode.folder)
            message.task = str(self._episode.task)
            message.duration_s = (self._receiver.now_ns() - self._episode.started_ns) / 1e9
            self._fill_streams(self._episode.summaries)
        if self.context.ok():
            # After Ctrl-C the middleware is gone, but the episode must still be closed.
            self._states.publish(message)

    def _fill_streams(self, summaries: tuple[StreamSummary, ...]) -> None:
        now_ns = self._receiver.now_ns()
        self._state.streams = [
            StreamState(
                topic=self.resolve_topic_name(stream.topic),
                required=stream.required,
                received=summary.received,
                lost=max(summary.lost, summary.missing_stamps),
                dropped=summary.dropped,
                rate_hz=summary.rate_hz,
                expected_rate_hz=stream.rate_hz or 0.0,
                max_gap_s=summary.max_gap_s,
                age_s=(now_ns - summary.last_stamp_ns) / 1e9 if summary.last_stamp_ns is not None else -1.0,
            )
            for stream, summary in zip(self._streams, summaries, strict=True)
        ]


def main() -> None:
    """Entry point of the executable ``recorder_node``."""
    keep_freed_memory()
    sys.exit(run_node(RecorderNode))


if __name__ == "__main__":
    main()
