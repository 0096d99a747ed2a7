"""The latency ledger of recorded episodes: what became of each chunk, from capture to execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_dataset.bag_reader import BagReader
from dp_ros.messages import stamp_to_ns

from dp_bringup.statistics import percentiles

CHUNK_TOPIC, REPORT_TOPIC = "/policy/chunk", "/control/chunk_report"
LATENCIES = ("observation_to_publication", "inference", "publication_to_execution")


@dataclass
class ChunkLedger:
    """Chunks and what control reported of them, by (episode, chunk id). Times are ROS time.

    Attributes:
        chunks: latencies in s by name, see `LATENCIES`.
        reports: counts of late and executed actions, seam jump, reason of a stop.
    """

    chunks: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    reports: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _published_ns: dict[tuple[str, int], int] = field(default_factory=dict)

    def add_chunk(self, episode: str, message: Any) -> None:
        """Take an ActionChunk."""
        key = (episode, int(message.chunk_id))
        published_ns = stamp_to_ns(message.published)
        self._published_ns[key] = published_ns
        self.chunks[key] = {
            "observation_to_publication": 1e-9 * (published_ns - stamp_to_ns(message.header.stamp)),
            "inference": 1e-9 * (stamp_to_ns(message.inference_ended) - stamp_to_ns(message.inference_started)),
        }

    def add_report(self, episode: str, message: Any) -> None:
        """Take a ChunkReport."""
        key = (episode, int(message.chunk_id))
        first_ns = stamp_to_ns(message.first_executed)
        if first_ns and key in self._published_ns:
            self.chunks[key]["publication_to_execution"] = 1e-9 * (first_ns - self._published_ns[key])
        self.reports[key] = {
            "late": int(message.late),
            "executed": int(message.executed),
            "seam_position_m": float(message.seam_position_m),
            "seam_rotation_rad": float(message.seam_rotation_rad),
            "stop_reason": str(message.stop_reason),
        }

    def summary(self) -> dict[str, Any]:
        """Percentiles of the latencies (s) and seam jumps, counts, and why chunks were stopped."""
        found: dict[str, Any] = {"chunks": len(self.chunks), "reports": len(self.reports)}
        for name in LATENCIES:
            found[f"{name}_s"] = percentiles([c[name] for c in self.chunks.values() if name in c])
        reports = list(self.reports.values())
        found["late_actions"] = sum(r["late"] for r in reports)
        found["executed_actions"] = sum(r["executed"] for r in reports)
        found["seam_position_m"] = percentiles([r["seam_position_m"] for r in reports if r["executed"]])
        reasons = [r["stop_reason"] for r in reports if r["stop_reason"]]
        found["stop_reasons"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return found


def read_ledger(folders: Iterable[Path]) -> ChunkLedger:
    """The ledger of recorded episodes; those without chunks add nothing."""
    ledger = ChunkLedger()
    for folder in folders:
        bag = BagReader(folder)
        for item in bag.read({CHUNK_TOPIC, REPORT_TOPIC} & set(bag.topics)):
            add = ledger.add_chunk if item.topic == CHUNK_TOPIC else ledger.add_report
            add(folder.name, item.message)
    return ledger
