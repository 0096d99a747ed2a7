"""A bag as ``ros2 bag info`` and ``ros2 bag play`` of Jazzy read it, or the reason why they would not.

Written from rosbag2 0.26.5: ``rosbag2_cpp/readers/sequential_reader.cpp`` (``SequentialReader::open``),
``rosbag2_storage_mcap/src/mcap_storage.cpp`` (``MCAPStorage::read_metadata``, ``set_read_order``) and
``rosbag2_transport/.../player.cpp`` (``PlayerImpl::prepare_publishers``).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mcap_reading import Message, RefusedError, read_messages, read_metadata, read_summary
from metadata_reading import Qos, decode_information, decode_profiles, load, played_qos

START_OF_NOTHING_NS = 2**63 - 1


@dataclass(frozen=True)
class ReadBag:
    """What rosbag2 gets out of a bag.

    Attributes:
        information: ``metadata.yaml``, decoded.
        records: The ``rosbag2`` metadata records in the file, decoded; the last one counts.
        messages: All messages, in the order of play.
        topics: Topic name of each channel.
        definitions: Encoding and text of each type's definition.
        played: QoS with which each topic is played.
    """

    information: dict
    records: list[dict]
    messages: list[Message]
    topics: dict[int, str]
    definitions: dict[str, tuple[str, str]]
    played: dict[str, Qos]


def read_bag(folder: Path) -> ReadBag:
    """Read a closed bag.

    Raises:
        RefusedError: If rosbag2 would refuse it, or read something else from its parts than from the whole.
    """
    path = folder / "metadata.yaml"
    if not path.exists():
        # Info::read_metadata
        raise RefusedError(f"Could not find metadata in bag directory {folder}")
    content = load(path.read_text(encoding="utf-8"))
    information = decode_information(content["rosbag2_bagfile_information"])
    if information["storage_identifier"] != "mcap" or information["compression"] != ("", ""):
        # With a compression mode, a reader that unpacks whole files or messages would be chosen.
        raise RefusedError("the plugin mcap reads no such bag")
    if len(information["paths"]) != 1:
        raise RefusedError("not one file")
    data = (folder / information["paths"][0]).read_bytes()
    summary = read_summary(data)
    records = [
        decode_information(load(found["serialized_metadata"])) for found in read_metadata(data, summary, "rosbag2")
    ]
    messages = read_messages(data, summary)
    bag = ReadBag(
        information=information,
        records=records,
        messages=messages,
        topics={number: topic for number, (_, topic, _, _) in summary.channels.items()},
        definitions={name: (encoding, text) for name, encoding, text in summary.schemas.values()},
        played={name: played_qos(topic["qos"]) for name, topic in information["topics"].items()},
    )
    _check_channels(information, summary)
    _check_counts(information, summary, messages)
    return bag


def _check_channels(information: dict, summary) -> None:
    """What ``MCAPStorage::read_metadata`` gets from the channels is what ``metadata.yaml`` says."""
    in_file = {}
    for schema, topic, encoding, metadata in summary.channels.values():
        if schema not in summary.schemas:
            raise RefusedError(f"Could not find schema for topic {topic}")
        name = summary.schemas[schema][0]
        if not re.fullmatch(r"[a-zA-Z0-9_]+/msg/[a-zA-Z0-9_]+", name):
            raise RefusedError(f"no type support is found for {name!r}")
        in_file[topic] = {
            "type": name,
            "format": encoding,
            "qos": decode_profiles(load(metadata["offered_qos_profiles"])),
            "hash": metadata["topic_type_hash"],
        }
    listed = {name: {k: v for k, v in topic.items() if k != "count"} for name, topic in information["topics"].items()}
    if listed != in_file:
        raise RefusedError(f"metadata.yaml lists {listed}, the file {in_file}")
    if len({topic["format"] for topic in listed.values()}) > 1:
        # SequentialReader::check_topics_serialization_formats
        raise RefusedError("Topics with different rmw serialization format have been found.")


def _check_counts(information: dict, summary, messages: list[Message]) -> None:
    statistics = summary.statistics
    counts = {summary.channels[number][1]: count for number, count in statistics["by_channel"].items() if count}
    listed = {name: topic["count"] for name, topic in information["topics"].items() if topic["count"]}
    if not len(messages) == statistics["messages"] == information["message_count"] == sum(counts.values()):
        raise RefusedError("message counts differ")
    if counts != listed:
        raise RefusedError(f"metadata.yaml counts {listed}, the file {counts}")
    start_ns, end_ns = statistics["start_ns"], statistics["end_ns"]
    if messages and (start_ns, end_ns) != (messages[0].log_time_ns, messages[-1].log_time_ns):
        raise RefusedError("Statistics tell other times than the messages")
    expected = (start_ns, end_ns - start_ns) if messages else (START_OF_NOTHING_NS, 0)
    entry = {
        "path": information["paths"][0],
        "start": information["start"],
        "duration": information["duration"],
        "message_count": information["message_count"],
    }
    if (information["start"], information["duration"]) != expected or information["files"] != [entry]:
        raise RefusedError("metadata.yaml tells other times than the file")
