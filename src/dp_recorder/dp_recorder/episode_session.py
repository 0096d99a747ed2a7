"""Opens and closes episodes on the streams that are being received."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rclpy.serialization import deserialize_message

from dp_msgs.msg import SceneState
from dp_recorder.bag_pipeline import compression_problem
from dp_recorder.episode import EpisodeRequest
from dp_recorder.episode_writer import ClosedEpisode, EpisodeWriter
from dp_recorder.gate import GATE_WINDOW_S, gate_problems
from dp_recorder.live_health import LiveHealth
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import SCENE_TOPIC, RecordedStream
from dp_recorder.stream_receiver import StreamReceiver


class _Both:
    """A sink that writes an episode and keeps the live figures."""

    def __init__(self, health: LiveHealth, episode: EpisodeWriter) -> None:
        self._health = health
        self._episode = episode

    def put(self, messages: list[QueuedMessage]) -> int:
        self._health.put(messages)
        return self._episode.put(messages)


class EpisodeSession:
    """The receiver, and the episode that it fills, if one is open.

    Thread contract: one thread calls everything; closing goes on in a thread of its own, which calls ``on_closed``.

    Attributes:
        health: The streams over the last seconds, episode or not.
        episode: The open (or closing) episode; None without.
        refused: Messages of it that the queue refused.
    """

    def __init__(
        self,
        receiver: StreamReceiver,
        streams: tuple[RecordedStream, ...],
        resolve: Callable[[str], str],
        *,
        simulated: bool,
        queue_bytes: int,
        compression: str,
        on_closed: Callable[[], None],
    ) -> None:
        """Begin to watch the streams.

        Args:
            receiver: Receives them.
            streams: What it receives, in its order.
            resolve: Absolute name of a topic.
            simulated: ROS time is that of /clock.
            queue_bytes: Most data that may wait to be written, bytes.
            compression: ``none`` or ``zstd``.
            on_closed: Called from the closing thread when ``take_closed`` has something to take.
        """
        self._receiver = receiver
        self._streams = streams
        self._resolve = resolve
        self._simulated = simulated
        self._queue_bytes = queue_bytes
        self._compression = compression
        self._on_closed = on_closed
        self._scene = next(i for i, s in enumerate(streams) if s.topic == SCENE_TOPIC)
        self.health = LiveHealth(streams)
        self.episode: EpisodeWriter | None = None
        self.refused = 0
        self._closing: threading.Thread | None = None
        self._closed: ClosedEpisode | None = None
        self._failure: BaseException | None = None
        self._watch()

    def gate(self) -> list[str]:
        """Why no episode can start now, one sentence for each stream; empty when all is well."""
        silent = self._receiver.missing()
        now_ns = self._receiver.now_ns()
        health = self.health.look(now_ns, GATE_WINDOW_S)
        problems = gate_problems(self._streams, health, silent, now_ns, simulated=self._simulated)
        for index, stream in enumerate(self._streams):
            picture = self._receiver.last_message(index) if stream.recording == "jpeg" else None
            if picture is not None and stream not in problems and (problem := compression_problem(picture)):
                problems[stream] = problem
        texts = [self._describe_silent(stream) for stream in silent]
        return texts + [f"{self._resolve(stream.topic)}: {problem}" for stream, problem in problems.items()]

    def _describe_silent(self, stream: RecordedStream) -> str:
        index = self._streams.index(stream)
        topic = self._resolve(stream.topic)
        if self._receiver.ever_received(index):
            return f"{topic} has stopped publishing"
        return f"{topic} never published ({self._receiver.publisher_count(index)} publishers)"

    def begin(self, request: EpisodeRequest) -> EpisodeWriter:
        """Open an episode.

        Raises:
            OSError, ValueError, LookupError: its folder or bag cannot be made; nothing is open then.
        """
        # Made before the streams are handed over: a slow disk must not keep them from being received.
        episode = EpisodeWriter(
            request,
            self._streams,
            self._receiver.now_ns(),
            offered_qos=self._receiver.offered_qos,
            queue=MessageQueue(max_bytes=self._queue_bytes),
            compression=self._compression,
        )

        def begin(sequences: Sequence[int | None]) -> _Both:
            episode.begin(sequences, self._receiver.now_ns())
            return _Both(self.health, episode)

        self.refused = 0
        self._receiver.attach(begin, self._on_refused)
        self.episode = episode
        return episode

    def close_soon(self, outcome: str, note: str) -> None:
        """Begin to close the open episode; ``on_closed`` says when it is done."""
        episode = self.episode
        if episode is None or self._closing is not None:
            return
        ended_ns = self._receiver.now_ns()
        scene = self._receiver.last_message(self._scene)

        def close() -> None:
            try:
                self._receiver.settle()
                self._watch()
                notes = filter(None, (note, self._compare(episode, scene)))
                self._closed = episode.close(outcome, ended_ns, "; ".join(notes))
            except BaseException as error:
                self._failure = error
            self._on_closed()

        # No daemon: the end of the process waits for the episode.
        self._closing = threading.Thread(target=close, name=f"close {episode.episode_id}")
        self._closing.start()

    @property
    def closing(self) -> bool:
        """The open episode is being closed."""
        return self._closing is not None

    def take_closed(self, *, wait: bool = False) -> ClosedEpisode | None:
        """The episode that has been closed, once; None while there is none.

        Args:
            wait: Wait for an episode that is being closed.

        Raises:
            Exception: what went wrong in closing it.
        """
        if self._closing is None or (not wait and self._closed is None and self._failure is None):
            return None
        self._closing.join()
        closed, failure = self._closed, self._failure
        self._closing = self._closed = self._failure = self.episode = None
        if failure is not None:
            raise failure
        return closed

    def _watch(self) -> None:
        """Only the live figures take what comes."""
        self._receiver.attach(lambda sequences: self.health, lambda count: None)

    def _on_refused(self, count: int) -> None:
        self.refused += count

    def _compare(self, episode: EpisodeWriter, scene: bytes | None) -> str:
        """Compare the counts of both ends; why that was not possible, or nothing: it must not keep an episode open."""
        try:
            self._compare_counts(episode, scene)
        except Exception as error:
            return f"counts of the publishers not compared: {type(error).__name__}: {error}"
        return ""

    def _compare_counts(self, episode: EpisodeWriter, scene: bytes | None) -> None:
        """Hold the counters of the publishers against what was received."""
        for index, statistics in enumerate(episode.statistics):
            if self._receiver.publisher_count(index) > 1:
                statistics.publisher_ambiguous()
        if scene is None:
            return
        message = deserialize_message(scene, SceneState)
        published = {
            self._resolve(name): int(count)
            for name, count in zip(message.stream_names, message.stream_counts, strict=True)
        }
        for stream, statistics in zip(self._streams, episode.statistics, strict=True):
            count = published.get(self._resolve(stream.topic))
            if count is not None:
                statistics.published_at_least(count)
