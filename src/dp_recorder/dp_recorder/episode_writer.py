"""Writes one episode: counts on the receiving thread, everything that touches the disk on a thread of its own."""

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.images import encode_jpeg, image_from_bytes

from dp_recorder.bag_writer import BagWriter, OfferedQos
from dp_recorder.episode import (
    DISCARD,
    OUTCOMES,
    EpisodeError,
    EpisodeRequest,
    create_episode_folder,
    set_outcome,
    write_episode_file,
)
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.serialized_message import SerializedMessageError, read_image, write_compressed_image
from dp_recorder.stream_statistics import StreamStatistics, StreamSummary
from dp_recorder.type_definitions import load_type_definition
from dp_recorder.verdict import Verdict, judge

OfferedQosSource = Callable[[int], Sequence[OfferedQos]]


@dataclass(frozen=True)
class ClosedEpisode:
    """What became of an episode: where it lies, what it holds and whether to trust it."""

    episode_id: str
    folder: Path
    outcome: str
    verdict: Verdict
    summaries: tuple[StreamSummary, ...]
    bag_bytes: int


class EpisodeWriter:
    """Records one episode.

    Thread contract: one thread calls ``put``; ``summaries`` and ``failure`` may be read from any; ``close`` is
    called once, after the last ``put``. The bag is written by a thread that the episode owns.
    """

    def __init__(
        self,
        request: EpisodeRequest,
        streams: Sequence[RecordedStream],
        started_ns: int,
        *,
        sequences_before: Sequence[int | None] | None = None,
        offered_qos: OfferedQosSource = lambda stream: (),
        queue: MessageQueue | None = None,
        compression: str = "none",
        flush_period_s: float = 0.5,
    ) -> None:
        """Create the episode's folder and start writing.

        Args:
            request: What the episode is.
            streams: What may come, in the order of the index that messages carry.
            started_ns: Start, ROS clock, ns.
            sequences_before: Counter of each stream's publisher at the start, None where not known.
            offered_qos: Gives the QoS offered on a stream; asked from the writing thread.
            queue: Queue between the threads; None for one of the default size.
            compression: ``none`` or ``zstd``, see ``BagWriter``.
            flush_period_s: At most this much is lost when the process is killed, s.
        """
        self.streams = tuple(streams)
        self._request = request
        self._offered_qos = offered_qos
        self._queue = queue if queue is not None else MessageQueue()
        self._flush_period_s = flush_period_s
        self._failure: str | None = None
        self._bag_bytes = 0
        self._end: tuple[str, int, str] | None = None
        before = sequences_before if sequences_before is not None else [None] * len(self.streams)
        self.statistics = tuple(
            StreamStatistics(stream.rate_hz, sequence)
            for stream, sequence in zip(self.streams, before, strict=True)
        )
        self._definitions = [load_type_definition(stream.bag_type_name) for stream in self.streams]
        self.folder = create_episode_folder(Path(request.directory), request.task)
        self.episode_id = self.folder.name
        self.started_ns = started_ns
        self._description = request.describe(self.episode_id, started_ns)
        write_episode_file(self.folder, self._description)
        embedded = {"episode": {"episode.json": json.dumps(self._description)}}
        custom = {"episode_id": self.episode_id, "contract_hash": request.contract_hash}
        self._bag = BagWriter(self.folder, compression=compression, custom_data=custom, embedded=embedded)
        self._channels: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name=f"write {self.episode_id}", daemon=True)
        self._thread.start()

    @property
    def task(self) -> str:
        """What the robot is asked to do."""
        return self._request.task

    @property
    def failure(self) -> str | None:
        """Why writing stopped; None while it works."""
        return self._failure

    @property
    def queue_high_water(self) -> tuple[int, int]:
        """Most messages and bytes that ever waited."""
        return self._queue.high_water

    @property
    def summaries(self) -> tuple[StreamSummary, ...]:
        """Present statistics, in the order of ``streams``."""
        return tuple(statistics.summary() for statistics in self.statistics)

    def put(self, messages: list[QueuedMessage]) -> int:
        """Take messages over; returns at once.

        Returns:
            How many were refused because the queue is full.
        """
        for message in messages:
            self.statistics[message.stream].add(
                message.publish_time_ns, message.sequence, len(message.data), message.log_time_ns
            )
        refused = self._queue.put_all(messages)
        for message in refused:
            self.statistics[message.stream].add_dropped()
        return len(refused)

    def close(self, outcome: str, ended_ns: int, note: str = "") -> ClosedEpisode:
        """Write what is queued, finish the bag and label the episode.

        A close that Ctrl-C interrupted may be called again; it then ends as the first call asked for.

        Args:
            outcome: One of ``OUTCOMES``; a discarded episode moves to the ``discarded`` folder.
            ended_ns: End, ROS clock, ns.
            note: Text added to the note of the request.

        Raises:
            EpisodeError: If the outcome is unknown; the episode then stays open.
        """
        if outcome not in OUTCOMES:
            raise EpisodeError(f"outcome {outcome!r} is none of {', '.join(OUTCOMES)}")
        self._end = outcome, ended_ns, note = self._end or (outcome, ended_ns, note)
        self._queue.close()
        self._thread.join()
        summaries = self.summaries
        verdict = judge(
            self.streams, summaries, self._failure, outcome=outcome, simulated=self._request.simulated
        )
        self._describe_end(outcome, ended_ns, note, summaries, verdict)
        try:
            if self.folder.exists():
                write_episode_file(self.folder, self._description)
                if outcome == DISCARD:
                    self.folder = set_outcome(self.folder, outcome)
        except OSError as error:
            # A full disk: the file of the start stays, which says that the episode was not closed.
            verdict = Verdict("bad", (*verdict.reasons, f"episode file not written: {error}"))
        return ClosedEpisode(self.episode_id, self.folder, outcome, verdict, summaries, self._bag_bytes)

    def _describe_end(
        self, outcome: str, ended_ns: int, note: str, summaries: Sequence[StreamSummary], verdict: Verdict
    ) -> None:
        notes = [text for text in (self._request.note, note) if text]
        messages, octets = self._queue.high_water
        self._description.update(
            state="closed",
            outcome=outcome,
            note="; ".join(notes),
            ended_ns=ended_ns,
            duration_s=(ended_ns - self.started_ns) / 1e9,
            verdict=verdict.level,
            reasons=list(verdict.reasons),
            queue={"high_water_messages": messages, "high_water_bytes": octets},
            streams={
                stream.topic: _describe_stream(stream, summary)
                for stream, summary in zip(self.streams, summaries, strict=True)
            },
        )

    def _run(self) -> None:
        """Writing thread: drain, write, flush, until closed or the disk refuses; then finish the bag.

        The bag is finished here because no signal interrupts this thread.
        """
        flushed_s = time.monotonic()
        try:
            while not self._queue.finished:
                for message in self._queue.take_all(self._flush_period_s):
                    self._write(message)
                now_s = time.monotonic()
                if now_s - flushed_s >= self._flush_period_s:
                    self._bag.flush(durable=True)
                    flushed_s = now_s
            self._bag_bytes = self._bag.close().bytes
        except Exception as error:
            # Whatever happens here must reach the operator; the queue then counts all that follows as dropped.
            self._failure = f"writing stopped: {error}"
            self._queue.close()
            self._bag.abandon()
            self._bag_bytes = self._bag.path.stat().st_size

    def _write(self, message: QueuedMessage) -> None:
        channel = self._channels.get(message.stream)
        stream = self.streams[message.stream]
        if channel is None:
            name = f"{self._request.namespace.rstrip('/')}/{stream.bag_topic}"
            definition = self._definitions[message.stream]
            channel = self._bag.add_topic(name, definition, self._offered_qos(message.stream))
            self._channels[message.stream] = channel
        data = message.data
        if stream.recording == "jpeg":
            data = compress_image(data, stream.jpeg_quality)
        self._bag.write(channel, data, message.log_time_ns, message.publish_time_ns, message.sequence)


def compress_image(message: bytes, quality: int) -> bytes:
    """Turn a serialized ``sensor_msgs/Image`` into a ``sensor_msgs/CompressedImage``, header kept.

    Raises:
        SerializedMessageError: If it is not an 8-bit colour image.
    """
    image = read_image(message)
    try:
        pixels = image_from_bytes(image.data, image.width, image.height, image.encoding, image.step)
    except ValueError as error:
        raise SerializedMessageError(f"{image.frame_id}: {error}") from error
    image_format = f"{image.encoding}; jpeg compressed bgr8"
    return write_compressed_image(image.stamp_ns, image.frame_id, image_format, encode_jpeg(pixels, quality))


def _describe_stream(stream: RecordedStream, summary: StreamSummary) -> dict[str, Any]:
    return {
        "type": stream.bag_type_name,
        "required": stream.required,
        "expected_rate_hz": stream.rate_hz,
        **dataclasses.asdict(summary),
    }
