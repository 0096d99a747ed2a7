"""Frames that a camera took and its driver never published, by the metadata in a bag."""

from __future__ import annotations

from collections.abc import Mapping

from dp_recorder.bag_tools.finding import WARNING, BagFinding
from dp_recorder.frame_counter import METADATA_TYPES, FrameCounter


class CameraFrames:
    """Counts the frames of every camera that has metadata in the bag.

    Args:
        types: Message type of each topic of the bag.
    """

    def __init__(self, types: Mapping[str, str]) -> None:
        self._counters = {topic: FrameCounter(kind) for topic, kind in types.items() if kind in METADATA_TYPES}
        self._lost = dict.fromkeys(self._counters, 0)
        self._first_ns: dict[str, int] = {}

    def add(self, topic: str, data: bytes | memoryview, sequence: int, log_ns: int) -> None:
        """Take one message of any topic; those that are no metadata are left alone."""
        counter = self._counters.get(topic)
        if counter is None:
            return
        missing = counter.add(data, sequence)
        if missing:
            self._lost[topic] += missing
            self._first_ns.setdefault(topic, log_ns)

    def lost(self, image_topic: str) -> int | None:
        """Frames lost of a topic of images, raw or compressed, of which metadata lies beside it; None without."""
        folder = image_topic.removesuffix("/compressed").rpartition("/")[0]
        return self._lost.get(f"{folder}/metadata")

    def findings(self, bag_start_ns: int) -> list[BagFinding]:
        """What is wrong."""
        found = []
        for topic, counter in self._counters.items():
            if lost := self._lost[topic]:
                at_s = (self._first_ns[topic] - bag_start_ns) / 1e9
                what = f"{lost} frames lost before they were published, by the camera's counter"
                found.append(BagFinding(WARNING, topic, what, at_s))
            if counter.unreadable:
                what = f"{counter.unreadable} messages without a counter that can be read"
                found.append(BagFinding(WARNING, topic, what, None))
        return found
