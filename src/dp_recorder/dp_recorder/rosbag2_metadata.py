"""What rosbag2 of ROS 2 Jazzy says about a bag, in its words and in its layout.

Keys, order and values are those of ``rosbag2_storage/yaml.hpp`` and ``qos.cpp`` (rosbag2 0.26.5), the layout is that of
yaml-cpp: what rosbag2's recorder and ours write of the same cell differs in times, counts and ``custom_data`` only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from dp_recorder.type_definitions import TypeDefinition

METADATA_VERSION = 9
ROS_DISTRO = "jazzy"
#: Start of a bag without messages, ns since the epoch: the latest that there is.
START_OF_NOTHING_NS = 2**63 - 1
_INFINITE = {"sec": 9223372036, "nsec": 854775807}


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
class BagTopicEntry:
    """A topic of a bag: its type, what its publishers offer, and how many messages the bag holds."""

    name: str
    definition: TypeDefinition
    qos: list[OfferedQos]
    message_count: int = 0

    def qos_text(self) -> str:
        """The profiles as an MCAP channel carries them (``serialize_rclcpp_qos_vector``)."""
        return dump([profile.to_dict() for profile in self.qos])

    def to_dict(self) -> dict[str, Any]:
        """The topic as ``metadata.yaml`` carries it."""
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


def bag_information(
    file_name: str,
    topics: Sequence[BagTopicEntry],
    span_ns: tuple[int, int],
    custom_data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Content of ``metadata.yaml`` for a bag of one file.

    Args:
        file_name: Name of the file, without a folder.
        topics: Topics with their message counts.
        span_ns: Earliest and latest log time, ns; not looked at when there are no messages.
        custom_data: Pairs of the recorder's own.
    """
    message_count = sum(topic.message_count for topic in topics)
    start_ns, end_ns = span_ns if message_count else (START_OF_NOTHING_NS, START_OF_NOTHING_NS)
    counts = {
        "starting_time": {"nanoseconds_since_epoch": start_ns},
        "duration": {"nanoseconds": end_ns - start_ns},
        "message_count": message_count,
    }
    return {
        "version": METADATA_VERSION,
        "storage_identifier": "mcap",
        "duration": counts["duration"],
        "starting_time": counts["starting_time"],
        "message_count": message_count,
        "topics_with_message_count": [topic.to_dict() for topic in topics],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file_name],
        "files": [{"path": file_name, **counts}],
        "custom_data": dict(custom_data) if custom_data else None,
        "ros_distro": ROS_DISTRO,
    }


class _YamlCppLayout(yaml.SafeDumper):
    """Lays YAML out as yaml-cpp does; strings that would read as something else stay quoted."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def choose_scalar_style(self) -> str:
        style = str(super().choose_scalar_style())
        return '"' if style == "'" else style

    def expect_flow_sequence(self) -> None:
        # Of the sequences only empty ones are written in brackets, and those of a mapping on a line of their own.
        if self.mapping_context and not self.flow_level:
            outer = self.indent
            self.indent = (outer or 0) + 2
            self.write_indent()
            self.indent = outer
        super().expect_flow_sequence()


_YamlCppLayout.add_representer(type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "~"))


def dump(content: Any) -> str:
    """YAML as rosbag2 writes it, without a line end after the last line."""
    text: str = yaml.dump(content, Dumper=_YamlCppLayout, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.rstrip("\n")
