"""Everything that a bag says of itself: span, size, and each topic's type, rate, bytes and QoS."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_dataset.bag_reader import BagError, BagReader, BagTopic

from dp_recorder.bag_tools.bag_copy import offered_profiles


@dataclass(frozen=True)
class BagDescription:
    """What a bag holds.

    Attributes:
        path: Its MCAP file.
        whole: Whether it has an index; if not, its writer was killed or still writes.
        episode: What is known of the episode; empty for a bag that is none.
        contract_name: Cell that it was recorded on; empty where it does not say.
        size_bytes: Of the file.
        start_ns: Log time of the first message, ns.
        duration_s: To the last message, s.
        message_count: Of all topics.
        topics: One row for each topic: topic, type, messages, rate_hz (by log time), bytes, qos, type_hash.
    """

    path: Path
    whole: bool
    episode: dict[str, Any]
    contract_name: str
    size_bytes: int
    start_ns: int
    duration_s: float
    message_count: int
    topics: list[dict[str, Any]]


def describe_bag(folder: Path, on_progress: Callable[[int], None] | None = None) -> BagDescription:
    """Describe a bag, one of rosbag2 too; reads it once, for the bytes of each topic.

    Args:
        folder: The bag's folder, or its MCAP file.
        on_progress: Told how many bytes of the file were read.

    Raises:
        BagError: If there is no bag.
    """
    bag = BagReader(folder)
    octets: dict[str, int] = {}
    spans: dict[str, tuple[int, int]] = {}
    for entry in bag.read_raw(on_damage=lambda damage: None, on_progress=on_progress):
        octets[entry.topic] = octets.get(entry.topic, 0) + len(entry.data)
        first, _ = spans.get(entry.topic, (entry.log_time_ns, 0))
        spans[entry.topic] = first, entry.log_time_ns
    try:
        episode = bag.episode
    except BagError:
        episode = {}
    rows = [
        _row(topic, spans.get(name, (0, 0)), octets.get(name, 0)) for name, topic in sorted(bag.topic_details.items())
    ]
    contract = episode.get("contract")
    return BagDescription(
        path=bag.path,
        whole=bag.indexed,
        episode=episode,
        contract_name=str(contract.get("name", "")) if isinstance(contract, dict) else "",
        size_bytes=bag.path.stat().st_size,
        start_ns=bag.start_ns,
        duration_s=(bag.end_ns - bag.start_ns) / 1e9,
        message_count=sum(bag.message_counts.values()),
        topics=rows,
    )


def _row(topic: BagTopic, span_ns: tuple[int, int], octets: int) -> dict[str, Any]:
    lasted_ns = span_ns[1] - span_ns[0]
    return {
        "topic": topic.name,
        "type": topic.type_name,
        "messages": topic.message_count,
        "rate_hz": (topic.message_count - 1) * 1e9 / lasted_ns if lasted_ns > 0 else 0.0,
        "bytes": octets,
        "qos": "; ".join(dict.fromkeys(_qos_words(profile) for profile in offered_profiles(topic))),
        "type_hash": topic.type_hash,
    }


def _qos_words(profile: Any) -> str:
    words = [profile.reliability, profile.durability]
    if profile.history != "unknown":
        words.append(f"{profile.history} {profile.depth}" if profile.history == "keep_last" else profile.history)
    return " ".join(words)
