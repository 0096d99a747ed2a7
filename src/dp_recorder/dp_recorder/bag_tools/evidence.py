"""The recorder's own statistics and verdict, made again from a bag."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from dp_core.contract import Contract, ContractError
from dp_dataset.bag_reader import RawMessage

from dp_recorder.bag_tools.camera_frames import CameraFrames
from dp_recorder.recorded_streams import RecordedStream, realsense_streams, recorded_streams
from dp_recorder.stream_statistics import StreamStatistics, StreamSummary
from dp_recorder.verdict import BAD, Verdict, judge


def contract_of(episode: Mapping[str, Any]) -> Contract | None:
    """The contract that an episode carries; None where it carries none, or one that this version cannot read."""
    try:
        return Contract.from_dict(episode["contract"]) if episode.get("contract") else None
    except ContractError:
        return None


def is_simulated(episode: Mapping[str, Any]) -> bool:
    """Whether receipt times are those of /clock, and say nothing about the clocks of the publishers."""
    return episode.get("clock") == "simulation"


def contract_hash(contract: Mapping[str, Any]) -> str:
    """Hash of a contract as it was written down, whatever this version of the software adds to it."""
    text = json.dumps(contract, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class BagEvidence:
    """Counts the messages of a bag as the recorder did; constant memory.

    Attributes:
        streams: What was to be recorded; empty where the episode names no contract.
        message_count: Messages so far.
        first_ns: Log time of the first of them, ns; None before.
        last_ns: Log time of the last, ns.
    """

    def __init__(self, episode: Mapping[str, Any]) -> None:
        contract = contract_of(episode)
        self._outcome, self._simulated = str(episode.get("outcome", "")), is_simulated(episode)
        described = episode.get("streams")
        described = described if isinstance(described, Mapping) else {}
        self.streams: tuple[RecordedStream, ...] = recorded_streams(contract) if contract else ()
        if contract:
            self.streams += tuple(stream for stream in realsense_streams(contract) if stream.topic in described)
        prefix = str(episode.get("namespace") or "/").rstrip("/")
        self._statistics = {f"{prefix}/{stream.bag_topic}": StreamStatistics(stream.rate_hz) for stream in self.streams}
        self._frames = CameraFrames({f"{prefix}/{stream.bag_topic}": stream.type_name for stream in self.streams})
        for stream in self.streams:
            known = described.get(stream.topic)
            if isinstance(known, Mapping) and known.get("published", 0) is None:
                self._statistics[f"{prefix}/{stream.bag_topic}"].publisher_ambiguous()
        self.message_count = 0
        self.first_ns: int | None = None
        self.last_ns = 0

    def add(self, entry: RawMessage) -> None:
        """Count one message."""
        self.message_count += 1
        self.first_ns = entry.log_time_ns if self.first_ns is None else min(self.first_ns, entry.log_time_ns)
        self.last_ns = max(self.last_ns, entry.log_time_ns)
        statistics = self._statistics.get(entry.topic)
        if statistics is not None:
            statistics.add(entry.publish_time_ns, entry.sequence, len(entry.data), entry.log_time_ns)
            self._frames.add(entry.topic, entry.data, entry.sequence, entry.log_time_ns)

    def summaries(self) -> tuple[StreamSummary, ...]:
        """Statistics of each stream, in their order."""
        return tuple(
            dataclasses.replace(statistics.summary(), frames_lost=self._frames.lost(topic) or 0)
            for topic, statistics in self._statistics.items()
        )

    def verdict(self, failure: str | None) -> Verdict:
        """The recorder's verdict on these messages.

        Args:
            failure: Why the bag is known to be incomplete; None if it is not.
        """
        if not self.streams:
            reasons = [] if failure is None else [failure]
            return Verdict(BAD, (*reasons, "no contract to judge by"))
        return judge(
            self.streams,
            self.summaries(),
            failure,
            outcome=self._outcome,
            simulated=self._simulated,
            span_ns=(self.first_ns, self.last_ns) if self.first_ns is not None else None,
        )

    def describe_streams(self) -> dict[str, Any]:
        """Statistics as ``episode.json`` carries them."""
        return {
            stream.topic: {
                "type": stream.bag_type_name,
                "required": stream.required,
                "expected_rate_hz": stream.rate_hz,
                **dataclasses.asdict(summary),
            }
            for stream, summary in zip(self.streams, self.summaries(), strict=True)
        }
