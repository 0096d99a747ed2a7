"""Bags from bags: the same topics, types and QoS with some of the messages, and the metadata that belongs to a file."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from dp_dataset.bag_reader import BagReader, BagTopic, RawMessage

from dp_recorder.bag_writer import BagSummary, BagWriter
from dp_recorder.rosbag2_metadata import BagTopicEntry, OfferedQos, bag_information
from dp_recorder.type_definitions import TypeDefinition

METADATA_FILE = "metadata.yaml"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
INFORMATION = "rosbag2_bagfile_information"
_POLICIES = {
    "history": {0: "system_default", 1: "keep_last", 2: "keep_all", 3: "unknown"},
    "reliability": {0: "system_default", 1: "reliable", 2: "best_effort", 3: "unknown"},
    "durability": {0: "system_default", 1: "transient_local", 2: "volatile", 3: "unknown"},
    "liveliness": {0: "system_default", 1: "automatic", 2: "manual_by_node", 3: "manual_by_topic", 4: "unknown"},
}
_INFINITE_S = 2**31 - 1


def offered_profiles(topic: BagTopic) -> list[OfferedQos]:
    """QoS profiles that a bag keeps of a topic; those of older rosbag2 versions have numbers for words.

    None where they are damaged: the messages are worth more than how they were sent.
    """
    try:
        entries = yaml.safe_load(topic.offered_qos) or []
        return [_profile(entry) for entry in entries if isinstance(entry, dict)]
    except (yaml.YAMLError, ValueError, TypeError):
        return []


def _profile(entry: Mapping[str, Any]) -> OfferedQos:
    words = {name: entry.get(name) for name in _POLICIES}
    named = {
        name: _POLICIES[name].get(value, "unknown") if isinstance(value, int) else str(value)
        for name, value in words.items()
        if value is not None
    }
    return OfferedQos(
        **named,
        depth=int(entry.get("depth", 0)),
        deadline_ns=_duration_ns(entry.get("deadline")),
        lifespan_ns=_duration_ns(entry.get("lifespan")),
        liveliness_lease_ns=_duration_ns(entry.get("liveliness_lease_duration")),
    )


def _duration_ns(entry: Any) -> int | None:
    if not isinstance(entry, dict):
        return None
    seconds = int(entry.get("sec", 0))
    nanoseconds = seconds * 1_000_000_000 + int(entry.get("nsec", 0))
    return None if seconds >= _INFINITE_S or nanoseconds == 0 else nanoseconds


def is_latched(topic: BagTopic) -> bool:
    """Whether late subscribers of the topic were given its last message."""
    profiles = offered_profiles(topic)
    return bool(profiles) and all(profile.durability == "transient_local" for profile in profiles)


def copy_bag(
    source: BagReader,
    messages: Iterable[RawMessage],
    folder: Path,
    *,
    custom_data: Mapping[str, str],
    embedded: Mapping[str, Mapping[str, str]],
) -> BagSummary:
    """Write messages of a bag into a new one, which gets all topics of the old.

    Args:
        source: Where the messages come from.
        messages: What to write, in this order.
        folder: Of the new bag.
        custom_data: For ``metadata.yaml``.
        embedded: Metadata records for the file.
    """
    writer = BagWriter(folder, custom_data=custom_data, embedded=embedded)
    try:
        channels = {
            topic.name: writer.add_topic(
                topic.name,
                _definition(topic),
                offered_profiles(topic),
            )
            for topic in source.topic_details.values()
        }
        for entry in messages:
            channel = channels[entry.topic]
            writer.write(channel, bytes(entry.data), entry.log_time_ns, entry.publish_time_ns, entry.sequence)
    except BaseException:
        writer.abandon()
        raise
    return writer.close()


def custom_data_of(bag: BagReader) -> dict[str, str]:
    """Pairs that the recorder put into ``metadata.yaml``; empty where there are none to be found."""
    information = read_information(bag.folder) or information_in_file(bag) or {}
    pairs = information.get("custom_data") or {}
    return {str(key): str(value) for key, value in pairs.items()} if isinstance(pairs, dict) else {}


def read_information(folder: Path) -> dict[str, Any] | None:
    """Content of ``metadata.yaml``; None where it is missing or no such thing."""
    try:
        content = yaml.load((folder / METADATA_FILE).read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    information = content.get(INFORMATION) if isinstance(content, dict) else None
    return information if isinstance(information, dict) else None


def information_in_file(bag: BagReader) -> dict[str, Any] | None:
    """The same, as the recorder put it into the file; None where it did not."""
    try:
        information = yaml.safe_load(bag.metadata_records["rosbag2"]["serialized_metadata"])
    except (KeyError, yaml.YAMLError):
        return None
    return information if isinstance(information, dict) else None


def information_of(bag: BagReader) -> dict[str, Any]:
    """What ``metadata.yaml`` has to say of a bag, from the bag's own index."""
    topics = [
        BagTopicEntry(topic.name, _definition(topic), offered_profiles(topic), topic.message_count)
        for topic in bag.topic_details.values()
    ]
    information = bag_information(bag.path.name, topics, (bag.start_ns, bag.end_ns), custom_data_of(bag))
    recorded_with = (information_in_file(bag) or {}).get("ros_distro")
    return information | ({"ros_distro": recorded_with} if recorded_with else {})


def _definition(topic: BagTopic) -> TypeDefinition:
    return TypeDefinition(topic.type_name, topic.definition, topic.type_hash, topic.definition_encoding)


def information_differences(found: Mapping[str, Any] | None, bag: BagReader) -> list[str]:
    """What ``metadata.yaml`` says otherwise than the file, one line for each; empty where they agree.

    Of a recording split into several files it speaks of all of them, which one file cannot contradict.
    """
    if found is None:
        return [f"{METADATA_FILE} is missing or no metadata of a bag"]
    files = found.get("relative_file_paths")
    if isinstance(files, list) and len(files) > 1 and bag.path.name in files:
        return []
    true = information_of(bag)
    lines = []
    for key in ("storage_identifier", "duration", "starting_time", "message_count", "relative_file_paths"):
        if found.get(key) != true[key]:
            lines.append(f"{METADATA_FILE}: {key} is {found.get(key)!r}, the file says {true[key]!r}")
    try:
        counts = {
            entry["topic_metadata"]["name"]: entry["message_count"] for entry in found["topics_with_message_count"]
        }
    except (KeyError, TypeError):
        return [*lines, f"{METADATA_FILE}: topics_with_message_count is missing or damaged"]
    for name, count in bag.message_counts.items():
        if counts.get(name, 0) != count:
            lines.append(f"{METADATA_FILE}: {counts.get(name, 0)} messages on {name}, the file holds {count}")
    lines += [f"{METADATA_FILE}: topic {name} is not in the file" for name in counts.keys() - bag.topics.keys()]
    return lines
