"""The whole ledger of each chunk: what the policy node knows of it, joined with what control reports."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_ros.messages import stamp_to_ns

from dp_msgs.msg import ActionChunk, ChunkLedger, ChunkReport

# Chunks that wait for their report; control reports each one when the next has replaced it.
CAPACITY = 32
# Chunks whose ages are remembered for diagnostics.
AGES = 50

_FROM_CHUNK = (
    *("header", "chunk_id", "policy_id", "capture_oldest", "capture_newest", "received", "aligned"),
    *("inference_started", "inference_ended", "published", "encode_ms", "denoise_ms", "given"),
)
_FROM_REPORT = (
    "first_executed",
    "late",
    "executed",
    "superseded",
    "seam_position_m",
    "seam_rotation_rad",
    "stop_reason",
)


@dataclass
class ExecutionCounts:
    """What became of the chunks, since the node was configured.

    Attributes:
        reports: chunks that control has reported.
        late: actions whose time had passed when they arrived.
        executed: actions.
        stopped: chunks refused, or ended before their time.
        stop_reason: why, of the last of them.
    """

    reports: int = 0
    late: int = 0
    executed: int = 0
    stopped: int = 0
    stop_reason: str = ""


class LedgerJoin:
    """Keeps the ledger of each published chunk until control's report of it comes. One thread at a time.

    Args:
        capacity: chunks that may wait; beyond it the oldest goes out without a report.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._waiting: OrderedDict[tuple[str, int], ChunkLedger] = OrderedDict()
        self._ages_ms: deque[float] = deque(maxlen=AGES)
        self.counts = ExecutionCounts()

    def add(self, chunk: ActionChunk) -> list[ChunkLedger]:
        """Take a chunk that is being published; returns ledgers for which no report is expected any more."""
        ledger: Any = ChunkLedger(actions=len(chunk.stamps))
        for name in _FROM_CHUNK:
            setattr(ledger, name, getattr(chunk, name))
        self._waiting[(chunk.policy_id, chunk.chunk_id)] = ledger
        excess = len(self._waiting) - self._capacity
        return [self._waiting.popitem(last=False)[1] for _ in range(excess)]

    def complete(self, report: ChunkReport) -> ChunkLedger | None:
        """Join a report with its chunk; None when the chunk is another node's, or was reported before."""
        ledger: Any = self._waiting.pop((report.policy_id, report.chunk_id), None)
        if ledger is None:
            return None
        for name in _FROM_REPORT:
            setattr(ledger, name, getattr(report, name))
        ledger.control_received = report.received
        self._count(ledger)
        return ledger

    def flush(self) -> list[ChunkLedger]:
        """Ledgers of all chunks that still wait, without a report."""
        ledgers = list(self._waiting.values())
        self._waiting.clear()
        return ledgers

    def age_ms(self) -> tuple[float, float]:
        """Age of what the policy saw when the arm began to act on it (capture to first action): p50 and p99, ms."""
        if not self._ages_ms:
            return 0.0, 0.0
        median, high = np.percentile(self._ages_ms, (50, 99))
        return float(median), float(high)

    def _count(self, ledger: ChunkLedger) -> None:
        counts = self.counts
        counts.reports += 1
        counts.late += ledger.late
        counts.executed += ledger.executed
        if ledger.stop_reason:
            counts.stopped += 1
            counts.stop_reason = ledger.stop_reason
        first_ns = stamp_to_ns(ledger.first_executed)
        if first_ns:
            self._ages_ms.append(1e-6 * (first_ns - stamp_to_ns(ledger.capture_newest)))
