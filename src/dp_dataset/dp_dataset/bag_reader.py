"""Reads a rosbag2 MCAP bag message by message, with memory bounded by one chunk and no ROS installed.

Message types come from the definitions in the bag itself. A bag whose writer was killed has no index; it is then
read as a stream up to its last complete chunk.
"""

import hashlib
import json
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mcap.exceptions import McapError
from mcap.reader import SeekingReader
from mcap.records import Channel, Message, Metadata, Schema, Statistics
from mcap.stream_reader import CRCValidationError, StreamReader
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

EPISODE_FILE = "episode.json"
_HASH_BLOCK_BYTES = 4 * 2**20


class BagError(ValueError):
    """A bag is missing, unreadable, or lacks something; the message names the bag and what it lacks."""


@dataclass(frozen=True)
class BagMessage:
    """One message of a bag.

    Attributes:
        topic: Full topic name.
        log_time_ns: Receipt time, ns.
        publish_time_ns: Time by the source, ns.
        message: The decoded message (attributes as in ROS; arrays are numpy arrays).
    """

    topic: str
    log_time_ns: int
    publish_time_ns: int
    message: Any


class BagReader:
    """A bag on disk.

    Attributes:
        folder: The bag's folder.
        path: Its MCAP file.
        indexed: False for a bag whose writer was killed.
    """

    def __init__(self, folder: Path) -> None:
        """Open a bag.

        Raises:
            BagError: If the folder holds no single MCAP file, or it cannot be read at all.
        """
        self.folder = Path(folder)
        files = sorted(self.folder.glob("*.mcap")) if self.folder.is_dir() else []
        if len(files) != 1:
            raise BagError(f"{self.folder} holds {len(files)} MCAP files, expected one")
        self.path = files[0]
        self._channels: dict[int, Channel] = {}
        self._schemas: dict[int, Schema] = {}
        self._counts: dict[str, int] = {}
        self._metadata: dict[str, dict[str, str]] = {}
        self.indexed = self._read_summary()
        if not self.indexed:
            self._scan()

    @property
    def topics(self) -> dict[str, str]:
        """Full topic name to message type."""
        return {c.topic: self._schemas[c.schema_id].name for c in self._channels.values()}

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
        except json.JSONDecodeError as error:
            raise BagError(f"{path} is not valid JSON: {error}") from error
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
        typestore = _typestore(tuple((s.name, s.data) for s in self._schemas.values()))
        for channel, schema, message in self._records(topics):
            yield BagMessage(
                channel.topic,
                message.log_time,
                message.publish_time,
                typestore.deserialize_cdr(message.data, schema.name),
            )

    def sha256(self) -> str:
        """SHA-256 of the MCAP file, hexadecimal."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(_HASH_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _records(self, topics: Collection[str] | None) -> Iterator[tuple[Channel, Schema, Message]]:
        with self.path.open("rb") as file:
            if self.indexed:
                reader = SeekingReader(file, validate_crcs=True)
                names = None if topics is None else list(topics)
                try:
                    for schema, channel, message in reader.iter_messages(names, log_time_order=False):
                        if schema is not None:
                            yield channel, schema, message
                except (McapError, CRCValidationError) as error:
                    raise BagError(f"{self.path} is damaged: {error}") from error
                return
            for record in _stream(file):
                if isinstance(record, Message):
                    channel = self._channels[record.channel_id]
                    if topics is None or channel.topic in topics:
                        yield channel, self._schemas[channel.schema_id], record

    def _read_summary(self) -> bool:
        with self.path.open("rb") as file:
            try:
                reader = SeekingReader(file)
                summary = reader.get_summary()
                if summary is None or summary.statistics is None:
                    return False
                self._channels, self._schemas = dict(summary.channels), dict(summary.schemas)
                self._count(summary.statistics)
                self._metadata = {record.name: record.metadata for record in reader.iter_metadata()}
            except (McapError, OSError, ValueError, KeyError):
                return False
        return True

    def _count(self, statistics: Statistics) -> None:
        counts = statistics.channel_message_counts
        self._counts = {c.topic: counts.get(c.id, 0) for c in self._channels.values()}

    def _scan(self) -> None:
        with self.path.open("rb") as file:
            for record in _stream(file):
                if isinstance(record, Schema):
                    self._schemas[record.id] = record
                elif isinstance(record, Channel):
                    self._channels[record.id] = record
                elif isinstance(record, Metadata):
                    self._metadata[record.name] = record.metadata
                elif isinstance(record, Message):
                    topic = self._channels[record.channel_id].topic
                    self._counts[topic] = self._counts.get(topic, 0) + 1


def _stream(file: Any) -> Iterator[Any]:
    """Records of an unfinished file, ending quietly where it was cut off."""
    records = StreamReader(file, validate_crcs=True).records
    while True:
        try:
            yield next(records)
        except (StopIteration, McapError, CRCValidationError, EOFError, ValueError, struct.error):
            return


@lru_cache(maxsize=8)
def _typestore(schemas: tuple[tuple[str, bytes], ...]) -> Typestore:
    typestore = get_typestore(Stores.EMPTY)
    types: dict[str, Any] = {}
    for name, text in schemas:
        types.update(get_types_from_msg(text.decode(), name))
    typestore.register(types)
    return typestore
