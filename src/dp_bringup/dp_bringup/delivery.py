"""Whether any message was lost on its way into the bags, by the counts of both ends.

The recorder keeps, for each stream of each episode, how many messages arrived and how many the publisher sent in
the same span by its own sequence counter.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class StreamDelivery:
    """Counts of one stream over many episodes. `lost`: sent, not received. `dropped`: received, not written."""

    topic: str
    published: int = 0
    received: int = 0
    lost: int = 0
    dropped: int = 0
    missing_stamps: int = 0


def count_delivery(folders: Iterable[Path]) -> list[StreamDelivery]:
    """Add up the streams of episodes; folders without a closed `episode.json` are left out."""
    streams: dict[str, StreamDelivery] = {}
    for folder in folders:
        file = folder / "episode.json"
        if not file.is_file():
            continue
        for topic, counts in json.loads(file.read_text()).get("streams", {}).items():
            _add(streams.setdefault(topic, StreamDelivery(topic)), counts)
    return [stream for stream in streams.values() if stream.received or stream.published]


def messages_lost(streams: Iterable[StreamDelivery]) -> int:
    """All that was sent and is not in the bags."""
    return sum(stream.lost + stream.dropped for stream in streams)


def _add(stream: StreamDelivery, counts: dict[str, Any]) -> None:
    published = counts.get("published")
    stream.published += counts["received"] if published is None else published
    for name in ("received", "lost", "dropped", "missing_stamps"):
        setattr(stream, name, getattr(stream, name) + int(counts.get(name) or 0))
