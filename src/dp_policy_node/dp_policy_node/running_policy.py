"""What exists while the node is configured: topics, inference thread, ledger."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from dp_core.contract import Contract
from dp_ros.messages import stamp_to_ns
from dp_ros.node_main import start_worker

from dp_msgs.msg import ActionChunk, ChunkLedger, ChunkReport
from dp_policy_node.inference_core import InferenceCore
from dp_policy_node.inference_worker import InferenceWorker
from dp_policy_node.ledger_join import LedgerJoin
from dp_policy_node.loaded_engine import ReadyPolicy
from dp_policy_node.observation_streams import ObservationStreams
from dp_ros import qos

CHUNK_TOPIC, DRY_RUN_TOPIC = "policy/chunk", "policy/dry_run_chunk"
# What an inference may take until the thread is given up, s.
LONGEST_JOIN_S = 10.0


class RunningPolicy:
    """A policy with its topics and its thread; all is called by the executor but the publishing of chunks.

    Args:
        node: owns topics and thread; its ``failure`` is set when a stream never begins.
        contract: of the cell.
        policy: ready to run.
        dry_run: publish chunks where they move nothing, whatever the mode of control.
        timeout_s: a stream silent for so long after an activation is a failure.
        first_chunk_id: of the next chunk.
        added_s: each chunk is held back for so long, for experiments.

    Attributes:
        active: samples are taken and chunks made.
        folder: the checkpoint that makes them, or will after the inference that runs now.
    """

    def __init__(
        self,
        node: Any,
        contract: Contract,
        policy: ReadyPolicy,
        dry_run: bool,
        timeout_s: float,
        first_chunk_id: int,
        added_s: float = 0.0,
    ) -> None:
        self._node = node
        self.dry_run = dry_run
        self.active = False
        self.folder = policy.folder
        self.ledgers = LedgerJoin()
        self._ledger_lock = threading.Lock()
        engine_ns = round(1e9 * policy.engine.latency_s)
        core = InferenceCore(contract, policy.loaded.config, policy.steps, engine_ns, timeout_s, executes=not dry_run)
        # What exists is undone from the end, also where the next thing cannot be made: nothing of it may stay behind.
        with ExitStack() as undo:
            self._chunks = node.create_publisher(ActionChunk, DRY_RUN_TOPIC if dry_run else CHUNK_TOPIC, qos.EVENT)
            undo.callback(node.destroy_publisher, self._chunks)
            self._ledger_out = node.create_publisher(ChunkLedger, "policy/ledger", qos.EVENT)
            undo.callback(node.destroy_publisher, self._ledger_out)
            undo.callback(self._flush)
            self.worker = InferenceWorker(
                contract,
                policy,
                core,
                self._now_ns,
                self._publish,
                self._refuse,
                self._fail,
                first_chunk_id,
                round(1e9 * added_s),
            )
            self.streams = ObservationStreams(node, contract, self.worker, lambda: self.active, self._refuse)
            undo.callback(self.streams.close)
            reports = node.create_subscription(ChunkReport, "control/chunk_report", self._on_report, qos.EVENT)
            undo.callback(node.destroy_subscription, reports)
            thread = start_worker(node, "inference", self.worker.run)
            undo.callback(thread.join, timeout=LONGEST_JOIN_S)
            undo.callback(self.worker.close)
            self._undo = undo.pop_all()

    @property
    def problem(self) -> str:
        """What keeps an active policy from inferring, or nothing."""
        return self.worker.core.problem if self.active else ""

    def set_active(self, active: bool, since_ns: int) -> None:
        """Begin an activation, with samples acquired from ``since_ns`` on, or end it."""
        self.active = active
        if active:
            self.worker.begin(since_ns)
        else:
            self.worker.end()

    def swap(self, policy: ReadyPolicy) -> None:
        """Go on with another policy after the inference that runs now."""
        self.folder = policy.folder
        self.worker.swap(policy)

    def close(self) -> None:
        """End the thread, then what it uses."""
        self._undo.close()

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _flush(self) -> None:
        for ledger in self.ledgers.flush():
            self._ledger_out.publish(ledger)

    def _refuse(self, what: str) -> None:
        self._node.get_logger().error(f"refused: {what}", throttle_duration_sec=1.0)

    def _fail(self, why: str) -> None:
        self._node.failure = why

    def _publish(self, chunk: ActionChunk) -> None:
        """Send a chunk; called by the inference thread."""
        with self._ledger_lock:
            unreported = self.ledgers.add(chunk)
        self._chunks.publish(chunk)
        for ledger in unreported:
            self._ledger_out.publish(ledger)

    def _on_report(self, report: ChunkReport) -> None:
        if self.dry_run:
            # Beside a node that drives with the same checkpoint, it is about a chunk of that one with the same number.
            return
        with self._ledger_lock:
            ledger = self.ledgers.complete(report)
        if ledger is None:
            return
        self._ledger_out.publish(ledger)
        received_ns = stamp_to_ns(report.received)
        delivery_ns = received_ns - stamp_to_ns(ledger.published) if received_ns else None
        self.worker.reported(int(report.chunk_id), delivery_ns, stopped=bool(report.stop_reason))
