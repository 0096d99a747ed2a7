"""Writes one rosbag2 bag (MCAP storage) message by message, without decoding and without ROS.

The result is what rosbag2 of ROS 2 Jazzy writes: ``<folder>/<folder>_0.mcap`` with ``ros2msg`` schemas, type
hashes and offered QoS, and ``metadata.yaml`` of version 9. ``metadata.yaml`` appears when the bag is closed:
a folder without it holds a bag whose writer was killed; every chunk flushed before is intact in it.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from mcap.writer import CompressionType, Writer

from dp_recorder.atomic_file import write_text_atomically
from dp_recorder.type_definitions import TypeDefinition

METADATA_VERSION = 9
ROS_DISTRO = "jazzy"
_CHUNK_BYTES = 4 * 2**20
_INFINITE = {"sec": 9223372036, "nsec": 854775807}
_COMPRESSIONS = {"none": CompressionType.NONE, "zstd": CompressionType.ZSTD}


class BagWriterError(ValueError):
    """A bag was written to in a way that it does not allow."""


@dataclass(frozen=True)
class OfferedQos:
    """QoS profile that a publisher offers, in the words of rosbag2; durations in ns, None for infinite."""

    history: str = "unknown"
    depth: int = 0
    reliability: str = "reliable"
    durability: str = "volatile"
    deadline_ns: int | None = None
    lifespan_ns: int | None = None
    liveliness: str = "automatic"
    liveliness_lease_ns: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The profile as ``metadata.yaml`` carries it."""
        return {
            "history": self.history,
            "depth": self.depth,
            "reliability": self.reliability,
            "durability": self.durability,
            "deadline": _duration(self.deadline_ns),
            "lifespan": _duration(self.lifespan_ns),
            "liveliness": self.liveliness,
            "liveliness_lease_duration": _duration(self.liveliness_lease_ns),
            "avoid_ros_namespace_conventions": False,
        }


def _duration(nanoseconds: int | None) -> dict[str, int]:
    if nanoseconds is None:
        return dict(_INFINITE)
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return {"sec": seconds, "nsec": rest}


@dataclass
class _Topic:
    name: str
    definition: TypeDefinition
    qos: list[OfferedQos]
    message_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "topic_metadata": {
                "name": self.name,
                "type": self.definition.name,
                "serialization_format": "cdr",
                "offered_qos_profiles": [profile.to_dict() for profile in self.qos],
                "type_description_hash": self.definition.type_hash,
            },
            "message_count": self.message_count,
        }


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
        if compression not in _COMPRESSIONS:
            raise BagWriterError(f"compression {compression!r} is none of {', '.join(_COMPRESSIONS)}")
        self.folder = Path(folder)
        self.path = self.folder / f"{self.folder.name}_0.mcap"
        self._custom_data = dict(custom_data or {})
        self._topics: list[_Topic] = []
        self._schemas: dict[str, int] = {}
        self._start_ns: int | None = None
        self._end_ns = 0
        self._message_count = 0
        self._closed = False
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._file = self.path.open("xb")
        except FileExistsError as error:
            raise BagWriterError(f"{self.path} exists already; a bag is never overwritten") from error
        self._writer = Writer(self._file, chunk_size=_CHUNK_BYTES, compression=_COMPRESSIONS[compression])
        self._writer.start(profile="ros2", library=library)
        for name, pairs in (embedded or {}).items():
            self._writer.add_metadata(name, dict(pairs))
        self._file.flush()

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
            self._schemas[definition.name] = self._writer.register_schema(
                definition.name, definition.encoding, definition.text.encode()
            )
        topic = _Topic(name, definition, list(qos))
        profiles = yaml.safe_dump([profile.to_dict() for profile in topic.qos], sort_keys=False)
        metadata = {"offered_qos_profiles": profiles, "topic_type_hash": definition.type_hash}
        self._topics.append(topic)
        return self._writer.register_channel(name, "cdr", self._schemas[definition.name], metadata)

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
        self._writer.add_message(channel, log_time_ns, data, publish_time_ns, sequence & 0xFFFFFFFF)
        self._topics[channel - 1].message_count += 1
        self._message_count += 1
        if self._start_ns is None or log_time_ns < self._start_ns:
            self._start_ns = log_time_ns
        self._end_ns = max(self._end_ns, log_time_ns)

    def flush(self, durable: bool = False) -> None:
        """Finish the open chunk and hand it to the operating system, from where no kill can take it.

        Args:
            durable: Also wait until it is on the disk, from where no power cut can take it.
        """
        self._writer.flush()
        if durable:
            os.fdatasync(self._file.fileno())

    def close(self) -> BagSummary:
        """Write index, footer and ``metadata.yaml``; calling again returns the same summary."""
        if not self._closed:
            self._closed = True
            information = self._information()
            dumped = yaml.safe_dump(information, sort_keys=False)
            self._writer.flush()
            self._writer.add_metadata("rosbag2", {"serialized_metadata": dumped})
            self._writer.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            text = yaml.safe_dump({"rosbag2_bagfile_information": information}, sort_keys=False)
            write_text_atomically(self.folder / "metadata.yaml", text)
        return self._summary()

    def abandon(self) -> None:
        """Close the file without finishing it, as after a disk error; it stays readable as a stream."""
        self._closed = True
        try:
            self._file.close()
        except OSError:
            # Closing flushes, and what failed to be written before fails again.
            self._file.raw.close()

    def _information(self) -> dict[str, Any]:
        start = {"nanoseconds_since_epoch": self._start_ns or 0}
        duration = {"nanoseconds": self._duration_ns}
        return {
            "version": METADATA_VERSION,
            "storage_identifier": "mcap",
            "duration": duration,
            "starting_time": start,
            "message_count": self._message_count,
            "topics_with_message_count": [topic.to_dict() for topic in self._topics],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self.path.name],
            "files": [
                {
                    "path": self.path.name,
                    "starting_time": dict(start),
                    "duration": dict(duration),
                    "message_count": self._message_count,
                }
            ],
            "custom_data": self._custom_data or None,
            "ros_distro": ROS_DISTRO,
        }

    @property
    def _duration_ns(self) -> int:
        return max(0, self._end_ns - self._start_ns) if self._start_ns is not None else 0

    def _summary(self) -> BagSummary:
        return BagSummary(
            folder=self.folder,
            message_count=self._message_count,
            bytes=self.path.stat().st_size,
            start_ns=self._start_ns or 0,
            duration_ns=self._duration_ns,
            topic_counts={topic.name: topic.message_count for topic in self._topics},
        )
