"""The latency ledger of a run: what became of each chunk, from capture to execution."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dp_ros.messages import stamp_to_ns

from dp_bringup.statistics import percentiles


@dataclass
class ChunkLedger:
    """Chunks and reports by (policy, chunk). Times are ROS time.

    Attributes:
        chunks: latencies of each chunk in s: `observation_to_publication`, `inference`, `receipt_to_inference`.
        reports: what control said of it: counts of late and executed actions, seam jump, `publication_to_execution_s`.
    """

    chunks: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    reports: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    _published_ns: dict[tuple[str, int], int] = field(default_factory=dict)

    def add_chunk(self, message: Any) -> None:
        """Take a published ActionChunk."""
        key = (message.policy_id, message.chunk_id)
        published_ns = stamp_to_ns(message.published)
        self._published_ns[key] = published_ns
        started_ns, ended_ns = stamp_to_ns(message.inference_started), stamp_to_ns(message.inference_ended)
        self.chunks[key] = {
            "observation_to_publication": 1e-9 * (published_ns - stamp_to_ns(message.header.stamp)),
            "capture_to_publication": 1e-9 * (published_ns - stamp_to_ns(message.capture_newest)),
            "inference": 1e-9 * (ended_ns - started_ns),
        }

    def add_report(self, message: Any) -> None:
        """Take a ChunkReport."""
        key = (message.policy_id, message.chunk_id)
        first_ns = stamp_to_ns(message.first_executed)
        if first_ns and key in self._published_ns:
            self.chunks[key]["publication_to_execution"] = 1e-9 * (first_ns - self._published_ns[key])
        self.reports[key] = {
            "actions": message.actions,
            "late": message.late,
            "executed": message.executed,
            "seam_position_m": message.seam_position_m,
            "seam_rotation_rad": message.seam_rotation_rad,
            "stop_reason": message.stop_reason,
        }

    def summary(self) -> dict[str, Any]:
        """Percentiles of the latencies (s), counts, and why chunks were stopped."""
        found: dict[str, Any] = {"chunks": len(self.chunks), "reports": len(self.reports)}
        for name in ("observation_to_publication", "capture_to_publication", "inference", "publication_to_execution"):
            found[f"{name}_s"] = percentiles([c[name] for c in self.chunks.values() if name in c])
        reports = self.reports.values()
        found["late_actions"] = sum(r["late"] for r in reports)
        found["executed_actions"] = sum(r["executed"] for r in reports)
        found["seam_position_m"] = percentiles([r["seam_position_m"] for r in reports if r["executed"]])
        reasons = [r["stop_reason"] for r in reports if r["stop_reason"]]
        found["stop_reasons"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return found
