"""Writes one rosbag2 bag (MCAP storage) message by message, without decoding and without ROS.

The result is what rosbag2 of ROS 2 Jazzy writes: ``<folder>/<folder>_0.mcap`` with ``ros2msg`` schemas, type
hashes and offered QoS, and ``metadata.yaml`` of version 9. ``metadata.yaml`` appears when the bag is closed:
a folder without it holds a bag whose writer was killed; every chunk flushed before is intact in it.
"""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_recorder.atomic_file import stage_text, sync_folder
from dp_recorder.mcap_file import COMPRESSIONS, McapFile
from dp_recorder.rosbag2_metadata import BagTopicEntry, bag_information, dump
from dp_recorder.rosbag2_metadata import OfferedQos as OfferedQos
from dp_recorder.type_definitions import TypeDefinition

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BagWriterError(ValueError):
    """A bag was written to in a way that it does not allow."""


@dataclass(frozen=True)
class BagSummary:
    """What a closed bag holds."""

    folder: Path
    message_count: int
    bytes: int
    start_ns: int
    duration_ns: int
    topic_counts: Mapping[str, int] = field(default_factory=dict)


class BagWriter:
    """Writes a bag. Not thread-safe: one thread owns it from construction to ``close``."""

    def __init__(
        self,
        folder: Path,
        *,
        compression: str = "none",
        custom_data: Mapping[str, str] | None = None,
        embedded: Mapping[str, Mapping[str, str]] | None = None,
        library: str = "dp_recorder",
    ) -> None:
        """Create the bag's folder and file.

        Args:
            folder: Folder of the bag; its name is the bag's name. May exist, but hold no bag.
            compression: ``none``, or ``zstd`` for compressed MCAP chunks.
            custom_data: Pairs for ``custom_data`` of ``metadata.yaml``.
            embedded: MCAP metadata records put at the start of the file, so that a bag whose writer was
                killed still tells where it came from.
            library: Name of the writing program, for the file's header.

        Raises:
            BagWriterError: If the compression is unknown or the folder already holds a bag.
        """
        if compression not in COMPRESSIONS:
            raise BagWriterError(f"compression {compression!r} is none of {', '.join(COMPRESSIONS)}")
        self.folder = Path(folder)
        self.path = self.folder / f"{self.folder.name}_0.mcap"
        self._custom_data = dict(custom_data or {})
        self._topics: list[BagTopicEntry] = []
        self._schemas: dict[str, int] = {}
        self._start_ns = 0
        self._end_ns = 0
        self._message_count = 0
        self._closed = False
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._file = McapFile(self.path, compression=compression, profile="ros2", library=library)
        except FileExistsError as error:
            raise BagWriterError(f"{self.path} exists already; a bag is never overwritten") from error
        try:
            for name, pairs in (embedded or {}).items():
                self._file.add_metadata(name, pairs)
            # As rosbag2 does: `ros2 bag reindex` of a bag whose writer was killed then knows the distribution.
            self._describe()
            self.flush(durable=True)
            sync_folder(self.folder)
        except OSError:
            self._file.abandon()
            raise

    def add_topic(self, name: str, definition: TypeDefinition, qos: Sequence[OfferedQos] = ()) -> int:
        """Add a topic.

        Args:
            name: Full name, starting with a slash.
            definition: Its message type.
            qos: Profiles that its publishers offer.

        Returns:
            The channel to pass to ``write``.

        Raises:
            BagWriterError: If the topic was added before.
        """
        if any(topic.name == name for topic in self._topics):
            raise BagWriterError(f"topic {name} was added to {self.path} before")
        if definition.name not in self._schemas:
            self._schemas[definition.name] = self._file.add_schema(
                definition.name, definition.encoding, definition.text.encode()
            )
        topic = BagTopicEntry(name, definition, list(qos))
        metadata = {"offered_qos_profiles": topic.qos_text(), "topic_type_hash": definition.type_hash}
        self._topics.append(topic)
        return self._file.add_channel(name, "cdr", self._schemas[definition.name], metadata)

    def write(
        self, channel: int, data: bytes, log_time_ns: int, publish_time_ns: int, sequence: int = 0
    ) -> None:
        """Append one serialized message.

        Args:
            channel: What ``add_topic`` returned.
            data: The serialized message.
            log_time_ns: Receipt time, ns.
            publish_time_ns: Time by the source, ns.
            sequence: The publisher's counter, if known.
        """
        self._file.write(channel, data, log_time_ns, publish_time_ns, sequence & 0xFFFFFFFF)

    def flush(self, durable: bool = False) -> None:
        """Finish the open chunk and hand it to the operating system, from where no kill can take it.

        Args:
            durable: Also wait until it is on the disk, from where no power cut can take it.

        Raises:
            OSError: The disk has failed.
        """
        self.flush_soon(durable)
        self._file.disk.wait()

    def flush_soon(self, durable: bool = True) -> None:
        """What ``flush`` does, by the disk's thread: returns at once, a failure shows at a later call.

        Raises:
            OSError: The disk has failed.
        """
        self._file.submit(durable)

    @property
    def disk_bytes(self) -> int:
        """Bytes handed to the operating system so far."""
        return self._file.disk.written

    @property
    def disk_delay_s(self) -> float:
        """How long data waits for the disk, s: by the last flush, or the present one if it takes longer."""
        return self._file.disk.sync_delay_s

    def topic_counts(self) -> dict[str, int]:
        """Messages in the bag by topic."""
        counts = self._file.message_counts()
        return {topic.name: counts[channel] for channel, topic in enumerate(self._topics, 1)}

    def close(self) -> BagSummary:
        """Write index, footer and ``metadata.yaml``; calling again returns the same summary.

        Raises:
            OSError: The disk has failed; ``salvage`` may still finish the bag.
        """
        if not self._closed:
            self._finish()
        return self._summary()

    def salvage(self) -> BagSummary | None:
        """After a failure: give back the end of the bag until what remains fits the disk, and close that.

        Returns:
            What the bag holds now; None if it could not be finished. It then stays readable as a stream.
        """
        try:
            while not self._closed and self._file.give_back():
                try:
                    self._finish()
                except OSError as error:
                    if error.errno not in _FULL:
                        break
        except OSError:
            pass
        if self._closed:
            return self._summary()
        self.abandon()
        return None

    def abandon(self) -> None:
        """Close the file without finishing it, as after a disk error; it stays readable as a stream."""
        if not self._closed:
            self._closed = True
            self._file.abandon()

    def _finish(self) -> None:
        self._file.finish_chunk()
        counts = self.topic_counts()
        for topic in self._topics:
            topic.message_count = counts[topic.name]
        self._message_count = sum(counts.values())
        self._start_ns, self._end_ns = self._file.span_ns()
        information = self._describe()
        text = dump({"rosbag2_bagfile_information": information})
        path = self.folder / "metadata.yaml"
        # First all that a full disk may refuse, then the rename that needs no room.
        staged = stage_text(path, text)
        try:
            self._file.finish()
        except OSError:
            staged.unlink()
            raise
        self._closed = True
        staged.replace(path)
        sync_folder(self.folder)

    def _describe(self) -> dict[str, Any]:
        """Put what ``metadata.yaml`` says into the file as well, and return it."""
        span_ns = (self._start_ns, self._end_ns)
        information = bag_information(self.path.name, self._topics, span_ns, self._custom_data)
        self._file.add_metadata("rosbag2", {"serialized_metadata": dump(information)})
        return information

    @property
    def _duration_ns(self) -> int:
        return self._end_ns - self._start_ns

    def _summary(self) -> BagSummary:
        return BagSummary(
            folder=self.folder,
            message_count=self._message_count,
            bytes=self.path.stat().st_size,
            start_ns=self._start_ns,
            duration_ns=self._duration_ns,
            topic_counts={topic.name: topic.message_count for topic in self._topics},
        )
