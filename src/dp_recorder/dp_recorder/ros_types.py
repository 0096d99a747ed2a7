"""Between what rclpy calls things and what a bag calls them: message classes and QoS profiles."""

import importlib
from typing import Any

from rclpy.duration import Duration
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy

from dp_recorder.bag_writer import OfferedQos
from dp_recorder.type_definitions import TypeDefinitionError, load_type_definition

_INFINITE_NS = 2**63 - 1


def message_class(type_name: str) -> Any:
    """The Python class of a message type such as ``sensor_msgs/msg/Image``.

    Raises:
        ValueError: If the type is not installed; names it.
    """
    package, _, name = type_name.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"message type {type_name} is not installed: {error}") from error


def is_installed(type_name: str) -> bool:
    """Whether messages of a type can be received, and described in a bag."""
    try:
        message_class(type_name)
        load_type_definition(type_name)
    except (ValueError, TypeDefinitionError):
        return False
    return True


def offered_qos(profile: QoSProfile) -> OfferedQos:
    """A publisher's QoS profile in the words of rosbag2."""
    return OfferedQos(
        history=QoSHistoryPolicy(profile.history).name.lower(),
        depth=profile.depth,
        reliability=QoSReliabilityPolicy(profile.reliability).name.lower(),
        durability=QoSDurabilityPolicy(profile.durability).name.lower(),
        deadline_ns=_finite(profile.deadline),
        lifespan_ns=_finite(profile.lifespan),
        liveliness=profile.liveliness.name.lower(),
        liveliness_lease_ns=_finite(profile.liveliness_lease_duration),
    )


def _finite(duration: Duration) -> int | None:
    return None if duration.nanoseconds >= _INFINITE_NS else int(duration.nanoseconds)
