"""What the policy node tells on ``/diagnostics``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from dp_core.contract import Contract
from dp_policy.checkpoint import LoadedPolicy
from dp_ros.loop_diagnostics import key_values
from rclpy.node import Node

from dp_policy_node.inference_core import InferenceCore
from dp_policy_node.inference_worker import InferenceWorker
from dp_policy_node.ledger_join import LedgerJoin
from dp_policy_node.observation_streams import ObservationStreams
from dp_ros import qos


class InferenceDiagnostics:
    """Publishes the statuses ``policy: inference``, ``policy: chunks`` and ``policy: inputs``.

    Args:
        node: owns the publisher.
        contract: topics, name of the cell.
    """

    def __init__(self, node: Node, contract: Contract) -> None:
        self._node, self._contract = node, contract
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.EVENT)
        self._last = (time.monotonic(), 0)

    def publish_unconfigured(self, state: str, problem: str) -> None:
        """Say that no policy is loaded, and why when it was tried."""
        status = DiagnosticStatus(name="policy: inference", message=problem or state)
        status.level = DiagnosticStatus.ERROR if problem else DiagnosticStatus.OK
        self._send([status])

    def publish(
        self,
        worker: InferenceWorker,
        ledgers: LedgerJoin,
        streams: ObservationStreams,
        headline: Callable[[bool], str],
        notes: dict[str, str],
    ) -> None:
        """Send the present state.

        Args:
            worker: engine, timings, and through it the core.
            ledgers: what control did with the chunks.
            streams: what was refused.
            headline: one sentence for when all is well, given whether the node infers now.
            notes: further values, such as the task and the state of a checkpoint that is being loaded.
        """
        with worker.guarded() as core:
            statuses = [self._inference(core, worker, headline, notes), self._chunks(core, ledgers), self._inputs(core)]
        statuses[2].values += key_values({f"refused {topic}": str(count) for topic, count in streams.refused.items()})
        for status in statuses:
            status.hardware_id = worker.policy.loaded.policy_id
        self._send(statuses)

    def _send(self, statuses: list[DiagnosticStatus]) -> None:
        message = DiagnosticArray(status=statuses)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def _inference(
        self, core: InferenceCore, worker: InferenceWorker, headline: Callable[[bool], str], notes: dict[str, str]
    ) -> DiagnosticStatus:
        policy, schedule, frames = worker.policy, core.schedule, core.cache.counts
        ages = schedule.ages
        status = DiagnosticStatus(name="policy: inference")
        problem = core.problem if core.active else ""
        reach_ms = 1e-6 * policy.loaded.config.action.chunk * self._contract.action.period_ns
        if not problem and core.active and ages.p50_ms > 0.5 * reach_ms:
            problem = f"too slow: chunks of {reach_ms:.0f} ms come {ages.p50_ms:.0f} ms after what they were made from"
        if not problem and core.active:
            problem = prefix_problem(policy.loaded, schedule.n_late)
        problem = problem or notes.get("swap_problem", "")
        status.level = DiagnosticStatus.WARN if problem else DiagnosticStatus.OK
        status.message = problem or headline(core.active)
        status.values = key_values(
            {
                "policy": policy.loaded.policy_id,
                "checkpoint": policy.folder,
                "engine": policy.engine.description,
                "continuity": policy.loaded.policy.continuity,
                "inference_ms": f"{1e3 * policy.engine.latency_s:.1f}",
                "encode_ms": _quantiles(worker.encode_ms),
                "denoise_ms": _quantiles(worker.denoise_ms),
                "budget_ms": f"{1e-6 * schedule.budget_ns:.1f}",
                "delivery_ms": f"{1e-6 * schedule.delivery_ns:.1f}",
                "age_ms_p50": f"{ages.p50_ms:.1f}",
                "age_ms_p90": f"{ages.p90_ms:.1f}",
                "age_ms_p99": f"{ages.p99_ms:.1f}",
                "n_late": str(schedule.n_late),
                "frames_encoded": str(frames.encoded),
                "frames_encoded_ahead": str(frames.ahead),
                "frames_encoded_in_vain": str(frames.in_vain),
                "frames_reused": str(frames.reused),
                **notes,
            }
        )
        return status

    def _chunks(self, core: InferenceCore, ledgers: LedgerJoin) -> DiagnosticStatus:
        counts, executed = core.counts, ledgers.counts
        now_s = time.monotonic()
        (last_s, last_chunks), self._last = self._last, (now_s, counts.chunks)
        rate_hz = (counts.chunks - last_chunks) / max(now_s - last_s, 1e-3)
        age_p50_ms, age_p99_ms = ledgers.age_ms()
        status = DiagnosticStatus(name="policy: chunks")
        status.level = DiagnosticStatus.OK
        status.message = f"{rate_hz:.2f} chunks/s, {executed.late} actions late of {executed.late + executed.executed}"
        status.values = key_values(
            {
                "chunks": str(counts.chunks),
                "rate_hz": f"{rate_hz:.2f}",
                "reported": str(executed.reports),
                "actions_executed": str(executed.executed),
                "actions_late": str(executed.late),
                "chunks_stopped": str(executed.stopped),
                "last_stop_reason": executed.stop_reason,
                "plans_dropped": str(counts.dropped_plans),
                "plans_lost": str(counts.lost_plans),
                "overdue": str(core.schedule.overdue),
                "skipped": str(counts.discarded + counts.refused),
                "discarded": str(counts.discarded),
                "outputs_refused": str(counts.refused),
                "clock_restarts": str(counts.restarts),
                "capture_to_execution_ms_p50": f"{age_p50_ms:.1f}",
                "capture_to_execution_ms_p99": f"{age_p99_ms:.1f}",
            }
        )
        return status

    def _inputs(self, core: InferenceCore) -> DiagnosticStatus:
        """Ages of the streams; stale ones by name."""
        now_ns = int(self._node.get_clock().now().nanoseconds)
        contract = self._contract
        limits = {contract.cameras[name].topic: contract.cameras[name].max_age_s for name in core.aligner.cameras}
        limits |= {contract.streams[name].topic: contract.streams[name].max_age_s for name in ("ee_pose", "gripper")}
        ages = {
            topic: None if ns is None else 1e-9 * (now_ns - ns) for topic, ns in core.aligner.newest_by_topic().items()
        }
        missing = [topic for topic, age_s in ages.items() if age_s is None]
        stale = [topic for topic, age_s in ages.items() if age_s is not None and age_s > limits[topic]]
        parts = [f"{kind}: {', '.join(topics)}" for kind, topics in (("missing", missing), ("stale", stale)) if topics]
        status = DiagnosticStatus(name="policy: inputs")
        status.level = DiagnosticStatus.WARN if core.active and parts else DiagnosticStatus.OK
        status.message = "; ".join(parts) if core.active and parts else ("fresh" if core.active else "not listened to")
        status.values = key_values(
            {f"age_ms {topic}": "none" if age_s is None else f"{1e3 * age_s:.0f}" for topic, age_s in ages.items()}
        )
        return status


def prefix_problem(loaded: LoadedPolicy, n_late: int) -> str:
    """Why chunks come too late for what the policy was trained for; empty when they do not.

    Args:
        loaded: the policy, with the continuity that it runs with.
        n_late: actions of the plan in execution that will have run when a chunk arrives.
    """
    most = loaded.config.action.prefix
    if loaded.policy.continuity != "prefix" or n_late <= most:
        return ""
    return (
        f"n_late {n_late} exceeds the {most} actions that this policy was trained to be given: those between are drawn "
        "anew, so the path may jump at each seam; run a faster engine or train with a greater action.prefix"
    )


def _quantiles(durations_ms: Sequence[float]) -> str:
    """Median and 99th percentile as one text."""
    # A copy: the inference thread appends meanwhile.
    values = list(durations_ms)
    if not values:
        return "none yet"
    return "p50 {:.1f} p99 {:.1f}".format(*np.percentile(values, (50, 99)))
