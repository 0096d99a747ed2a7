"""The latency ledger of recorded episodes: what became of each chunk, from capture to execution."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_dataset.bag_reader import BagReader
from dp_ros.messages import stamp_to_ns

from dp_bringup.statistics import percentiles

CHUNK_TOPIC, REPORT_TOPIC, LEDGER_TOPIC = "/policy/chunk", "/control/chunk_report", "/policy/ledger"
#: Latency by name: the stamps of a chunk between which it lies.
LATENCIES = {
    "observation_to_publication": ("observed", "published"),
    "inference": ("inference_started", "inference_ended"),
    "publication_to_execution": ("published", "first_executed"),
    # How old what the policy saw last was when the arm began to act on it.
    "age": ("capture_newest", "first_executed"),
}
_OF_CHUNKS = ("capture_newest", "inference_started", "inference_ended", "published")
_COUNTS = ("late", "executed", "seam_position_m", "seam_rotation_rad", "stop_reason")
_SEAM_RANKS = (50, 95, 99)
_Key = tuple[str, int]


@dataclass
class ChunkLedger:
    """Chunks and what control reported of them, by (episode, chunk id), taken in any order. Times are ROS time.

    Attributes:
        stamps: of each chunk by name, ns; without those that never came to pass.
        reports: counts of late and executed actions, seam jump, reason of a stop.
    """

    stamps: dict[_Key, dict[str, int]] = field(default_factory=dict)
    reports: dict[_Key, dict[str, Any]] = field(default_factory=dict)

    def add_chunk(self, episode: str, message: Any) -> None:
        """Take an ActionChunk."""
        self._add_stamps((episode, int(message.chunk_id)), message, _OF_CHUNKS, message.header.stamp)

    def add_report(self, episode: str, message: Any) -> None:
        """Take a ChunkReport; what it says of a chunk that nobody has seen counts too."""
        key = (episode, int(message.chunk_id))
        self._add_stamps(key, message, ("first_executed",))
        self.reports[key] = {name: getattr(message, name) for name in _COUNTS}

    def add_ledger(self, episode: str, message: Any) -> None:
        """Take a ChunkLedger, which tells all of chunk and report at once."""
        key = (episode, int(message.chunk_id))
        self._add_stamps(key, message, (*_OF_CHUNKS, "first_executed"), message.header.stamp)
        self.reports[key] = {name: getattr(message, name) for name in _COUNTS}

    def _add_stamps(self, key: _Key, message: Any, names: Iterable[str], observed: Any = None) -> None:
        found = {name: getattr(message, name) for name in names}
        if observed is not None:
            found["observed"] = observed
        known = self.stamps.setdefault(key, {})
        known.update({name: ns for name, stamp in found.items() if (ns := stamp_to_ns(stamp))})

    def latencies_s(self, name: str) -> list[float]:
        """One of :data:`LATENCIES` of each chunk that has both of its stamps, s."""
        begin, end = LATENCIES[name]
        return [1e-9 * (s[end] - s[begin]) for s in self.stamps.values() if begin in s and end in s]

    def summary(self) -> dict[str, Any]:
        """Percentiles of the latencies (s) and seam jumps, counts, and why chunks were stopped."""
        chunks = sum("published" in stamps for stamps in self.stamps.values())
        found: dict[str, Any] = {"chunks": chunks, "reports": len(self.reports)}
        for name in LATENCIES:
            found[f"{name}_s"] = percentiles(self.latencies_s(name))
        reports = list(self.reports.values())
        found["late_actions"] = sum(int(r["late"]) for r in reports)
        found["executed_actions"] = sum(int(r["executed"]) for r in reports)
        for name in ("seam_position_m", "seam_rotation_rad"):
            found[name] = percentiles([float(r[name]) for r in reports if r["executed"]], _SEAM_RANKS)
        reasons = [str(r["stop_reason"]) for r in reports if r["stop_reason"]]
        found["stop_reasons"] = {reason: reasons.count(reason) for reason in sorted(set(reasons))}
        return found


def age_figures(summary: dict[str, Any]) -> dict[str, float | None]:
    """The age of what the policy saw, of a ledger's summary, under the keys that outside checks read."""
    age = summary["age_s"]
    return {"age_p50_s": age.get("p50"), "age_p99_s": age.get("p99")}


def ledger_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """A ledger's summary as text, for tables on the terminal and in reports."""
    position, rotation = summary["seam_position_m"], summary["seam_rotation_rad"]
    seams = ", ".join(
        f"{rank} {1e3 * position[rank]:.1f} mm {1e3 * rotation[rank]:.0f} mrad" for rank in ("p50", "p95") if position
    )
    return [
        ("observation to chunk", _latency_text(summary["observation_to_publication_s"])),
        ("inference", _latency_text(summary["inference_s"])),
        ("capture to first executed waypoint", _latency_text(summary["age_s"])),
        ("jump at seams", seams or "no chunks"),
        ("actions", f"{summary['executed_actions']} executed, {summary['late_actions']} late"),
    ]


def _latency_text(percentile: dict[str, float]) -> str:
    if not percentile:
        return "no chunks"
    return ", ".join(f"{name} {1e3 * value:.0f} ms" for name, value in percentile.items())


def read_ledger(folders: Iterable[Path]) -> ChunkLedger:
    """The ledger of recorded episodes; those without chunks add nothing."""
    ledger = ChunkLedger()
    add = {CHUNK_TOPIC: ledger.add_chunk, REPORT_TOPIC: ledger.add_report, LEDGER_TOPIC: ledger.add_ledger}
    for folder in folders:
        bag = BagReader(folder)
        for item in bag.read(add.keys() & set(bag.topics)):
            add[item.topic](folder.name, item.message)
    return ledger
