"""Reads ``metadata.yaml`` and QoS profiles as rosbag2 of Jazzy does, and refuses what that refuses.

Written from rosbag2 0.26.5: ``rosbag2_storage/include/rosbag2_storage/yaml.hpp`` (``convert<BagMetadata>::decode`` and
those it calls), ``rosbag2_storage/src/rosbag2_storage/qos.cpp`` and ``rosbag2_transport/.../player.cpp``. yaml-cpp
knows no types: every scalar is a text until it is asked for as a number, so YAML is loaded without resolving any.
"""

import re
from dataclasses import dataclass, replace

import yaml
from mcap_reading import RefusedError

#: Words of ``rmw/qos_string_conversions`` that a publisher can be made with; anything else decodes to «unknown».
WORDS = {
    "history": {"keep_last", "keep_all", "system_default", "unknown"},
    "reliability": {"reliable", "best_effort", "system_default"},
    "durability": {"transient_local", "volatile", "system_default"},
    "liveliness": {"automatic", "manual_by_topic", "system_default"},
}
INFINITE = (9223372036, 854775807)


@dataclass(frozen=True)
class Qos:
    """A profile as rosbag2 understands it; times as (s, ns)."""

    history: str = "keep_last"
    depth: int = 10
    reliability: str = "reliable"
    durability: str = "volatile"
    deadline: tuple = (0, 0)
    lifespan: tuple = (0, 0)
    liveliness: str = "system_default"
    lease: tuple = (0, 0)


def load(text: str) -> object:
    """YAML with every scalar as the text it is."""
    return yaml.load(text, Loader=yaml.BaseLoader)


def decode_information(node: dict) -> dict:
    """``convert<BagMetadata>::decode`` for version 9, the only one that Jazzy writes."""
    if _integer(node, "version", 31) != 9:
        raise RefusedError("not version 9")
    information = {
        "storage_identifier": _text(node, "storage_identifier"),
        "duration": _integer(_get(node, "duration"), "nanoseconds"),
        "start": _integer(_get(node, "starting_time"), "nanoseconds_since_epoch"),
        "message_count": _integer(node, "message_count"),
        "topics": {},
        "paths": [str(path) for path in _sequence(node, "relative_file_paths")],
        "compression": (_text(node, "compression_format"), _text(node, "compression_mode")),
        "files": [_file(entry) for entry in _sequence(node, "files")],
        "custom_data": _custom_data(_get(node, "custom_data")),
        "ros_distro": _text(node, "ros_distro"),
    }
    for entry in _sequence(node, "topics_with_message_count"):
        topic = _get(entry, "topic_metadata")
        information["topics"][_text(topic, "name")] = {
            "type": _text(topic, "type"),
            "format": _text(topic, "serialization_format"),
            "qos": decode_profiles(_sequence(topic, "offered_qos_profiles")),
            "hash": _text(topic, "type_description_hash"),
            "count": _integer(entry, "message_count"),
        }
    return information


def decode_profiles(nodes: object) -> list[Qos]:
    """``convert<std::vector<rclcpp::QoS>>::decode``, words as version 9 has them."""
    if not isinstance(nodes, list):
        raise RefusedError("offered_qos_profiles is no sequence")
    return [_profile(node) for node in nodes]


def _profile(node: dict) -> Qos:
    """``convert<rclcpp::QoS>::decode``: the depth counts with keep_last only."""
    words = {name: _text(node, name) for name in WORDS}
    for name, word in words.items():
        if word not in WORDS[name]:
            raise RefusedError(f"no publisher can offer {name} {word!r}")
    depth = _integer(node, "depth", 31)
    if _text(node, "avoid_ros_namespace_conventions") not in ("true", "false"):
        raise RefusedError("avoid_ros_namespace_conventions is neither true nor false")
    return Qos(
        **words,
        **({"depth": depth} if words["history"] == "keep_last" else {}),
        deadline=_time(node, "deadline"),
        lifespan=_time(node, "lifespan"),
        lease=_time(node, "liveliness_lease_duration"),
    )


def played_qos(profiles: list[Qos]) -> Qos:
    """What ``ros2 bag play`` offers (``Rosbag2QoS::adapt_offer_to_recorded_offers``).

    Publishers that agree in all but history and lifespan: what the first offered, with the default history. Otherwise,
    and where the bag names no profile, the default: reliable, volatile.
    """
    compared = {(p.reliability, p.durability, p.deadline, p.liveliness, p.lease) for p in profiles}
    if len(compared) != 1:
        return Qos()
    return replace(profiles[0], history="keep_last", depth=10)


def _get(node: object, name: str) -> object:
    if not isinstance(node, dict) or name not in node:
        raise RefusedError(f"{name} is missing")
    return node[name]


def _text(node: object, name: str) -> str:
    value = _get(node, name)
    if not isinstance(value, str):
        raise RefusedError(f"{name} is no scalar")
    return value


def _integer(node: object, name: str, bits: int = 64) -> int:
    text = _text(node, name)
    if not re.fullmatch(r"\d+", text) or int(text) >= 2**bits:
        raise RefusedError(f"{name} is {text!r}, no unsigned number of {bits} bits")
    return int(text)


def _sequence(node: object, name: str) -> list:
    value = _get(node, name)
    if not isinstance(value, list):
        raise RefusedError(f"{name} is no sequence")
    return value


def _time(node: object, name: str) -> tuple[int, int]:
    """``convert<rmw_time_t>::decode``."""
    entry = _get(node, name)
    return _integer(entry, "sec"), _integer(entry, "nsec")


def _file(node: object) -> dict:
    """``convert<FileInformation>::decode``."""
    return {
        "path": _text(node, "path"),
        "start": _integer(_get(node, "starting_time"), "nanoseconds_since_epoch"),
        "duration": _integer(_get(node, "duration"), "nanoseconds"),
        "message_count": _integer(node, "message_count"),
    }


def _custom_data(node: object) -> dict:
    """``convert<std::unordered_map<std::string, std::string>>::decode``: nothing, or texts only."""
    if node in ("~", "null", ""):
        return {}
    if not isinstance(node, dict) or not all(isinstance(value, str) for value in node.values()):
        raise RefusedError("custom_data is no map of texts")
    return node
