"""Writes one episode: counts on the receiving thread, everything that touches the disk on a thread of its own."""

import dataclasses
import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_recorder.atomic_file import RoomForText, sync_folder
from dp_recorder.bag_pipeline import BagPipeline, OfferedQosSource, compress_image
from dp_recorder.bag_writer import BagWriter
from dp_recorder.episode import (
    EPISODE_FILE,
    OUTCOMES,
    EpisodeError,
    EpisodeRequest,
    create_episode_folder,
    episode_text,
    place_episode,
    write_episode_file,
)
from dp_recorder.frame_counter import FrameCounter
from dp_recorder.message_queue import MessageQueue, QueuedMessage
from dp_recorder.recorded_streams import RecordedStream
from dp_recorder.stream_statistics import StreamStatistics, StreamSummary
from dp_recorder.type_definitions import load_type_definition
from dp_recorder.verdict import Verdict, judge

__all__ = ["ClosedEpisode", "EpisodeWriter", "OfferedQosSource", "compress_image"]

_END_BYTES_PER_STREAM = 2048


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
        self._queue = queue if queue is not None else MessageQueue()
        self._end: tuple[str, int, str] | None = None
        before = sequences_before if sequences_before is not None else [None] * len(self.streams)
        self.statistics = tuple(
            StreamStatistics(stream.rate_hz, sequence) for stream, sequence in zip(self.streams, before, strict=True)
        )
        self._frame_counters = _frame_counters(self.streams)
        for stream in self.streams:
            load_type_definition(stream.bag_type_name)  # a type that is not installed leaves no folder behind
        self.folder = create_episode_folder(Path(request.directory), request.task)
        self.episode_id = self.folder.name
        self.started_ns = started_ns
        self._description = request.describe(self.episode_id, started_ns)
        self._unwritable: dict[int, str] = {}
        try:
            bag = self._create_bag(compression)
        except OSError:
            # Nothing was recorded: an empty folder would only look like an episode.
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._pipeline = BagPipeline(
            bag,
            self._queue,
            self.streams,
            namespace=request.namespace,
            offered_qos=offered_qos,
            flush_period_s=flush_period_s,
            on_unwritable=self._on_unwritable,
        )

    def begin(self, sequences: Sequence[int | None], started_ns: int) -> None:
        """Say that the episode begins now, not when its files were made; before the first ``put``.

        Args:
            sequences: Counter of each stream's publisher, None where not known.
            started_ns: Start, ROS clock, ns.
        """
        for statistics, sequence in zip(self.statistics, sequences, strict=True):
            statistics.begin_after(sequence)
        self.started_ns = self._description["started_ns"] = started_ns

    def _create_bag(self, compression: str) -> BagWriter:
        write_episode_file(self.folder, self._description)
        # What the end adds: numbers of each stream, and reasons. A disk that is full by then must not hide them.
        octets = 2 * len(episode_text(self._description)) + _END_BYTES_PER_STREAM * (1 + len(self.streams))
        self._room = RoomForText(self.folder / EPISODE_FILE, octets)
        sync_folder(self.folder.parent)
        embedded = {"episode": {"episode.json": json.dumps(self._description)}}
        custom = {"episode_id": self.episode_id, "contract_hash": self._request.contract_hash}
        return BagWriter(self.folder, compression=compression, custom_data=custom, embedded=embedded)

    @property
    def task(self) -> str:
        """What the robot is asked to do."""
        return self._request.task

    @property
    def failure(self) -> str | None:
        """Why writing stopped; None while it works."""
        return self._pipeline.failure

    @property
    def unwritable(self) -> dict[str, str]:
        """Why messages of a topic could not be written although the queue took them; empty while all could."""
        return {self.streams[index].topic: reason for index, reason in self._unwritable.copy().items()}

    def _on_unwritable(self, index: int, reason: str) -> None:
        self._unwritable.setdefault(index, reason)
        self.statistics[index].add_unwritable()

    @property
    def queue_share(self) -> float:
        """How full the queue is, by messages or by bytes, in [0, 1]; at 1 messages are dropped."""
        return self._queue.share

    @property
    def written_bytes_per_s(self) -> float:
        """Bytes written to the bag per second over the last two seconds."""
        return self._pipeline.bytes_per_s

    @property
    def flush_delay_s(self) -> float:
        """How long data waits for the disk, s; above the flush period the disk is too slow for what is recorded."""
        return self._pipeline.flush_delay_s

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
            if message.stream in self._frame_counters:
                images, counter = self._frame_counters[message.stream]
                self.statistics[images].add_frames_lost(counter.add(message.data, message.sequence))
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
        bag_bytes, in_bag = self._pipeline.join()
        self._count_unwritten(in_bag)
        summaries = self.summaries
        verdict = judge(
            self.streams,
            summaries,
            self.failure,
            outcome=outcome,
            simulated=self._request.simulated,
            span_ns=(self.started_ns, ended_ns),
            unwritable=self._unwritable,
        )
        self._describe_end(outcome, ended_ns, note, summaries, verdict)
        try:
            if self.folder.exists():
                self._room.replace(episode_text(self._description))
                self.folder = place_episode(self.folder, outcome)
        except OSError as error:
            # The file of the start stays, which says that the episode was not closed.
            verdict = Verdict("bad", (*verdict.reasons, f"episode file not written: {error}"))
        return ClosedEpisode(self.episode_id, self.folder, outcome, verdict, summaries, bag_bytes)

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

    def _count_unwritten(self, in_bag: Counter[int]) -> None:
        """Count as dropped what was received and is not in the bag, so that the two always add up."""
        for index, statistics in enumerate(self.statistics):
            summary = statistics.summary()
            statistics.add_dropped(summary.received - summary.dropped - in_bag[index])


def _frame_counters(streams: Sequence[RecordedStream]) -> dict[int, tuple[int, FrameCounter]]:
    """Index of the images and counter of their frames, by the index of each stream of metadata."""
    index_of = {stream.topic: index for index, stream in enumerate(streams)}
    return {
        index: (index_of[stream.frames_of], FrameCounter(stream.type_name))
        for index, stream in enumerate(streams)
        if stream.frames_of in index_of
    }


def _describe_stream(stream: RecordedStream, summary: StreamSummary) -> dict[str, Any]:
    return {
        "type": stream.bag_type_name,
        "required": stream.required,
        "expected_rate_hz": stream.rate_hz,
        **dataclasses.asdict(summary),
    }
