"""The QoS profiles of the stack (design section 3), explicit everywhere."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy


def _profile(depth: int, reliable: bool, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        depth=depth,
        history=QoSHistoryPolicy.KEEP_LAST,
        reliability=QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT,
        durability=QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE,
    )


# The depth of a publisher is how far a reliable reader may fall behind before it loses a message: two seconds at
# 100 Hz, so that a recorder on a busy machine loses none. The depth of a subscription is its own business.
# Images are offered reliable for the same reason; who prefers the newest frame asks for best effort.
IMAGE = _profile(20, reliable=True)
STATE = _profile(200, reliable=True)
COMMAND_OUT = _profile(200, reliable=True)
# A robot takes the newest command only.
COMMAND_IN = _profile(1, reliable=True)
# Plans and reports: each one matters.
EVENT = _profile(20, reliable=True)
LATCHED = _profile(1, reliable=True, latched=True)
# Asked for by subscribers that must hear any publisher, best effort (franka's broadcasters) or reliable alike.
SENSOR_IN = _profile(10, reliable=False)
CLOCK = _profile(10, reliable=False)


def matching_qos(node: Node, topic: str, depth: int = 100) -> QoSProfile:
    """The strongest profile that every present publisher of ``topic`` satisfies; best effort while there is none.

    Args:
        node: asks the graph.
        topic: relative or absolute name.
        depth: history depth of the subscription.
    """
    offered = [info.qos_profile for info in node.get_publishers_info_by_topic(node.resolve_topic_name(topic))]
    reliable = bool(offered) and all(q.reliability == QoSReliabilityPolicy.RELIABLE for q in offered)
    latched = bool(offered) and all(q.durability == QoSDurabilityPolicy.TRANSIENT_LOCAL for q in offered)
    return _profile(depth, reliable=reliable, latched=latched)
