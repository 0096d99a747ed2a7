"""Reads a rosbag2 MCAP bag message by message, with memory bounded by one chunk and no ROS installed.

Message types come from the definitions in the bag itself. A bag whose writer was killed has no index; it is then
read as a stream up to its last complete message.
"""

import hashlib
import io
import json
import os
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Metadata, Schema, Statistics
from mcap.stream_reader import CRCValidationError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from dp_dataset.bag_contents import BagMessage, BagTopic, RawMessage, message_types
from dp_dataset.mcap_chunks import CHANNEL, MESSAGE, METADATA, SCHEMA, Record, parse_message
from dp_dataset.mcap_records import McapDamage, McapRecords, OnDamage
from dp_dataset.mcap_summary import is_summary_intact

EPISODE_FILE = "episode.json"
_HASH_BLOCK_BYTES = 4 * 2**20


class BagError(ValueError):
    """A bag is missing, unreadable, or lacks something; the message names the bag and what it lacks."""


class BagReader:
    """A bag on disk.

    Attributes:
        folder: The bag's folder.
        path: Its MCAP file.
        indexed: False for a bag whose writer was killed, or whose index is damaged.
        complete: Whether the writer came to the end of the data.
        start_ns: Log time of the first message, ns; 0 for an empty bag.
        end_ns: Log time of the last message, ns.
    """

    def __init__(self, folder: Path, on_progress: Callable[[int], None] | None = None) -> None:
        """Open a bag.

        Args:
            folder: Its folder, or its MCAP file.
            on_progress: Told how many bytes were read, while a bag without an index is searched.

        Raises:
            BagError: If the folder holds no single MCAP file, or it cannot be read at all.
        """
        self.folder = Path(folder)
        if self.folder.is_file() and self.folder.suffix == ".mcap":
            self.path, self.folder = self.folder, self.folder.parent
        else:
            files = sorted(self.folder.glob("*.mcap")) if self.folder.is_dir() else []
            if len(files) != 1:
                raise BagError(
                    f"{self.folder} holds {len(files)} MCAP files, expected one"
                    + ("; name one of them, or merge them: ros2 bag convert" if files else "")
                )
            self.path = files[0]
        self._channels: dict[int, Channel] = {}
        self._schemas: dict[int, Schema] = {}
        self._counts: dict[str, int] = {}
        self._metadata: dict[str, dict[str, str]] = {}
        self._types: Any = None
        self.start_ns = self.end_ns = 0
        self.indexed = self.complete = self._read_summary()
        if not self.indexed:
            self._scan(on_progress)

    @property
    def topics(self) -> dict[str, str]:
        """Full topic name to message type."""
        return {c.topic: self._type_name(c) for c in self._channels.values()}

    @property
    def topic_details(self) -> dict[str, BagTopic]:
        """Full topic name to everything that the bag says about it."""
        found = {}
        for channel in self._channels.values():
            schema = self._schemas.get(channel.schema_id)
            found[channel.topic] = BagTopic(
                name=channel.topic,
                type_name=schema.name if schema else "",
                definition=schema.data.decode(errors="replace") if schema else "",
                definition_encoding=schema.encoding if schema else "",
                type_hash=channel.metadata.get("topic_type_hash", ""),
                offered_qos=channel.metadata.get("offered_qos_profiles", ""),
                message_count=self._counts.get(channel.topic, 0),
            )
        return found

    @property
    def metadata_records(self) -> dict[str, dict[str, str]]:
        """Name to content of each metadata record in the file."""
        return dict(self._metadata)

    @property
    def message_counts(self) -> dict[str, int]:
        """Full topic name to number of messages."""
        return dict(self._counts)

    @property
    def episode(self) -> dict[str, Any]:
        """Content of ``episode.json``, or what the recorder embedded in the bag at its start.

        Raises:
            BagError: If there is neither.
        """
        path = self.folder / EPISODE_FILE
        try:
            if path.is_file():
                return dict(json.loads(path.read_text(encoding="utf-8")))
            return dict(json.loads(self._metadata["episode"][EPISODE_FILE]))
        except (ValueError, TypeError) as error:
            raise BagError(f"{path} is not valid JSON, or describes no episode: {error}") from error
        except KeyError as error:
            raise BagError(f"{self.folder} has no {EPISODE_FILE}, and nothing embedded says what it is") from error

    def topic_name(self, relative: str, namespace: str = "/") -> str | None:
        """Full name of a topic of the contract in this bag; None if it is not there.

        Args:
            relative: Name as the contract gives it.
            namespace: Namespace in which the cell ran.
        """
        name = f"{namespace.rstrip('/')}/{relative.lstrip('/')}"
        return name if name in self.topics else None

    def read(self, topics: Collection[str] | None = None) -> Iterator[BagMessage]:
        """Messages in the order of the file.

        Args:
            topics: Full names to read; None for all.

        Raises:
            BagError: If the file is damaged, except at the end of an unfinished one.
        """
        for entry in self.read_raw(topics):
            yield BagMessage(entry.topic, entry.log_time_ns, entry.publish_time_ns, self.decode(entry))

    def decode(self, entry: RawMessage) -> Any:
        """Decode one message of ``read_raw``.

        Raises:
            BagError: If its bytes are not what its type says, or the bag's definitions of types are damaged.
        """
        if self._types is None:
            try:
                self._types = message_types(tuple((s.name, s.encoding, s.data) for s in self._schemas.values()))
            except (TypesysError, ValueError) as error:
                raise BagError(f"{self.path}: a message definition in it is damaged: {error}") from error
        try:
            # A copy: arrays of the message would keep their whole chunk in memory.
            return self._types.deserialize_cdr(bytes(entry.data), entry.type_name)
        except (SerdeError, struct.error, ValueError, IndexError, KeyError) as error:
            raise BagError(
                f"{self.path}: a message on {entry.topic} is no {entry.type_name}: {error or 'wrong size'}"
            ) from error

    def read_raw(
        self,
        topics: Collection[str] | None = None,
        *,
        start_ns: int | None = None,
        end_ns: int | None = None,
        on_damage: OnDamage | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Iterator[RawMessage]:
        """Messages in the order of the file, not decoded; chunks outside of the span are skipped unread.

        Args:
            topics: Full names to read; None for all.
            start_ns: First log time, ns; None for the beginning.
            end_ns: Log time before which messages are read, ns; None for the end.
            on_damage: Told of what cannot be read, which is then left out.
            on_progress: Told how many bytes of the file were passed.

        Raises:
            BagError: If the file is damaged, except an unfinished one, and nobody listens to damage.
        """
        first = -1 if start_ns is None else start_ns
        last = 2**63 if end_ns is None else end_ns
        whole = start_ns is None and end_ns is None
        listener = on_damage or (None if self.indexed else _ignore)
        wanted = None if whole else lambda begin, end: begin < last and end >= first
        names = {i: (c.topic, self._type_name(c)) for i, c in self._channels.items()}
        if topics is not None:
            names = {i: pair for i, pair in names.items() if pair[0] in topics}
        try:
            for record in McapRecords(self.path, listener, wanted, on_progress):
                if record.opcode != MESSAGE:
                    continue
                message = parse_message(record.body)
                found = names.get(message.channel_id)
                if found is not None and (whole or first <= message.log_time_ns < last):
                    yield RawMessage(
                        *found, message.log_time_ns, message.publish_time_ns, message.sequence, message.data
                    )
        except McapDamage as error:
            raise BagError(f"{self.path} is damaged: {error}, at byte {error.offset}") from error

    def sha256(self) -> str:
        """SHA-256 of the MCAP file, hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _type_name(self, channel: Channel) -> str:
        schema = self._schemas.get(channel.schema_id)
        return schema.name if schema else ""

    def _read_summary(self) -> bool:
        with self.path.open("rb") as file:
            try:
                size = os.fstat(file.fileno()).st_size
                if not is_summary_intact(file, size):
                    return False
                file.seek(0)
                reader = SeekingReader(file, validate_crcs=True, record_size_limit=size)
                summary = reader.get_summary()
                if summary is None or summary.statistics is None:
                    return False
                self._channels, self._schemas = dict(summary.channels), dict(summary.schemas)
                self._count(summary.statistics)
                self._metadata = {record.name: record.metadata for record in reader.iter_metadata()}
            except (McapError, CRCValidationError, OSError, ValueError, KeyError, EOFError, struct.error, MemoryError):
                return False
        return True

    def _count(self, statistics: Statistics) -> None:
        self._counts = {c.topic: 0 for c in self._channels.values()}
        for channel in self._channels.values():
            self._counts[channel.topic] += statistics.channel_message_counts.get(channel.id, 0)
        if statistics.message_count:
            # Without messages some writers put the greatest number there is in place of a time.
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time

    def _scan(self, on_progress: Callable[[int], None] | None) -> None:
        records = McapRecords(self.path, _ignore, None, on_progress)
        for record in records:
            if record.opcode == MESSAGE:
                message = parse_message(record.body)
                channel = self._channels.get(message.channel_id)
                if channel is None:
                    continue
                if not self._counts:
                    self.start_ns = message.log_time_ns
                self._counts[channel.topic] = self._counts.get(channel.topic, 0) + 1
                self.start_ns = min(self.start_ns, message.log_time_ns)
                self.end_ns = max(self.end_ns, message.log_time_ns)
            elif record.opcode in (SCHEMA, CHANNEL, METADATA):
                self._learn(record)
        self.complete = records.complete

    def _learn(self, record: Record) -> None:
        """Take over a type, a topic or metadata; one that is damaged is as good as missing."""
        stream = ReadDataStream(io.BytesIO(record.body))
        try:
            if record.opcode == SCHEMA:
                schema = Schema.read(stream)
                self._schemas[schema.id] = schema
            elif record.opcode == CHANNEL:
                channel = Channel.read(stream)
                self._channels[channel.id] = channel
            else:
                metadata = Metadata.read(stream)
                self._metadata[metadata.name] = metadata.metadata
        except (McapError, ValueError, EOFError):
            return


def _ignore(damage: McapDamage) -> None:
    """What is damaged in an unfinished file is left out."""
