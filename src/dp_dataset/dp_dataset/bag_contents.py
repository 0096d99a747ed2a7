"""What a bag holds: messages, decoded or as they lie in it, topics, and the types to decode them with."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore


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


class RawMessage(NamedTuple):
    """One message as it lies in the bag.

    Attributes:
        topic: Full topic name.
        type_name: Message type.
        log_time_ns: Receipt time, ns.
        publish_time_ns: Time by the source, ns.
        sequence: The publisher's counter; 0 where the recorder knew none.
        data: The serialized message, a view that keeps its whole chunk in memory: copy what is to be kept.
    """

    topic: str
    type_name: str
    log_time_ns: int
    publish_time_ns: int
    sequence: int
    data: memoryview


@dataclass(frozen=True)
class BagTopic:
    """What a bag says about one topic.

    Attributes:
        name: Full name.
        type_name: Message type.
        definition: Text of the type and of every type it contains.
        definition_encoding: Language of that text, ``ros2msg`` or ``ros2idl``.
        type_hash: REP-2016 hash; empty where the recorder wrote none.
        offered_qos: QoS profiles that the publishers offered, as YAML; empty where the recorder wrote none.
        message_count: Messages in the bag.
    """

    name: str
    type_name: str
    definition: str
    definition_encoding: str
    type_hash: str
    offered_qos: str
    message_count: int


@lru_cache(maxsize=8)
def message_types(schemas: tuple[tuple[str, str, bytes], ...]) -> Typestore:
    """What decodes messages of the given types.

    Args:
        schemas: Name, language (``ros2msg`` or ``ros2idl``) and text of each.
    """
    typestore = get_typestore(Stores.EMPTY)
    types: dict[str, Any] = {}
    for name, encoding, text in schemas:
        types.update(
            get_types_from_idl(text.decode()) if encoding == "ros2idl" else get_types_from_msg(text.decode(), name)
        )
    typestore.register(types)
    return typestore
