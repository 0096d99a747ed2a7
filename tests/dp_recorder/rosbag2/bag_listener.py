"""Counts what ``ros2 bag play`` publishes, as a process of its own.

Usage: bag_listener.py SECONDS TOPIC=TYPE=DURABILITY... Prints a line once it listens, then, when every topic has been
silent for a second after its first message or SECONDS are over, what came of each topic as JSON: hex of the messages
and what their publishers offer.
"""

import json
import sys
import time

import rclpy
from dp_recorder.ros_types import message_class
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("bag_listener")
    received: dict[str, list[str]] = {}
    offers: dict[str, list[str]] = {}
    last_s = time.monotonic()

    def keep(topic: str):
        def callback(message: bytes) -> None:
            nonlocal last_s
            last_s = time.monotonic()
            received[topic].append(message.hex())

        return callback

    for argument in sys.argv[2:]:
        topic, kind, durability = argument.split("=")
        received[topic] = []
        profile = QoSProfile(
            depth=1000,
            reliability=QoSReliabilityPolicy.BEST_EFFORT,
            durability=QoSDurabilityPolicy[durability.upper()],
        )
        node.create_subscription(message_class(kind), topic, keep(topic), profile, raw=True)
    print("listening", flush=True)
    deadline_s = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < deadline_s and not (all(received.values()) and time.monotonic() > last_s + 1.0):
        rclpy.spin_once(node, timeout_sec=0.05)
        for topic in received:
            for info in node.get_publishers_info_by_topic(topic):
                profile = info.qos_profile
                offers[topic] = [profile.reliability.name.lower(), profile.durability.name.lower()]
    print(json.dumps({"received": received, "offers": offers}), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
