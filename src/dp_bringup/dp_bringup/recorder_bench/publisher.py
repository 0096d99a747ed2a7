"""Publishes the messages of the bench: `python -m dp_bringup.recorder_bench.publisher CONTRACT cameras|states`.

A process of its own, as cheap as Python allows: messages are joined from bytes made beforehand and published as such.
Commands come line by line on standard input: `mark` and `stop` are answered by a line of JSON with the number of
messages published on each topic; the end of the input ends the process.
"""

from __future__ import annotations

import heapq
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
from dp_core.contract import load_contract
from dp_recorder.memory_reuse import keep_freed_memory
from dp_recorder.ros_types import message_class

from dp_bringup.recorder_bench.known_messages import KnownTopic, camera_topics, state_topics
from dp_ros import qos


class Publisher:
    """Publishes topics at their rates from a thread of its own until stopped."""

    def __init__(self, node: Any, topics: list[KnownTopic], profile: Any) -> None:
        self._topics = topics
        self._publishers = [
            node.create_publisher(message_class(topic.type_name), topic.name, profile) for topic in topics
        ]
        self._counts = [0] * len(topics)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def counts(self) -> dict[str, int]:
        """Messages published on each topic; they are numbered from 0."""
        return {topic.name: count for topic, count in zip(self._topics, self._counts, strict=True)}

    def stop(self) -> None:
        """Publish no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        begin_s = time.monotonic()
        # Cameras send one after the other, not all at once.
        due = [(number / len(self._topics) / topic.rate_hz, number) for number, topic in enumerate(self._topics)]
        heapq.heapify(due)
        while not self._stopped.is_set():
            at_s, number = due[0]
            wait_s = begin_s + at_s - time.monotonic()
            if wait_s > 0.0:
                time.sleep(wait_s)
            topic, counter = self._topics[number], self._counts[number]
            self._publishers[number].publish(topic.message(counter))
            self._counts[number] = counter + 1
            heapq.heapreplace(due, (at_s + 1.0 / topic.rate_hz, number))


def main() -> None:
    """Publish until the input ends."""
    path, what = sys.argv[1:]
    keep_freed_memory()
    contract = load_contract(Path(path))
    topics, profile = (camera_topics(contract), qos.IMAGE) if what == "cameras" else (state_topics(contract), qos.STATE)
    rclpy.init()
    publisher = Publisher(rclpy.create_node(f"bench_{what}"), topics, profile)
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        if line.strip() == "stop":
            publisher.stop()
        print(json.dumps(publisher.counts()), flush=True)
    publisher.stop()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
